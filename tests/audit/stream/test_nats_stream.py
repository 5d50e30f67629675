from __future__ import annotations

import asyncio
import base64
import json
import threading
from typing import TYPE_CHECKING, Any

import nats
import pytest
from nats_servers import NATSServer
from relay_cases import RelayCases
from servers import ServerUnavailable
from stream_cases import a_log, entries_of

from asgi_infra.audit import open_audit_logger
from asgi_infra.audit.backends.nats import NATSAuditLogger
from asgi_infra.audit.errors import AuditUnavailableError
from asgi_infra.audit.stream import Relay
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import a_full_entry, an_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_infra.audit.stream import StreamAuditLogger


@pytest.fixture(scope="class")
def nats_server(request: Any) -> Iterator[NATSServer]:
    try:
        server = NATSServer()
    except ServerUnavailable as exc:
        pytest.skip(str(exc))
    with server:
        request.cls.server = server
        yield server


def ask(server: NATSServer, subject: str, data: bytes = b"", **headers: str) -> dict[str, Any]:
    """Ask with a client that is not the one under test."""

    async def asked() -> dict[str, Any]:
        client = await nats.connect(server.url())
        try:
            message = await client.request(subject, data, timeout=5, headers=headers or None)
        finally:
            await client.close()
        found: dict[str, Any] = json.loads(message.data or b"{}")
        return found

    return run(asked())


def run(work: Any) -> Any:
    """Run asyncio's code in a thread: the test may be in any event loop."""
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(asyncio.run(work)))
    thread.start()
    thread.join()
    return box[0]


@pytest.mark.usefixtures("nats_server")
class TestNATSStream(RelayCases):
    server: NATSServer

    def make(self, stream: str, **options: Any) -> StreamAuditLogger:
        return NATSAuditLogger(self.server.url(f"/{stream}"), audit_reads=False, **options)

    def make_small(self, stream: str) -> StreamAuditLogger:
        return self.make(stream, max_bytes=1024**2)

    def strange(self, stream: str, data: bytes) -> None:
        assert "error" not in ask(self.server, f"{stream}.entries", data)

    def set_aside(self, stream: str) -> list[bytes]:
        state = ask(self.server, f"$JS.API.STREAM.INFO.{stream}_rejected")["state"]
        found = []
        for number in range(state["first_seq"], state["last_seq"] + 1):
            request = json.dumps({"seq": number}).encode()
            message = ask(self.server, f"$JS.API.STREAM.MSG.GET.{stream}_rejected", request)["message"]
            found.append(base64.b64decode(message.get("data", "")))
        return found

    def forget_lease(self, stream: str) -> None:
        assert ask(self.server, f"$JS.API.STREAM.PURGE.KV_{stream}_relay")["success"]

    async def test_the_stream_is_made_as_it_must_be(self, stream: str) -> None:
        async with self.make(stream, max_bytes=5_000_000, deduplicate=60) as logger:
            await logger.log(an_entry())
        config = ask(self.server, f"$JS.API.STREAM.INFO.{stream}")["config"]
        assert (config["storage"], config["discard"], config["max_bytes"]) == ("file", "new", 5_000_000)
        assert config["duplicate_window"] == 60 * 10**9

    async def test_a_message_bears_the_id_of_its_entry_also_a_strange_one(self, stream: str) -> None:
        ids = ["a b", "ключ", "50%", "é/ü?", "x" * 128]
        async with a_log() as log, self.make(stream) as logger:
            for _ in range(2):
                await logger.log_many(an_entry(id=each) for each in ids)
            async with self.make(stream) as other:
                for each in ids:
                    await other.log(an_entry(id=each))
            assert await Relay(logger, log).drain() == 5
            assert await entries_of(log) == ids

    async def test_ids_that_are_there_are_found_in_large_batches_of_others(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger, self.make(stream) as other:
            for number in (3, 50, 99):
                await other.log(an_entry(number))
            receipts = await logger.log_many(an_entry(number) for number in range(100))
            assert (await logger.stats())["unrelayed"] == 100
            assert await Relay(logger, log).drain() == 100
            for number, receipt in enumerate(receipts):
                found = await log.get(f"entry-{number}")
                assert found is not None
                assert found.leaf_hash == receipt.leaf_hash

    async def test_what_another_process_logged_and_a_relay_took_has_no_leaf_hash_here(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger, self.make(stream) as other:
            await logger.log(a_full_entry())
            await Relay(logger, log).drain()
            assert await other.log(a_full_entry()) == (-1, b"")
            assert await Relay(logger, log).drain() == 0

    @pytest.mark.parametrize("atomic", [True, False])
    async def test_a_stream_that_was_made_by_others_is_taken_if_it_is_safe(self, stream: str, atomic: bool) -> None:
        config = {"name": stream, "subjects": [f"{stream}.entries"], "storage": "file", "allow_atomic": atomic}
        assert "error" not in ask(self.server, f"$JS.API.STREAM.CREATE.{stream}", json.dumps(config).encode())
        async with a_log() as log, self.make(stream) as logger:
            await logger.log_many(an_entry(number) for number in range(600))
            assert await Relay(logger, log).drain() == 600
            assert await entries_of(log) == [f"entry-{number}" for number in range(600)]

    @pytest.mark.parametrize(
        ("config", "problem"),
        [
            ({"storage": "memory"}, "storage must be file"),
            ({"max_age": 10**12}, "max_age must be 0"),
            ({"retention": "interest"}, "retention must be limits"),
            ({"max_msgs": 10}, "discard must be new"),
            ({"max_msgs_per_subject": 10}, "max_msgs_per_subject must be unlimited"),
            ({"deny_purge": True}, "deny_purge must be off"),
            ({"no_ack": True}, "no_ack must be off"),
            ({"subjects": ["other.>"]}, "subjects must be"),
            ({"persist_mode": "async"}, "persist_mode must not be async"),
        ],
    )
    async def test_a_stream_that_could_lose_entries_is_refused(
        self, stream: str, config: dict[str, Any], problem: str
    ) -> None:
        made = {"name": stream, "subjects": [f"{stream}.entries"], "storage": "file", **config}
        assert "error" not in ask(self.server, f"$JS.API.STREAM.CREATE.{stream}", json.dumps(made).encode())
        try:
            with pytest.raises(ConfigurationError, match=problem):
                await self.make(stream).log(an_entry())
        finally:
            ask(self.server, f"$JS.API.STREAM.DELETE.{stream}")

    async def test_more_replicas_than_there_are_servers_is_told(self, stream: str) -> None:
        with pytest.raises(AuditUnavailableError, match="refused"):
            await self.make(stream, replicas=3).log(an_entry())

    async def test_a_server_that_syncs_is_taken_by_its_monitor(self, stream: str) -> None:
        async with self.make(stream, monitor=self.server.monitor()) as logger:
            await logger.log(an_entry())

    async def test_strange_messages_as_large_as_they_can_be_do_not_stop_the_relay(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger:
            for _ in range(20):
                self.strange(stream, b"x" * 1024**2)
            await logger.log(an_entry())
            relay = Relay(logger, log)
            assert await relay.drain() == 1
            assert (await relay.stats())["rejected"] == 20
            assert {len(data) for data in self.set_aside(stream)} == {1024**2 - 1024}

    async def test_a_message_that_gets_lost_between_server_and_relay_is_read_again(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger:
            await logger.log_many(an_entry(number) for number in range(10))
            relay = Relay(logger, log, batch=3)
            logger.stream.fetch(None, 3, 0)
            session = logger.stream._session  # type: ignore[attr-defined]
            session.consumer._delivered -= 1
            with pytest.raises(AuditUnavailableError, match="lost on its way"):
                logger.stream.fetch("3", 3, 0)
            assert [message.position for message in logger.stream.fetch("3", 2, 0)] == ["4", "5"]
            assert await relay.drain() == 10
            assert await entries_of(log) == [f"entry-{number}" for number in range(10)]


@pytest.mark.anyio
async def test_a_server_that_does_not_sync_is_refused_by_its_monitor() -> None:
    with NATSServer(sync_interval="2m") as server:
        logger = NATSAuditLogger(server.url(), monitor=server.monitor())
        with pytest.raises(ConfigurationError, match="sync_interval: always"):
            await logger.log(an_entry())
        await logger.aclose()
        unreachable = NATSAuditLogger(server.url(), monitor=server.monitor() + "/nothing")
        with pytest.raises(AuditUnavailableError, match="does not tell"):
            await unreachable.log(an_entry())
        await unreachable.aclose()


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("http://localhost", {}, "url must be nats://"),
        ("nats://", {}, "url must be nats://"),
        ("nats://localhost:no", {}, "url must be nats://"),
        ("nats://localhost/a?b=c", {}, "url must be nats://"),
        ("nats://localhost/a.b", {}, "stream must be"),
        (7, {}, "url must be a str"),
        ("nats://localhost", {"replicas": 0}, "replicas"),
        ("nats://localhost", {"replicas": 6}, "replicas"),
        ("nats://localhost", {"max_bytes": 1}, "max_bytes"),
        ("nats://localhost", {"deduplicate": 0}, "deduplicate"),
        ("nats://localhost", {"timeout": -1}, "timeout"),
        ("nats://localhost", {"monitor": "file:///etc"}, "monitor"),
        ("nats://localhost", {"reader": 7}, "reader"),
    ],
)
def test_wrong_parameters_of_the_nats_logger_are_named(url: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        NATSAuditLogger(url, **options)


def test_a_url_names_servers_credentials_and_the_stream() -> None:
    logger = open_audit_logger("nats://user:secret@a.example.org:4222,b.example.org:4223/shop-audit")
    assert isinstance(logger, NATSAuditLogger)
    stream: Any = logger.stream
    assert stream._servers == ["nats://user:secret@a.example.org:4222", "nats://user:secret@b.example.org:4223"]
    assert stream._settings.name == "shop-audit"
    assert open_audit_logger("nats+tls://a.example.org").stream._servers == ["tls://a.example.org"]  # type: ignore[attr-defined]
