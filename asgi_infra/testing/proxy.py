"""A TCP proxy that delays, stalls and cuts: for tests of what happens when a server's answer does not come."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

_PIECE = 65536


class CuttingProxy:
    """Passes bytes between clients and a server, until it is told otherwise.

    It runs in the event loop of the test (asyncio), and listens on a free port of 127.0.0.1 while it is entered.

    Args:
        host: Where the server listens.
        port: Its port.

    Attributes:
        host: Where the proxy listens.
        port: Its port.
        delay: For how many seconds each piece of an answer is held back; 0 at first.
        refusing: Whether new connections are closed at once; `False` at first.
        connections: How many connections were accepted, refused ones included.
        cuts: How many connections were cut.

    Example:
        >>> async with CuttingProxy("127.0.0.1", 6379) as proxy:
        ...     store = open_token_store(f"redis://{proxy.host}:{proxy.port}")
        ...     proxy.cut_reply()  # the server does what it is asked, and nobody hears of it
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.delay = 0.0
        self.refusing = False
        self.connections = 0
        self.cuts = 0
        self._upstream = (host, port)
        self._requests_left: int | None = None
        self._replies_left: int | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        self.resume()
        links = list(self._links)
        self.cut()
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def cut(self) -> None:
        """Cut all connections now."""
        for writers in list(self._links.values()):
            self._cut(writers)

    def cut_request(self, nth: int = 1) -> None:
        """Cut a connection instead of passing on the n-th piece that any client sends from now on."""
        self._requests_left = nth

    def cut_reply(self, nth: int = 1) -> None:
        """Cut a connection instead of passing on the n-th piece that the server answers from now on."""
        self._replies_left = nth

    def stall(self) -> None:
        """Pass nothing on, and cut nothing, until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass everything on again: no delay, no refusing, no cut to come."""
        self._requests_left = self._replies_left = None
        self.refusing = False
        self.delay = 0.0
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            writer.transport.abort()
            return
        writers = [writer]
        link = asyncio.create_task(self._link(reader, writers))
        self._links[link] = writers
        link.add_done_callback(self._links.pop)

    async def _link(self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._upstream)
            writers.append(server_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_requests(reader, server_writer, writers))
                group.create_task(self._pass_replies(server_reader, writers[0], writers))
        except OSError:
            pass  # the server is away, which the client learns from its connection
        finally:
            for each in writers:
                each.transport.abort()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, writers: list[asyncio.StreamWriter]
    ) -> None:
        while piece := await _read(reader):
            await self._flowing.wait()
            if self._requests_left is not None:
                self._requests_left -= 1
                if self._requests_left == 0:
                    self._requests_left = None
                    self._cut(writers)
                    return
            await _write(writer, piece)
        _close(writer)

    async def _pass_replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, writers: list[asyncio.StreamWriter]
    ) -> None:
        while piece := await _read(reader):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flowing.wait()
            if self._replies_left is not None:
                self._replies_left -= 1
                if self._replies_left == 0:
                    self._replies_left = None
                    self._cut(writers)
                    return
            await _write(writer, piece)
        _close(writer)

    def _cut(self, writers: list[asyncio.StreamWriter]) -> None:
        self.cuts += 1
        for writer in writers:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_PIECE)
    except OSError:
        return b""


async def _write(writer: asyncio.StreamWriter, piece: bytes) -> None:
    with suppress(OSError):
        writer.write(piece)
        await writer.drain()


def _close(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, RuntimeError):
        writer.close()
