"""What a relay has to do with both kinds of streams."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from audit.audit_stores import BlockingStore
from stream_cases import StreamCases, a_log, entries_of, holds, running, until

from asgi_infra.audit import AuditLogger
from asgi_infra.audit.errors import (
    AuditFullError,
    AuditIntegrityError,
    AuditUnavailableError,
)
from asgi_infra.audit.stream import AuditLeaseLostError, Relay
from asgi_infra.testing.audit.base import a_full_entry, an_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.audit.record import Record


async def leads(relay: Relay) -> bool:
    return (await relay.stats())["leading"] == 1


class RelayCases(StreamCases):
    """To be subclassed as `StreamCases` is."""

    async def test_of_two_relays_one_works_and_the_other_takes_over(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger, self.make(stream) as other:
            relays = [Relay(logger, log, lease=1, wait=0.05), Relay(other, log, lease=1, wait=0.05)]
            async with running(relays[0]):
                await logger.log(an_entry(0))
                await holds(log, 1)
                async with running(relays[1]):
                    await logger.log(an_entry(1))
                    await holds(log, 2)
                    assert [(await relay.stats())["leading"] for relay in relays] == [1, 0]
                    with pytest.raises(AuditLeaseLostError):
                        await Relay(other, log).drain()
                    relays[0].stop()
                    await until(lambda: leads(relays[1]))
                    await logger.log(an_entry(2))
                    await holds(log, 3)
            assert await entries_of(log) == ["entry-0", "entry-1", "entry-2"]
            assert [(await relay.stats())["relayed"] for relay in relays] == [2, 1]

    async def test_a_relay_that_dies_is_followed_by_another_when_its_lease_has_run_out(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger, self.make(stream) as other:
            assert logger.stream.acquire("dead", 1.0) is not None
            async with running(Relay(other, log, lease=1, wait=0.05)):
                await logger.log(an_entry())
                await holds(log, 1)

    async def test_a_relay_of_the_past_can_neither_fork_the_log_nor_empty_the_stream(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger, self.make(stream) as other:
            await logger.log_many(an_entry(number) for number in range(10))
            past = Relay(logger, log, batch=4)
            token = logger.stream.acquire("past", 1.0)
            assert token is not None
            messages, records, _ = past._fetch(None, 0.0)
            self.forget_lease(stream)
            assert await Relay(other, log, batch=3).drain() == 10
            later = other.stream.acquire("other", 10.0)
            assert later is not None
            assert later > token
            await logger.log(an_entry(10))
            with pytest.raises(AuditLeaseLostError):
                await past._hand_over(token, messages, records, [])
            with pytest.raises(AuditLeaseLostError):
                logger.stream.renew(token, 1.0)
            logger.stream.release(token)
            with pytest.raises(AuditLeaseLostError):
                await Relay(logger, log).drain()
            assert (await logger.stats())["unrelayed"] == 1
            other.stream.release(later)
            await Relay(logger, log).drain()
            assert await entries_of(log) == [f"entry-{number}" for number in range(11)]

    async def test_a_relay_stops_at_once_when_its_lease_is_lost(self, stream: str) -> None:
        store = BlockingStore(delay=0)
        async with AuditLogger(store) as log, self.make(stream) as logger, self.make(stream) as other:
            gate = threading.Event()
            relay = Relay(logger, log, lease=1, wait=0.05)
            store.before = lambda records: gate.wait(20)
            await logger.log(an_entry())
            try:
                async with running(relay):
                    await until(lambda: leads(relay))
                    self.forget_lease(stream)
                    assert other.stream.acquire("other", 30.0) is not None

                    async def lost() -> bool:
                        return (await relay.stats())["leases_lost"] == 1

                    await until(lost)  # although the log has not answered yet
                    assert (await relay.stats())["leading"] == 0
                    gate.set()
            finally:
                gate.set()
            assert (await logger.stats())["unrelayed"] == 1

    async def test_a_crash_between_the_log_and_the_stream_brings_no_entry_twice(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger:
            await logger.log_many(an_entry(number) for number in range(5))
            relay = Relay(logger, log)
            token = logger.stream.acquire("crash", 5.0)
            assert token is not None
            messages, records, _ = relay._fetch(None, 0.0)
            await log._log(records)
            assert len(messages) == 5
            logger.stream.release(token)
            assert (await logger.stats())["unrelayed"] == 5
            assert await relay.drain() == 5
            assert await entries_of(log) == [f"entry-{number}" for number in range(5)]
            assert (await relay.stats())["conflicts"] == 0

    async def test_a_relay_that_is_cancelled_in_mid_batch_loses_nothing(self, stream: str) -> None:
        store = BlockingStore(delay=0)
        async with AuditLogger(store) as log, self.make(stream) as logger:
            await logger.log_many(an_entry(number) for number in range(50))
            begun, gate = threading.Event(), threading.Event()

            def wait(records: Sequence[Record]) -> None:
                begun.set()
                gate.wait(20)

            store.before = wait
            async with anyio.create_task_group() as group:
                group.start_soon(Relay(logger, log, batch=20).run)
                while not begun.is_set():  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                group.cancel_scope.cancel()
            gate.set()
            self.forget_lease(stream)
            await Relay(logger, log, batch=7).drain()
            assert await entries_of(log) == [f"entry-{number}" for number in range(50)]

    async def test_while_the_log_takes_nothing_the_relay_tries_again(self, stream: str) -> None:
        store = BlockingStore(delay=0)
        async with AuditLogger(store) as log, self.make(stream) as logger:
            left = 3

            def fail(records: Sequence[Record]) -> None:
                nonlocal left
                left -= 1
                if left >= 0:
                    raise AuditUnavailableError("not now")

            store.before = fail
            relay = Relay(logger, log, wait=0.05, batch=2)
            await logger.log_many(an_entry(number) for number in range(5))
            async with running(relay):
                await holds(log, 5)
            assert await entries_of(log) == [f"entry-{number}" for number in range(5)]
            assert (await relay.stats())["failures"] == 3

    async def test_a_log_that_must_not_be_written_to_ends_the_relay(self, stream: str) -> None:
        store = BlockingStore(delay=0)
        async with AuditLogger(store) as log, self.make(stream) as logger:

            def fail(records: Sequence[Record]) -> None:
                raise AuditIntegrityError("torn")

            store.before = fail
            await logger.log(an_entry())
            with pytest.raises(AuditIntegrityError):
                await Relay(logger, log).run()
            assert (await logger.stats())["unrelayed"] == 1

    async def test_a_relay_survives_its_server(self, stream: str) -> None:
        async with a_log() as log, self.make(stream, timeout=1) as logger:
            relay = Relay(logger, log, lease=1, wait=0.05)
            async with running(relay):
                await logger.log(an_entry(0))
                await holds(log, 1)
                self.server.kill()
                self.server.start()
                await logger.log(an_entry(1))
                await holds(log, 2)
            assert await entries_of(log) == ["entry-0", "entry-1"]

    async def test_what_is_no_entry_is_set_aside_and_the_others_go_on(self, stream: str) -> None:
        async with a_log() as log, self.make(stream) as logger:
            await logger.log(a_full_entry(0))
            strange = [b"", b"hello", os.urandom(200), b"\x01\x01" + bytes(40)]
            for data in strange:
                self.strange(stream, data)
            await logger.log(a_full_entry(1))
            relay = Relay(logger, log, batch=2)
            assert await relay.drain() == 2
            found = await relay.stats()
            assert (found["rejected"], found["lag"]) == (4, 0)
            assert await entries_of(log) == ["entry-0", "entry-1"]
            assert self.set_aside(stream) == strange

    async def test_a_full_stream_refuses_until_the_relay_has_emptied_it(self, stream: str) -> None:
        async with a_log() as log, self.make_small(stream) as logger:
            kept = 0
            with pytest.raises(AuditFullError):  # noqa: PT012
                while kept < 3_000:
                    await logger.log(a_full_entry(kept, details={"text": "x" * 20_000}))
                    kept += 1
            assert kept
            await Relay(logger, log).drain()
            await logger.log(a_full_entry(kept))
            await Relay(logger, log).drain()
            assert await entries_of(log) == [f"entry-{number}" for number in range(kept + 1)]
