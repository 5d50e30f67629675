"""What a crash leaves is repaired; what a crash can't have left is refused."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import pytest
from file_logs import crash, filled, opened, record, records, segments, sign

from asgi_infra.audit.backends.file import FileAuditLogger
from asgi_infra.audit.backends.file.frames import encode
from asgi_infra.audit.backends.file.offline import verify_directory
from asgi_infra.audit.backends.file.store import FileStore
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.filter import AuditFilter

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def crashed(path: Path, entries: int, *, batch: int = 3, segment_bytes: int = 1 << 20) -> None:
    store = FileStore(path, segment_bytes)
    store.open()
    for start in range(0, entries, batch):
        store.append(records(start, min(start + batch, entries)))
    crash(store)


def test_a_torn_tail_of_any_length_is_cut_off_and_told(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    crashed(log, 6)
    path = segments(log)[0]
    whole = path.read_bytes()
    batch = encode(records(6, 9), 6)
    for length in range(1, len(batch), 37):
        path.write_bytes(whole + batch[:length])
        caplog.clear()
        with caplog.at_level(logging.WARNING, "asgi_infra.audit"), opened(log) as store:
            assert store.recovery is not None
            found = (store.recovery.path, store.recovery.offset, store.recovery.removed, store.recovery.size)
            assert found == (path, len(whole), length, 6)
            assert store.stats()["torn_bytes"] == length
            assert store.head().size == 6
            crash(store)
        assert f"{length} bytes of an unfinished batch" in caplog.text
        assert path.read_bytes() == whole
    with opened(log) as store:
        assert store.recovery is None
        assert [receipt.seq for receipt in store.append(records(4, 8))] == [4, 5, 6, 7]
    assert verify_directory(log).ok


def test_a_whole_batch_without_a_receipt_stays(log: Path) -> None:
    crashed(log, 6)
    with segments(log)[0].open("ab") as file:
        file.write(encode(records(6, 9), 6))
    with opened(log) as store:
        assert (store.recovery, store.head().size) == (None, 9)
        assert [receipt.seq for receipt in store.append(records(6, 10))] == [6, 7, 8, 9]


@pytest.mark.parametrize("garbage", [bytes(5000), b"\xff" * 700, b"\xffAR\x00" * 50])
def test_garbage_after_the_last_batch_is_cut_off(log: Path, garbage: bytes) -> None:
    crashed(log, 6)
    with segments(log)[0].open("ab") as file:
        file.write(garbage)
    with opened(log) as store:
        assert store.recovery is not None
        assert (store.recovery.removed, store.head().size) == (len(garbage), 6)


def test_a_flipped_byte_before_a_later_batch_is_refused_and_nothing_is_changed(log: Path) -> None:
    crashed(log, 9)
    path = segments(log)[0]
    data = bytearray(path.read_bytes())
    at = data.index(b"entry-4")
    data[at] ^= 1
    path.write_bytes(data)
    begin = data.rindex(b"\xffAR\x00", 0, at)
    with pytest.raises(AuditIntegrityError, match=f"{path}, byte {begin}: entry 4: the record is damaged"):
        FileStore(log, 1 << 20).open()
    assert path.read_bytes() == data


def test_what_a_checkpoint_covers_is_never_cut_off(log: Path) -> None:
    store = FileStore(log, 1 << 20)
    store.open()
    store.append(records(0, 4))
    sign(store)
    crash(store)
    path = segments(log)[0]
    whole = path.read_bytes()
    (log / "published").unlink()
    for data, problem in (
        (whole[:-5], "entry 3: the record is cut off"),
        (whole[: whole.index(b"\xffAR\x00")], "the log ends after 0 entries, but it had 4"),
        (whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:], "entry 3: the private part is damaged"),
    ):
        path.write_bytes(data)
        with pytest.raises(AuditIntegrityError, match=problem):
            FileStore(log, 1 << 20).open()
        assert path.read_bytes() == data


def test_after_a_clean_end_every_flipped_byte_of_the_tail_is_refused(log: Path) -> None:
    filled(log, 2, signed=False)
    path = segments(log)[0]
    data = path.read_bytes()
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(AuditIntegrityError, match=str(path)):
            FileStore(log, 1 << 20).open()
    path.write_bytes(data)
    with opened(log) as store:
        assert store.head().size == 2


def test_another_log_under_the_same_checkpoint_is_refused(log: Path, tmp_path: Path) -> None:
    filled(log, 6)
    filled(tmp_path / "other", 6)
    shutil.copy(tmp_path / "other" / "checkpoint", log / "checkpoint")
    with pytest.raises(AuditIntegrityError, match="is not the one whose first 6 entries were signed"):
        FileStore(log, 1 << 20).open()


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_a_missing_segment_is_refused(log: Path, lost: int) -> None:
    filled(log, 100, segment_bytes=8_000)
    segments(log)[lost].unlink()
    if lost == 0:
        assert not verify_directory(log).ok or verify_directory(log).first > 0  # as after a purge
        return
    with pytest.raises(AuditIntegrityError):
        FileStore(log, 8_000).open()


def test_missing_segments_of_a_log_that_had_some_are_refused(log: Path) -> None:
    filled(log, 5)
    for path in segments(log):
        path.unlink()
    with pytest.raises(AuditIntegrityError, match="the segments of 5 entries are missing"):
        FileStore(log, 1 << 20).open()


@pytest.mark.parametrize("name", ["published", "checkpoint", "erasing"])
def test_a_damaged_file_beside_the_log_is_refused_by_its_name(log: Path, name: str) -> None:
    filled(log, 5)
    (log / name).write_bytes(b"what is this?")
    with pytest.raises(AuditIntegrityError, match=f"{log / name}, byte 0"):
        FileStore(log, 1 << 20).open()


def test_a_log_that_is_cut_or_replaced_while_it_is_open_takes_nothing_more(log: Path) -> None:
    with opened(log) as store:
        store.append(records(0, 6))
        path = segments(log)[0]
        data = path.read_bytes()
        path.write_bytes(data[:-40])
        with pytest.raises(AuditIntegrityError, match="the end was cut off while the log was open"):
            store.append([record(6)])
        path.write_bytes(data)
        store.append([record(6)])
        moved = path.rename(log / "moved")
        shutil.copy(moved, path)
        with pytest.raises(AuditIntegrityError, match="the segment was replaced"):
            store.append([record(7)])
        path.unlink()
        with pytest.raises(AuditIntegrityError, match="the segment was removed"):
            store.append([record(7)])
        moved.rename(path)
        assert store.append([record(7)])[0].seq == 7


def test_a_segment_that_was_ended_without_a_next_one_goes_on(log: Path) -> None:
    from asgi_infra.audit.backends.file.frames import seal

    crashed(log, 6)
    with segments(log)[0].open("ab") as file:
        file.write(seal(6))
    with opened(log) as store:
        assert store.recovery is None
        assert store.append(records(5, 8))[-1].seq == 7
        assert len(segments(log)) == 2
    assert verify_directory(log).ok


@pytest.mark.anyio
async def test_a_damaged_entry_is_told_by_a_query_and_by_the_logger_s_own_check(log: Path) -> None:
    filled(log, 600, segment_bytes=20_000)
    path = segments(log)[2]
    data = bytearray(path.read_bytes())
    at = data.index(b"entry-")
    name = data[at:].split(b'"')[0].decode()
    data[at] ^= 1
    path.write_bytes(data)
    async with FileAuditLogger(log, audit_reads=False) as logger:
        with pytest.raises(AuditIntegrityError, match=f"{path}, byte .*: entry {name[6:]}: the record is damaged"):
            await logger.get(int(name[6:]))
        assert await logger.count(AuditFilter(user_id="user-0")) == 200
        assert (await logger.query(newest_first=True, limit=10)).entries
