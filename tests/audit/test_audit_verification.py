from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra.audit import AuditFilter, InMemoryAuditLogger
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.record import Sealer
from asgi_infra.testing.audit.base import a_full_entry, a_signer, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.backends.memory import MemoryStore
    from asgi_infra.audit.record import Record

pytestmark = pytest.mark.anyio


def flip(data: bytes, at: int = 20) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _drop(store: MemoryStore) -> None:
    del store._records[5]


def _swap(store: MemoryStore) -> None:
    store._records[5], store._records[6] = store._records[6], store._records[5]


def _repeat(store: MemoryStore) -> None:
    store._records[5] = store._records[4]


def _change(change: Callable[[Record], Record]) -> Callable[[MemoryStore], None]:
    def apply(store: MemoryStore) -> None:
        store._records[5] = change(store._records[5])

    return apply


def _rehash(store: MemoryStore) -> None:
    """Change an entry and its hash, as somebody would who knows how the log works."""
    forged = Sealer().seal(a_full_entry(5, user_id="mallory"))
    store._records[5] = forged
    store._levels[0]._hashes[5] = forged.leaf_hash


TAMPERED: dict[str, tuple[Callable[[MemoryStore], None], int | None, str]] = {
    "a leaf": (_change(lambda record: record._replace(leaf=flip(record.leaf))), 5, "another hash than the tree"),
    "a forged leaf": (_change(lambda record: Sealer().seal(record.entry)), 5, "another hash than the tree"),
    "a private part": (_change(lambda record: record._replace(private=flip(record.private or b""))), 5, "private"),
    "swapped": (_swap, 5, "another hash than the tree"),
    "repeated": (_repeat, 5, "another hash than the tree"),
    "dropped": (_drop, 5, "another hash than the tree"),
    "a leaf and its hash": (_rehash, None, "do not make the root"),
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_the_first_bad_entry_is_named(how: str) -> None:
    tamper, bad_seq, problem = TAMPERED[how]
    async with InMemoryAuditLogger(max_entries=100) as logger:
        await logger.log_many(a_full_entry(number) for number in range(10))
        store: Any = logger._store
        tamper(store)
        report = await logger.verify()
        assert not report
        assert (report.ok, report.bad_seq) == (False, bad_seq)
        assert problem in report.problem
        assert report.checked == (10 if bad_seq is None else bad_seq)


async def test_a_cut_end_is_found_by_the_last_checkpoint() -> None:
    async with InMemoryAuditLogger(signer=a_signer()) as logger:
        await logger.log_many(an_entry(number) for number in range(10))
        await logger.checkpoint()
        note = await logger.last_checkpoint()
    async with InMemoryAuditLogger(signer=a_signer()) as shorter:
        await shorter.log_many(a_full_entry(number) for number in range(9))
        shorter._store.save_checkpoint((note or "").encode(), 10)
        report = await shorter.verify()
        assert report.problem == "the log has 9 entries, but it has signed 10: the end was cut off"
        with pytest.raises(AuditIntegrityError, match="it has signed 10"):
            await shorter.checkpoint()
        await shorter.log_many(an_entry(number) for number in range(9, 12))
        report = await shorter.verify()
        assert report.problem == "the log is not the one whose first 10 entries were signed"
        with pytest.raises(AuditIntegrityError, match="no longer begins with the 10 entries"):
            await shorter.checkpoint()


async def test_a_checkpoint_that_is_unreadable_is_told() -> None:
    async with InMemoryAuditLogger() as logger:
        await logger.log(an_entry())
        logger._store.save_checkpoint(b"no note", 1)
        assert (await logger.verify()).problem.startswith("the last checkpoint is unreadable")


async def test_hashes_that_are_missing_are_told() -> None:
    async with InMemoryAuditLogger(max_entries=4) as logger:
        await logger.log_many(an_entry(number) for number in range(10))
        store: Any = logger._store
        store._levels[2]._hashes.clear()
        assert (await logger.verify()).problem.startswith("the hashes of the purged entries are missing")


async def test_a_check_reads_an_erased_and_purged_log() -> None:
    async with InMemoryAuditLogger(max_entries=50) as logger:
        await logger.log_many(a_full_entry(number, user_id=f"user-{number % 3}") for number in range(120))
        await logger.erase(AuditFilter(user_id="user-1"), reason="ticket 17")
        report = await logger.verify()
        assert (report.ok, report.first, report.checked, report.size) == (True, 72, 50, 122)
        assert 15 <= report.erased <= 17
