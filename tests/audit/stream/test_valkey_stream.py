from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from relay_cases import RelayCases
from servers import ServerUnavailable
from stream_cases import a_log, entries_of
from valkey_servers import ValkeyServer

from asgi_infra.audit import open_audit_logger
from asgi_infra.audit.backends.valkey import ValkeyAuditLogger
from asgi_infra.audit.errors import AuditFullError, AuditOutcomeUnknownError, AuditUnavailableError
from asgi_infra.audit.stream import Relay
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import a_full_entry, an_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_infra.audit.stream import StreamAuditLogger

DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@pytest.fixture(scope="class")
def valkey_server(request: Any) -> Iterator[ValkeyServer]:
    try:
        server = ValkeyServer(**DURABLE)
        server.start()
    except ServerUnavailable as exc:
        pytest.skip(str(exc))
    try:
        request.cls.server = server
        yield server
    finally:
        server.close()


def key(stream: str, name: str) -> str:
    return f"{{asgi-infra:audit:{stream}}}:{name}"


@pytest.mark.usefixtures("valkey_server")
class TestValkeyStream(RelayCases):
    server: ValkeyServer

    def make(self, stream: str, **options: Any) -> StreamAuditLogger:
        return ValkeyAuditLogger(self.server.url(), stream=stream, audit_reads=False, **options)

    def make_small(self, stream: str) -> StreamAuditLogger:
        return self.make(stream, max_entries=20)

    def strange(self, stream: str, data: bytes) -> None:
        self.server.call("XADD", key(stream, "entries"), "*", "e" if data else "other", data)

    def set_aside(self, stream: str) -> list[bytes]:
        rows = self.server.call("XRANGE", key(stream, "rejected"), "-", "+")
        return [fields[fields.index(b"data") + 1] for _, fields in rows]

    def forget_lease(self, stream: str) -> None:
        self.server.call("DEL", key(stream, "lease"))

    async def test_ids_are_remembered_for_their_time_and_no_longer(self, stream: str) -> None:
        async with a_log() as log, self.make(stream, deduplicate=1000) as logger:
            await logger.log(a_full_entry())
            name = key(stream, "id:entry-0")
            assert 900_000 < self.server.call("PTTL", name) <= 1_000_000
            self.server.call("DEL", name)
            again = await logger.log(a_full_entry())
            relay = Relay(logger, log)
            assert await relay.drain() == 2
            assert await entries_of(log) == ["entry-0"]
            found = await relay.stats()
            assert found["conflicts"] == 1
            stored = await log.get("entry-0")
            assert stored is not None
            assert stored.leaf_hash != again.leaf_hash

    async def test_a_duplicate_waits_for_the_disk_too(self, stream: str) -> None:
        async with self.make(stream) as logger, self.make(stream) as other:
            first = await logger.log(an_entry())
            before = self.server.call("INFO", "replication")
            assert await other.log(an_entry()) == first
            assert offset(self.server.call("INFO", "replication")) > offset(before)

    async def test_without_the_replicas_that_were_asked_for_the_outcome_is_unknown(self, stream: str) -> None:
        with pytest.raises(ConfigurationError, match="it must have 1 replicas"):
            await self.make(stream, replicas=1).log(an_entry())
        logger: Any = self.make(stream, timeout=0.5)
        async with logger, a_log() as log:
            logger.stream._replicas = 1
            with pytest.raises(AuditOutcomeUnknownError, match="1 primary and 0 replicas"):
                await logger.log(an_entry())
            logger.stream._replicas = 0
            receipt = await logger.log(an_entry())
            assert await Relay(logger, log).drain() == 1
            assert (await log.get(0)).leaf_hash == receipt.leaf_hash  # type: ignore[union-attr]

    async def test_a_server_without_memory_refuses(self, stream: str) -> None:
        async with self.make(stream) as logger:
            await logger.log(an_entry())
            self.server.call("CONFIG", "SET", "maxmemory", "1mb")
            try:
                with pytest.raises(AuditFullError, match="maxmemory"):
                    await logger.log(an_entry(1))
            finally:
                self.server.call("CONFIG", "SET", "maxmemory", "0")
            await logger.log(an_entry(1))
            assert (await logger.stats())["unrelayed"] == 2

    async def test_a_key_that_is_no_stream_is_refused(self, stream: str) -> None:
        self.server.call("SET", key(stream, "entries"), "1")
        with pytest.raises(ConfigurationError, match="must be a stream"):
            await self.make(stream).log(an_entry())

    async def test_what_was_relayed_is_not_in_the_stream_any_more(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger:
            await logger.log(a_full_entry(user_agent="a-private-thing"))
            assert b"a-private-thing" in b"".join(
                part for _, fields in self.server.call("XRANGE", key(stream, "entries"), "-", "+") for part in fields
            )
            await Relay(logger, log).drain()
            assert self.server.call("XRANGE", key(stream, "entries"), "-", "+") == []


def offset(info: bytes) -> int:
    return next(int(line.partition(b":")[2]) for line in info.splitlines() if line.startswith(b"master_repl_offset"))


@pytest.mark.anyio
async def test_only_what_was_never_sent_is_known_to_be_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        accepting = threading.Thread(target=lambda: silent.accept()[0].close())
        accepting.start()
        with pytest.raises(AuditOutcomeUnknownError):
            await ValkeyAuditLogger(f"valkey://127.0.0.1:{port}", timeout=0.5).ping()
        accepting.join()
    with pytest.raises(AuditUnavailableError):
        await ValkeyAuditLogger(f"valkey://127.0.0.1:{port}", timeout=0.5).ping()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"appendonly": "no"}, "appendonly must be yes"),
        ({**DURABLE, "appendfsync": "no"}, "appendfsync must be"),
        ({**DURABLE, "maxmemory_policy": "allkeys-lru"}, "maxmemory-policy must be noeviction"),
    ],
)
async def test_a_server_that_could_lose_entries_is_refused(settings: dict[str, Any], problem: str) -> None:
    with ValkeyServer(**settings) as server:
        logger = ValkeyAuditLogger(server.url())
        with pytest.raises(ConfigurationError, match=problem):
            await logger.log(an_entry())
        await logger.aclose()


@pytest.mark.anyio
async def test_with_a_sync_a_second_the_acknowledgement_waits_for_it() -> None:
    with ValkeyServer(appendonly="yes", appendfsync="everysec") as server:
        async with ValkeyAuditLogger(server.url()) as logger:
            await logger.log(an_entry())
        server.kill()
        server.start()
        async with ValkeyAuditLogger(server.url()) as logger:
            assert (await logger.stats())["unrelayed"] == 1


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("http://localhost", {}, "url must be valkey://"),
        ("valkey://", {}, "url must be valkey://"),
        ("valkey://a:no", {}, "url must be valkey://"),
        ("valkey://a,b", {}, "url must be valkey://"),
        ("redis+cluster://a", {}, "url must be valkey://"),
        ("valkey://a/no", {}, "url must be valkey://"),
        (7, {}, "url must be a str"),
        ("valkey://a", {"stream": "{a}"}, "stream"),
        ("valkey://a", {"replicas": -1}, "replicas"),
        ("valkey://a", {"max_entries": 0}, "max_entries"),
        ("valkey://a", {"deduplicate": 0}, "deduplicate"),
        ("valkey://a", {"timeout": 0}, "timeout"),
        ("valkey://a", {"reader": 7}, "reader"),
    ],
)
def test_wrong_parameters_of_the_valkey_logger_are_named(url: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        ValkeyAuditLogger(url, **options)


@pytest.mark.parametrize("scheme", ["valkey", "redis", "valkeys", "rediss"])
def test_urls_of_valkey_open_its_logger(scheme: str) -> None:
    assert isinstance(open_audit_logger(f"{scheme}://localhost:1/2", stream="shop"), ValkeyAuditLogger)
