"""The index: rebuilt by itself, and clean of what was erased."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from file_logs import NOON, crash, filled, opened, record, records

from asgi_infra.audit.backends.file import erasing, files
from asgi_infra.audit.backends.file.offline import verify_directory
from asgi_infra.audit.backends.file.store import FileStore
from asgi_infra.audit.filter import AuditFilter

if TYPE_CHECKING:
    from pathlib import Path

HERS = AuditFilter(user_id="user-1")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_lost_index_is_made_again_when_the_log_is_opened(log: Path) -> None:
    filled(log, 30)
    (log / "index.db").unlink()
    with opened(log) as store:
        assert store.count(HERS, 0, 30) == 10
        assert store.append(records(28, 32))[0].seq == 28
        assert store.stats()["index_rebuilt"] == 1


@pytest.mark.parametrize("how", ["garbage", "cut", "emptied", "of another log", "of another layout"])
def test_a_damaged_index_is_made_again(log: Path, tmp_path: Path, how: str) -> None:
    filled(log, 30)
    path = log / "index.db"
    if how == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:4096])
    elif how == "emptied":
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE entry")
        connection.close()
    elif how == "of another log":
        filled(tmp_path / "other", 30)
        path.write_bytes((tmp_path / "other" / "index.db").read_bytes())
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    with opened(log) as store:
        assert store.append(records(28, 32))[0].seq == 28
        assert store.count(HERS, 0, 32) == 11
        assert store.stats()["index_rebuilt"] == 1


def test_an_index_that_is_lost_or_wrong_while_the_log_is_open_is_made_again(log: Path) -> None:
    with opened(log) as store:
        store.append(records(0, 30))
        assert store.count(HERS, 0, 30) == 10
        (log / "index.db").unlink()
        assert store.append(records(28, 32))[0].seq == 28
        assert store.count(HERS, 0, 32) == 11
        connection = sqlite3.connect(log / "index.db")
        connection.execute("UPDATE entry SET at = at + 1")
        connection.commit()
        connection.close()
        assert [row.seq for row in store.select(HERS, 0, 32, 3)] == [1, 4, 7]
        assert store.append(records(5, 6))[0].seq == 5
        connection = sqlite3.connect(log / "index.db")
        assert connection.execute("SELECT count(*) FROM entry WHERE at < 100").fetchone() == (1,)
        connection.close()


def test_filters_by_time_find_what_lies_out_of_order_too(log: Path) -> None:
    from datetime import timedelta

    with opened(log) as store:
        batch = [record(number, timestamp=NOON + timedelta(seconds=number * 7919 % 3000)) for number in range(3000)]
        store.append(batch)
        wanted = AuditFilter(since=NOON + timedelta(seconds=100), until=NOON + timedelta(seconds=200))
        expected = [number for number in range(3000) if 100 <= number * 7919 % 3000 < 200]
        assert [row.seq for row in store.select(wanted, 0, 3000, 1000)] == expected
        assert store.count(wanted, 0, 3000) == 100
        nothing = AuditFilter(since=NOON + timedelta(days=1))
        assert store.select(nothing, 0, 3000, 10) == []


def _holds(log: Path, text: bytes) -> list[str]:
    return [path.name for path in log.rglob("*") if path.is_file() and text in path.read_bytes()]


@pytest.mark.parametrize("segment_bytes", [4096, 1 << 20])
def test_what_was_erased_is_in_no_file_any_more(log: Path, segment_bytes: int) -> None:
    with opened(log, segment_bytes) as store:
        for start in range(0, 30, 5):
            store.append(records(start, start + 5, private=True, user_id="alice@example.org"))
        assert store.count(AuditFilter(user_id="alice@example.org"), 0, 30) == 30
        assert _holds(log, b"private-7")
        assert store.erase([*range(20), 99]) == 20
        assert store.erase(range(20)) == 0
        assert store.count(AuditFilter(user_id="alice@example.org"), 0, 30) == 10
        for number in range(20):
            assert _holds(log, b'"private-%d"' % number) == []
        assert store.erase(range(30)) == 10
        for text in (b"alice@example.org", b"private-"):
            assert _holds(log, text) == []
        assert all(row.private is None for row in store.select(AuditFilter(), 0, 30, 30))
    assert _holds(log, b"alice@example.org") == []
    report = verify_directory(log)
    assert (report.problem, report.erased) == ("", 30)


@pytest.mark.parametrize("synced", [0, 1])
def test_erasing_that_was_interrupted_is_finished_when_the_log_is_opened(
    log: Path, monkeypatch: pytest.MonkeyPatch, synced: int
) -> None:
    store = FileStore(log, 1 << 20)
    store.open()
    store.append(records(0, 9, private=True, user_id="alice@example.org"))
    store.count(HERS, 0, 9)
    real, calls = files.write, []

    def dies(descriptor: int, data: bytes, offset: int) -> None:
        if not data.strip(b"\0"):
            calls.append(offset)
            if len(calls) > 3 * synced:
                real(descriptor, data[: len(data) // 2], offset)
                raise KeyboardInterrupt
        real(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            store.erase(range(9))
    crash(store)
    assert (log / erasing.JOURNAL).exists()
    with opened(log) as store:
        assert store.recovery is None
        assert store.count(AuditFilter(user_id="alice@example.org"), 0, 9) == 0
        assert [row.private for row in store.select(AuditFilter(), 0, 9, 9)] == [None] * 9
    assert not (log / erasing.JOURNAL).exists()
    assert _holds(log, b"alice@example.org") == []
    assert verify_directory(log).ok


def test_purged_entries_are_in_no_file_but_the_tiles_stay(log: Path) -> None:
    with opened(log, 4096) as store:
        for start in range(0, 600, 8):
            store.append(records(start, start + 8))
        node = store.nodes(600)(8, 0)
        first = store.prune(600)
        assert 490 < first <= 512  # what the bundle needs that is not full yet stays
        head = store.head()
        assert (head.first, head.size) == (first, 600)
        assert store.select(AuditFilter(), 0, first, 10) == []
        assert store.find("entry-5") is None
        assert store.count(HERS, 0, 600) == len([seq for seq in range(first, 600) if seq % 3 == 1])
        assert store.nodes(600)(8, 0) == node
        assert store.append(records(600, 603))[0].seq == 600
        assert len(list((log / "tile" / "0").glob("00?"))) == 2
        assert _holds(log, b'"entry-77"') == []
    assert verify_directory(log).problem == ""
