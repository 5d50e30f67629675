from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import pytest

from asgi_infra.testing import CuttingProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Echo:
    """Answers each line in capitals, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.heard.append(line)
            writer.write(line.upper())
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, int]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1")
    yield echo, server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def proxy(echo: tuple[Echo, int]) -> AsyncIterator[CuttingProxy]:
    async with CuttingProxy("127.0.0.1", echo[1]) as proxy:
        yield proxy


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, line: bytes) -> bytes:
        """Return the answer, nothing if the connection was cut."""
        self._writer.write(line)
        return await self.listen()

    async def listen(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._writer.close()


Connect: TypeAlias = "Callable[[CuttingProxy], Awaitable[Client]]"


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    clients = []

    async def connect(proxy: CuttingProxy) -> Client:
        clients.append(Client(*await asyncio.open_connection(proxy.host, proxy.port)))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


async def test_what_is_said_passes_both_ways(connect: Connect, proxy: CuttingProxy) -> None:
    clients = [await connect(proxy) for _ in range(3)]
    for number, client in enumerate(clients):
        assert await client.say(b"hello %d\n" % number) == b"HELLO %d\n" % number
    long = b"x" * 60_000 + b"\n"
    assert await clients[0].say(long) == long.upper()
    assert (proxy.connections, proxy.cuts) == (3, 0)


async def test_a_lost_reply_was_heard_by_the_server(
    connect: Connect, proxy: CuttingProxy, echo: tuple[Echo, int]
) -> None:
    client, other = await connect(proxy), await connect(proxy)
    proxy.cut_reply(2)
    assert await client.say(b"one\n") == b"ONE\n"
    assert await client.say(b"two\n") == b""
    assert echo[0].heard == [b"one\n", b"two\n"]
    assert await other.say(b"three\n") == b"THREE\n"
    assert proxy.cuts == 1


async def test_a_lost_request_was_not_heard_by_the_server(
    connect: Connect, proxy: CuttingProxy, echo: tuple[Echo, int]
) -> None:
    client = await connect(proxy)
    proxy.cut_request(2)
    assert await client.say(b"one\n") == b"ONE\n"
    assert await client.say(b"two\n") == b""
    assert echo[0].heard == [b"one\n"]
    assert proxy.cuts == 1


async def test_a_stalled_proxy_passes_on_later_what_was_said(
    connect: Connect, proxy: CuttingProxy, echo: tuple[Echo, int]
) -> None:
    client = await connect(proxy)
    assert await client.say(b"one\n") == b"ONE\n"
    proxy.stall()
    waiting = asyncio.create_task(client.say(b"two\n"))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    assert echo[0].heard == [b"one\n"]
    proxy.resume()
    assert await waiting == b"TWO\n"


async def test_a_delay_holds_answers_back_and_keeps_them(connect: Connect, proxy: CuttingProxy) -> None:
    client = await connect(proxy)
    proxy.delay = 0.05
    loop = asyncio.get_running_loop()
    begin = loop.time()
    assert await client.say(b"one\n") == b"ONE\n"
    assert loop.time() - begin >= 0.04


async def test_all_connections_are_cut_at_once_and_new_ones_are_refused_on_demand(
    connect: Connect, proxy: CuttingProxy
) -> None:
    clients = [await connect(proxy) for _ in range(3)]
    for client in clients:
        assert await client.say(b"one\n") == b"ONE\n"
    proxy.refusing = True
    proxy.cut()
    assert [await client.listen() for client in clients] == [b""] * 3
    refused = await connect(proxy)
    assert await refused.say(b"two\n") == b""
    proxy.resume()
    client = await connect(proxy)
    assert await client.say(b"three\n") == b"THREE\n"
    assert (proxy.connections, proxy.cuts) == (5, 3)


async def test_a_server_that_is_away_closes_the_connection(connect: Connect, echo: tuple[Echo, int]) -> None:
    probe = await asyncio.start_server(echo[0].serve, "127.0.0.1")
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    async with CuttingProxy("127.0.0.1", port) as proxy:
        client = await connect(proxy)
        assert await client.say(b"one\n") == b""


async def test_a_client_that_leaves_ends_its_connection_to_the_server(connect: Connect, proxy: CuttingProxy) -> None:
    client = await connect(proxy)
    assert await client.say(b"one\n") == b"ONE\n"
    client.close()
    await asyncio.wait(list(proxy._links), timeout=5)
    assert not proxy._links
    assert proxy.cuts == 0


async def test_leaving_the_proxy_ends_everything(connect: Connect, echo: tuple[Echo, int]) -> None:
    async with CuttingProxy("127.0.0.1", echo[1]) as proxy:
        client = await connect(proxy)
        assert await client.say(b"one\n") == b"ONE\n"
        proxy.stall()
    assert await client.listen() == b""
    with pytest.raises(OSError, match=r"[Cc]onn"):
        await connect(proxy)
