# ruff: noqa: ASYNC240 - small files of the test's own
from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from audit_stores import BlockingStore, ids, raising

from asgi_infra import faults
from asgi_infra.audit import AuditEntry, AuditFilter, AuditLogger
from asgi_infra.audit.errors import AuditFullError, AuditIntegrityError, AuditUnavailableError
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import a_full_entry, an_entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
DOWN = raising(AuditUnavailableError("the store is down"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.spill"


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    places: list[str] = []
    monkeypatch.setattr(faults, "record", lambda place, error: places.append(place))
    return places


def make(store: BlockingStore, path: Path, **options: Any) -> AuditLogger:
    logger = AuditLogger(store, audit_reads=False, on_failure="spill", spill=path, **options)
    assert logger._spilling is not None
    logger._spilling._pause = 0.0
    return logger


async def log_one_by_one(logger: AuditLogger, entries: list[AuditEntry]) -> None:
    for entry in entries:
        await logger.log(entry)


async def test_what_the_store_does_not_take_is_kept_and_goes_first_later(path: Path, recorded: list[str]) -> None:
    store = BlockingStore()
    async with make(store, path) as logger:
        assert (await logger.log(an_entry(0))).seq == 0
        store.before = DOWN
        spilled = [await logger.log(a_full_entry(number)) for number in range(1, 4)]
        assert all(receipt.spilled and receipt.seq == -1 for receipt in spilled)
        assert (await logger.stats())["spill_bytes"] == path.stat().st_size > 0
        store.before = None
        assert (await logger.log(an_entry(4))).seq == 4
        page = await logger.query()
        assert page.entries == (an_entry(0), *(a_full_entry(number) for number in range(1, 4)), an_entry(4))
        assert [each.leaf_hash for each in page][1:4] == [receipt.leaf_hash for receipt in spilled]
        assert (await logger.verify()).ok
        stats = await logger.stats()
        assert (stats["spilled"], stats["replayed"], stats["spill_bytes"]) == (3, 3, 0)
    assert path.stat().st_size == 0
    assert set(recorded) == {"audit.store"}


async def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    async with make(BlockingStore(), path) as logger:
        await logger.log(an_entry(0))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_next_logger_gives_the_store_what_is_left(path: Path) -> None:
    store = BlockingStore()
    store.before = DOWN
    async with make(store, path) as logger:
        await logger.log_many(an_entry(number) for number in range(300))
    assert store.head().size == 0
    store.before = None
    async with make(store, path) as logger:
        assert await logger.count(AuditFilter(action="order.refund")) == 300
        assert (await logger.log(an_entry(300))).seq == 300


async def test_closing_gives_the_store_what_is_left(path: Path) -> None:
    store = BlockingStore()
    async with make(store, path) as logger:
        store.before = DOWN
        await logger.log(an_entry(0))
        store.before = None
    assert store.head().size == 1
    assert path.read_bytes() == b""


async def test_a_store_that_stays_down_does_not_keep_a_logger_from_closing(path: Path) -> None:
    store = BlockingStore()
    async with make(store, path) as logger:
        store.before = DOWN
        await logger.log(an_entry(0))
    assert store.closed == 1
    assert path.read_bytes() != b""


async def test_a_replay_that_breaks_off_is_repeated_without_doubles(path: Path) -> None:
    store = BlockingStore()
    store.before = DOWN
    async with make(store, path) as logger:
        await logger.log_many(an_entry(number) for number in range(600))
        calls: list[int] = []

        def fail_in_the_middle(records: Any) -> None:
            calls.append(len(records))
            if len(calls) == 2:
                raise AuditUnavailableError("down again")

        store.before = fail_in_the_middle
        assert (await logger.log(an_entry(600))).spilled
        assert store.head().size == 256
        assert (await logger.log(an_entry(601))).seq == 601
        assert [each.entry.id for each in await logger.query(limit=1000)] == [f"entry-{at}" for at in range(602)]


async def test_the_store_is_left_alone_for_a_while(path: Path) -> None:
    store = BlockingStore()
    tried: list[list[str]] = []
    store.before = lambda records: (tried.append(ids(records)), DOWN(records))
    now = 0.0
    async with make(store, path) as logger:
        spilling = logger._spilling
        assert spilling is not None
        spilling._pause, spilling._monotonic = 1.0, lambda: now
        await logger.log(an_entry(0))
        await logger.log(an_entry(1))
        assert tried == [["entry-0"]]
        now = 1.0
        await logger.log(an_entry(2))
        assert tried == [["entry-0"], ["entry-0", "entry-1"]]


async def test_a_full_file_refuses_entries(path: Path) -> None:
    store = BlockingStore()
    store.before = DOWN
    async with make(store, path, max_spill_bytes=65_536) as logger:
        many = [a_full_entry(number) for number in range(1000)]
        with pytest.raises(AuditFullError, match="spill file holds") as caught:
            await log_one_by_one(logger, many)
        assert isinstance(caught.value.__cause__, AuditUnavailableError)
        assert path.stat().st_size <= 65_536
        spilled = (await logger.stats())["spilled"]
        store.before = None
        await logger.log(an_entry(2000))
        assert await logger.count() == spilled + 1


async def test_a_store_that_is_wrong_is_not_written_around(path: Path) -> None:
    store = BlockingStore()
    store.before = raising(AuditIntegrityError("changed"))
    async with make(store, path) as logger:
        with pytest.raises(AuditIntegrityError):
            await logger.log(an_entry(0))
        assert path.stat().st_size == 0


async def test_a_line_without_its_end_was_never_acknowledged(path: Path) -> None:
    store = BlockingStore()
    store.before = DOWN
    async with make(store, path) as logger:
        await logger.log_many([an_entry(0), an_entry(1)])
    whole = path.read_bytes()
    store.before = None
    path.write_bytes(whole[:-5])
    async with make(store, path) as logger:
        await logger.log(an_entry(2))
        assert [each.entry.id for each in await logger.query()] == ["entry-0", "entry-2"]


async def test_a_damaged_file_is_told_and_kept(path: Path) -> None:
    store = BlockingStore()
    store.before = DOWN
    async with make(store, path) as logger:
        await logger.log_many(an_entry(number) for number in range(3))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store.before = None
    logger = make(store, path)
    with pytest.raises(AuditIntegrityError, match="spill file is damaged at byte"):
        await logger.log(an_entry(3))
    await logger.aclose()
    assert path.read_bytes() == data


async def test_a_disk_that_fails_refuses_entries(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlockingStore()
    store.before = DOWN
    async with make(store, path) as logger:
        await logger.log(an_entry(0))
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", raising(OSError(5, "I/O error")))
            with pytest.raises(AuditFullError) as caught:
                await logger.log(an_entry(1))
            assert isinstance(caught.value.__cause__, OSError)
        store.before = None
        await logger.log(an_entry(2))
        assert [each.entry.id for each in await logger.query()] == ["entry-0", "entry-2"]


async def test_two_processes_do_not_share_a_file(path: Path) -> None:
    pytest.importorskip("fcntl")
    async with make(BlockingStore(), path) as logger:
        await logger.log(an_entry(0))
        with pytest.raises(ConfigurationError, match="spill must be a file of its own"):
            await make(BlockingStore(), path).log(an_entry(0))


async def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    logger = make(BlockingStore(), tmp_path / "missing" / "audit.spill")
    with pytest.raises(AuditUnavailableError, match="spill file can't be opened") as caught:
        await logger.log(an_entry(0))
    assert isinstance(caught.value.__cause__, FileNotFoundError)
