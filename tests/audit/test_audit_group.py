from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from audit_stores import BlockingStore, ids, raising

from asgi_infra.audit.errors import (
    AuditClosedError,
    AuditFullError,
    AuditOutcomeUnknownError,
    AuditStoreError,
    AuditUnavailableError,
)
from asgi_infra.audit.group import GroupCommitter
from asgi_infra.audit.record import Receipt, Record, Sealer
from asgi_infra.testing.audit.base import an_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio
SEALER = Sealer()


def a_record(number: int) -> Record:
    return SEALER.seal(an_entry(number))


class Gate:
    """A commit that waits until it is let through, and keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.entered = threading.Event()
        self.free = threading.Event()
        self.error: BaseException | None = None
        self.threads: set[int] = set()

    def __call__(self, records: Sequence[Record]) -> list[Receipt]:
        self.entered.set()
        assert self.free.wait(60)
        self.threads.add(threading.get_ident())
        self.batches.append(ids(records))
        if self.error is not None:
            raise self.error
        done = sum(map(len, self.batches[:-1]))
        return [Receipt(done + at, record.leaf_hash) for at, record in enumerate(records)]

    @property
    def committed(self) -> list[str]:
        return [each for batch in self.batches for each in batch]


def committer(commit: Any, max_batch: int = 100, max_records: int = 1000, max_bytes: int = 10**9) -> GroupCommitter:
    return GroupCommitter(commit, max_batch=max_batch, max_records=max_records, max_bytes=max_bytes)


async def until(condition: Any) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread
            await anyio.sleep(0.001)


async def test_what_comes_while_a_batch_is_written_is_the_next_batch() -> None:
    gate = Gate()
    group = committer(gate)
    receipts: dict[int, Receipt] = {}

    async def submit(number: int) -> None:
        (receipts[number],) = await group.submit([a_record(number)])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(submit, 0)
        await until(gate.entered.is_set)
        for number in range(1, 50):
            tasks.start_soon(submit, number)
            await anyio.lowlevel.checkpoint()
        await until(lambda: group.depth()[0] == 49)
        gate.free.set()
    assert [len(batch) for batch in gate.batches] == [1, 49]
    assert gate.committed == [f"entry-{number}" for number in range(50)]
    assert [receipts[number].seq for number in range(50)] == list(range(50))
    assert len(gate.threads) == 1
    await group.aclose()


async def test_batches_have_a_bound_and_what_was_submitted_together_stays_together() -> None:
    gate = Gate()
    group = committer(gate, max_batch=5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(group.submit, [a_record(0)])
        await until(gate.entered.is_set)
        for first, count in ((1, 3), (4, 3), (7, 9), (16, 1)):
            tasks.start_soon(group.submit, [a_record(number) for number in range(first, first + count)])
            await until(lambda end=first + count - 1: group.depth()[0] == end)
        gate.free.set()
    assert [len(batch) for batch in gate.batches] == [1, 3, 3, 9, 1]
    await group.aclose()


@pytest.mark.parametrize("bounds", [{"max_records": 3}, {"max_bytes": 3 * a_record(0).size}])
async def test_beyond_the_bounds_writers_wait_in_order(bounds: dict[str, int]) -> None:
    gate = Gate()
    group = committer(gate, max_batch=2, **bounds)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(group.submit, [a_record(0)])
        await until(gate.entered.is_set)
        for number in range(1, 10):
            tasks.start_soon(group.submit, [a_record(number)])
            await until(lambda number=number: sum(group.depth()) == number)
        assert group.depth() == (3, 6)
        assert group.waited == 6
        gate.free.set()
    assert gate.committed == [f"entry-{number}" for number in range(10)]
    assert group.depth() == (0, 0)
    await group.aclose()


async def test_one_that_is_larger_than_the_queue_is_committed_alone() -> None:
    gate = Gate()
    gate.free.set()
    group = committer(gate, max_batch=2, max_records=3)
    assert len(await group.submit([a_record(number) for number in range(10)])) == 10
    await group.aclose()


async def test_who_is_cancelled_in_the_queue_is_committed_and_who_waits_outside_is_not() -> None:
    gate = Gate()
    group = committer(gate, max_batch=10, max_records=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(group.submit, [a_record(0)])
        await until(gate.entered.is_set)
        async with anyio.create_task_group() as cancelled:
            for number in range(1, 5):
                cancelled.start_soon(group.submit, [a_record(number)])
                await until(lambda number=number: sum(group.depth()) == number)
            cancelled.cancel_scope.cancel()
        tasks.start_soon(group.submit, [a_record(5)])
        await until(lambda: sum(group.depth()) == 5)
        gate.free.set()
    assert gate.committed == ["entry-0", "entry-1", "entry-2", "entry-5"]
    await group.aclose()


async def test_a_failure_reaches_everybody_in_the_batch_and_nobody_else() -> None:
    gate = Gate()
    gate.free.set()
    group = committer(gate)
    cause = OSError("disk full")
    gate.error = AuditFullError("no room")
    gate.error.__cause__ = cause
    errors: list[AuditStoreError] = []

    async def submit(number: int) -> None:
        with pytest.raises(AuditFullError, match="no room") as caught:
            await group.submit([a_record(number)])
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(submit, number)
    assert len({id(error) for error in errors}) == 5, "tracebacks of several tasks must not mix"
    assert {error.__cause__ for error in errors} == {cause}
    gate.error = None
    assert len(await group.submit([a_record(9)])) == 1
    await group.aclose()


@pytest.mark.parametrize("error", [OSError("disk"), RuntimeError("bug"), SystemExit(1), KeyboardInterrupt()])
async def test_whatever_is_raised_the_committer_goes_on(error: BaseException) -> None:
    gate = Gate()
    gate.free.set()
    group = committer(gate)
    gate.error = error
    with pytest.raises(AuditUnavailableError, match=type(error).__name__) as caught:
        await group.submit([a_record(0)])
    assert caught.value.__cause__ is error
    gate.error = None
    assert len(await group.submit([a_record(1)])) == 1
    await group.aclose()


async def test_closing_commits_what_was_submitted_and_refuses_what_comes_later() -> None:
    gate = Gate()
    group = committer(gate, max_records=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(group.submit, [a_record(0)])
        await until(gate.entered.is_set)
        for number in range(1, 6):
            tasks.start_soon(group.submit, [a_record(number)])
        await until(lambda: sum(group.depth()) == 5)
        tasks.start_soon(group.aclose)
        await until(lambda: group._closing)
        with pytest.raises(AuditClosedError):
            await group.submit([a_record(9)])
        gate.free.set()
    assert sorted(gate.committed) == [f"entry-{number}" for number in range(6)]
    await group.aclose()


async def test_a_close_that_is_cancelled_goes_on() -> None:
    gate = Gate()
    group = committer(gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(group.submit, [a_record(0)])
        await until(gate.entered.is_set)
        with anyio.move_on_after(0):
            await group.aclose()
        gate.free.set()
    await group.aclose()
    assert gate.committed == ["entry-0"]


async def test_nothing_runs_before_the_first_submission_and_after_the_end() -> None:
    gate = Gate()
    gate.free.set()
    before = set(threading.enumerate())
    group = committer(gate)
    assert not set(threading.enumerate()) - before
    await group.submit([a_record(0)])
    # Of this test alone: others may have left threads that end when they are collected.
    ours = {thread for thread in set(threading.enumerate()) - before if thread.name == "asgi_infra-audit"}
    assert ours
    await group.aclose()
    await until(lambda: not any(thread.is_alive() for thread in ours))


def test_a_loop_that_is_gone_disturbs_nobody() -> None:
    gate = Gate()
    group = committer(gate)

    async def leave() -> None:
        task = asyncio.create_task(group.submit([a_record(0)]))  # type: ignore[arg-type]
        await until(gate.entered.is_set)
        task.cancel()

    async def stay() -> None:
        receipts = await group.submit([a_record(1)])
        assert [receipt.seq for receipt in receipts] == [1]
        await group.aclose()

    asyncio.run(leave())
    gate.free.set()
    asyncio.run(stay())
    assert gate.committed == ["entry-0", "entry-1"]


async def test_an_unknown_outcome_stays_one() -> None:
    store = BlockingStore()
    store.after = raising(AuditOutcomeUnknownError("lost while committing"))
    group = committer(store.append)
    with pytest.raises(AuditOutcomeUnknownError) as caught:
        await group.submit([a_record(0)])
    assert caught.value.retryable
    store.after = None
    (receipt,) = await group.submit([a_record(0)])
    assert receipt.seq == 0
    await group.aclose()


def test_loops_of_both_kinds_share_one_committer() -> None:
    store = BlockingStore()
    group = committer(store.append, max_batch=8)
    found: list[int] = []

    async def submit(first: int) -> None:
        for number in range(first, first + 20):
            (receipt,) = await group.submit([a_record(number)])
            found.append(receipt.seq)

    backends = ("asyncio", "trio", "asyncio", "trio")
    threads = [
        threading.Thread(target=partial(anyio.run, submit, 100 * at, backend=backend))
        for at, backend in enumerate(backends)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(80))
    anyio.run(group.aclose)
