"""What both kinds of streams have to do, with a real server each."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest
from audit.audit_stores import BlockingStore

from asgi_infra.audit import AuditFilter, AuditLogger
from asgi_infra.audit.errors import (
    AuditOutcomeUnknownError,
    AuditStoreError,
    AuditUnavailableError,
)
from asgi_infra.audit.stream import Relay, StreamAuditLogger
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import a_full_entry, a_signer, an_entry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def name_of(place: object) -> str:
    """Return the name of a stream for a test's own place."""
    return "t" + hashlib.sha256(str(place).encode()).hexdigest()[:16]


def a_log() -> AuditLogger:
    """Return a log of its own that a relay can fill."""
    return AuditLogger(BlockingStore(delay=0), audit_reads=False)


async def entries_of(log: AuditLogger) -> list[str]:
    """Return the ids of all entries of a log, in order."""
    size = (await log.stats())["size"]
    rows = log._store.select(AuditFilter(), 0, size, size) if size else []
    assert [row.seq for row in rows] == list(range(size))
    assert (await log.verify()).ok
    from asgi_infra.audit.record import unseal

    return [unseal(row).entry.id for row in rows]


@asynccontextmanager
async def running(relay: Relay) -> AsyncGenerator[Relay, None]:
    """Run a relay beside the test, and stop it."""
    async with anyio.create_task_group() as group:
        group.start_soon(relay.run)
        try:
            with anyio.fail_after(30):
                yield relay
        finally:
            relay.stop()


async def until(condition: Any) -> None:
    """Wait for what will be so in the end."""
    with anyio.fail_after(30):
        while not await condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def holds(log: AuditLogger, number: int) -> None:
    """Wait until a log has so many entries."""

    async def enough() -> bool:
        return (await log.stats())["size"] >= number

    await until(enough)


class StreamCases:
    """To be subclassed with `server` and `make`."""

    server: ClassVar[Any]
    pytestmark = pytest.mark.anyio

    def make(self, stream: str, **options: Any) -> StreamAuditLogger:
        raise TypeError

    def make_small(self, stream: str) -> StreamAuditLogger:
        """Return a logger whose stream is soon full."""
        raise TypeError

    def strange(self, stream: str, data: bytes) -> None:
        """Put something into the stream that is no entry."""
        raise TypeError

    def set_aside(self, stream: str) -> list[bytes]:
        """Return what was set aside."""
        raise TypeError

    def forget_lease(self, stream: str) -> None:
        """Let the lease run out at once."""
        raise TypeError

    @pytest.fixture
    def stream(self, tmp_path: Any) -> str:
        return name_of(tmp_path)

    # Producers

    async def test_what_was_logged_is_in_the_log_with_the_leaf_hash_of_its_receipt(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger:
            receipts = [await logger.log(a_full_entry(number)) for number in range(3)]
            receipts += await logger.log_many(a_full_entry(number) for number in range(3, 300))
            assert {receipt.seq for receipt in receipts} == {-1}
            assert (await logger.stats())["unrelayed"] == 300
            assert await Relay(logger, log, batch=100).drain() == 300
            assert (await logger.stats())["unrelayed"] == 0
            assert await entries_of(log) == [f"entry-{number}" for number in range(300)]
            found = [await log.get(number) for number in range(300)]
            assert [each.leaf_hash for each in found if each] == [receipt.leaf_hash for receipt in receipts]
            assert found[7] is not None
            assert found[7].entry == a_full_entry(7)

    async def test_the_same_id_is_one_message_with_one_receipt(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger, self.make(stream) as other:
            first = await logger.log(a_full_entry())
            assert await logger.log(a_full_entry()) == first
            assert await other.log(a_full_entry(result="failure")) == first
            many = await other.log_many([a_full_entry(1), a_full_entry(), a_full_entry(1), a_full_entry(2)])
            assert many[1] == first
            assert many[0] == many[2]
            assert (await logger.stats())["unrelayed"] == 3
            assert await Relay(logger, log).drain() == 3
            assert await entries_of(log) == ["entry-0", "entry-1", "entry-2"]
            assert [receipt.leaf_hash for receipt in many] == [
                (await log.get(seq)).leaf_hash  # type: ignore[union-attr]
                for seq in (1, 0, 1, 2)
            ]

    async def test_one_id_from_many_tasks_of_two_producers_is_one_entry(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger, self.make(stream) as other:
            hashes: set[tuple[str, bytes]] = set()

            async def write(producer: StreamAuditLogger) -> None:
                for number in range(10):
                    receipt = await producer.log(a_full_entry(number))
                    hashes.add((f"entry-{number}", receipt.leaf_hash))

            async with anyio.create_task_group() as group:
                for producer in [logger, other] * 4:
                    group.start_soon(write, producer)
            assert await Relay(other, log).drain() == 10
            assert sorted(await entries_of(log)) == sorted(f"entry-{number}" for number in range(10))
            found = [await log.get(number) for number in range(10)]
            assert hashes == {(each.entry.id, each.leaf_hash) for each in found if each}

    async def test_an_id_is_known_after_the_server_and_the_producer_started_again(self, stream: str) -> None:
        async with self.make(stream) as logger:
            first = await logger.log(a_full_entry())
        self.server.kill()
        self.server.start()
        async with a_log() as log, self.make(stream) as logger:
            assert await logger.log(a_full_entry()) == first
            assert await Relay(logger, log).drain() == 1

    async def test_nothing_acknowledged_is_lost_when_the_server_is_killed_in_mid_batch(self, stream: str) -> None:
        acknowledged: dict[str, bytes] = {}
        failed = 0
        done = False

        async with a_log() as log, self.make(stream, timeout=10) as logger:

            async def write(task: int) -> None:
                nonlocal failed
                number = 0
                while not done:
                    entry = a_full_entry(id=f"{task}-{number}")
                    try:
                        acknowledged[entry.id] = (await logger.log(entry)).leaf_hash
                    except (AuditUnavailableError, AuditOutcomeUnknownError):
                        failed += 1
                    else:
                        number += 1

            async with anyio.create_task_group() as group:
                for task in range(16):
                    group.start_soon(write, task)
                for _ in range(2):
                    before = len(acknowledged)
                    while len(acknowledged) < before + 200:  # noqa: ASYNC110
                        await anyio.sleep(0.005)
                    self.server.kill()
                    self.server.start()
                before = len(acknowledged)
                while len(acknowledged) < before + 50:  # noqa: ASYNC110
                    await anyio.sleep(0.005)
                done = True
            await Relay(logger, log).drain()
            ids = await entries_of(log)
            assert len(ids) == len(set(ids))
            assert set(acknowledged) <= set(ids)
            for entry_id, leaf_hash in acknowledged.items():
                found = await log.get(entry_id)
                assert found is not None
                assert found.leaf_hash == leaf_hash

    async def test_a_server_that_does_not_answer_leaves_the_outcome_unknown(self, stream: str) -> None:
        async with a_log() as log, self.make(stream, timeout=0.4) as logger:
            await logger.log(an_entry())
            self.server.pause()
            try:
                with pytest.raises(AuditOutcomeUnknownError):
                    await logger.log(a_full_entry(1))
            finally:
                self.server.resume()
            receipt = None
            while receipt is None:
                try:
                    receipt = await logger.log(a_full_entry(1))
                except (AuditUnavailableError, AuditOutcomeUnknownError):
                    continue
            assert await Relay(logger, log).drain() == 2
            found = await log.get("entry-1")
            assert found is not None
            assert found.leaf_hash == receipt.leaf_hash

    async def test_a_server_that_is_not_there_has_kept_nothing(self, stream: str) -> None:
        async with self.make(stream, timeout=0.3) as logger:
            self.server.kill()
            try:
                # A client that has not heard of the end yet has sent the entry, and can't know.
                with pytest.raises((AuditUnavailableError, AuditOutcomeUnknownError)):
                    await logger.log(an_entry())
                with pytest.raises(AuditStoreError):
                    await logger.ping()
            finally:
                self.server.start()
            await logger.log(an_entry(1))
            assert (await logger.stats())["unrelayed"] == 1

    async def test_what_the_stream_does_not_take_can_be_spilled(self, stream: str, tmp_path: Any) -> None:
        spill = tmp_path / "spill"
        async with self.make(stream, timeout=0.3, on_failure="spill", spill=spill) as logger:
            self.server.kill()
            try:
                receipt = await logger.log(a_full_entry())
            finally:
                self.server.start()
        async with a_log() as log, self.make(stream, on_failure="spill", spill=spill) as logger:
            assert await Relay(logger, log).drain() == 1
            found = await log.get("entry-0")
            assert found is not None
            assert found.leaf_hash == receipt.leaf_hash

    # Reading

    async def test_without_a_reader_reading_and_proving_say_where_to_look(self, stream: str) -> None:
        async with self.make(stream, signer=a_signer()) as logger:
            await logger.log(an_entry())
            for read in (logger.query, logger.count, logger.checkpoint, logger.verify):
                with pytest.raises(ConfigurationError, match="reader must be given"):
                    await read()
            with pytest.raises(ConfigurationError, match="reader must be given"):
                await logger.get("entry-0")

    async def test_with_a_reader_it_reads_proves_and_erases_what_was_relayed(self, stream: str) -> None:
        async with a_log() as log, self.make(stream, reader=log, signer=a_signer()) as logger:
            await logger.log(a_full_entry())
            assert await logger.get("entry-0") is None
            relay = Relay(logger, log)
            await relay.drain()
            assert (await logger.stats())["size"] >= 1
            assert (await logger.get("entry-0")).entry == a_full_entry()  # type: ignore[union-attr]
            assert await logger.erase(AuditFilter(user_id="user-1"), reason="request 7") == 1
            assert (await logger.get("entry-0")).erased  # type: ignore[union-attr]
            await relay.drain()
            assert "example.org/log" in await logger.checkpoint()
            assert (await logger.verify()).ok
            assert (await log.query(AuditFilter(action="audit.erase"))).entries

    async def test_an_id_that_was_relayed_keeps_its_receipt(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger:
            first = await logger.log(a_full_entry())
            await Relay(logger, log).drain()
            assert await logger.log(a_full_entry()) == first
            async with self.make(stream, reader=log) as other:
                assert (await other.log(a_full_entry())).leaf_hash == first.leaf_hash
            assert await Relay(logger, log).drain() == 0
