"""Whatever is changed in a log's directory, the check from outside finds it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from file_logs import filled, opened, records, segments, sign

from asgi_infra.audit.backends.file.offline import verify_directory
from asgi_infra.audit.errors import AuditUnavailableError
from asgi_infra.audit.proofs.errors import ProofError
from asgi_infra.testing.audit.base import a_signer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_log_that_nobody_touched_is_right(log: Path) -> None:
    told: list[tuple[int, int]] = []
    note = filled(log, 700, segment_bytes=20_000)
    report = verify_directory(
        log, since=note, key=a_signer().verifier, progress=lambda done, total: told.append((done, total))
    )
    assert report.problem == ""
    assert (report.ok, report.size, report.first, report.checked, report.signed) == (True, 700, 0, 700, 700)
    assert bool(report)
    assert told[-1][0] == told[-1][1] == sum(path.stat().st_size for path in segments(log))


def test_every_flipped_byte_is_found(log: Path) -> None:
    filled(log, 2)
    names = [path for path in log.rglob("*") if path.is_file()]
    checked = [path for path in names if path.parent.name != "log" or path.name == "checkpoint"]
    assert len(checked) == 4  # the segment, a tile, a bundle and the checkpoint
    for path in checked:
        data = path.read_bytes()
        for at in range(len(data)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 0x04]) + data[at + 1 :])
            report = verify_directory(log, key=a_signer().verifier)
            assert not report.ok, (path.name, at)
            assert report.file is not None
            assert report.problem
        path.write_bytes(data)
    assert verify_directory(log, key=a_signer().verifier).ok


def test_the_report_names_the_first_bad_entry_its_file_and_its_byte(log: Path) -> None:
    filled(log, 300, segment_bytes=20_000)
    path = next(path for path in segments(log) if b'"entry-140"' in path.read_bytes())
    data = path.read_bytes()
    at = data.index(b"entry-140")
    path.write_bytes(data[:at] + b"entry-041" + data[at + 9 :])
    report = verify_directory(log)
    assert (report.ok, report.file) == (False, path)
    assert report.bad_seq == 140
    assert report.offset is not None
    assert data[report.offset :].startswith(b"\xffAR\x00")
    assert report.problem == "entry 140: the record is damaged"


def test_an_entry_that_was_changed_with_its_checksum_is_found(log: Path) -> None:
    note = filled(log, 20)
    shutil.rmtree(log / "tile")
    shutil.rmtree(log / "wal")
    (log / "published").unlink()
    (log / "checkpoint").unlink()
    with opened(log) as store:
        store.append(records(0, 20, action="order.reduce"))
    assert verify_directory(log).ok
    report = verify_directory(log, since=note)
    assert not report.ok
    assert report.problem == "the first 20 entries are not those that were covered by the checkpoint that was kept"


def test_a_private_part_that_was_put_in_place_of_another_is_found(log: Path) -> None:
    from zlib import crc32

    filled(log, 3)
    path = segments(log)[0]
    data = path.read_bytes()
    start = data.index(b'{"details"', data.index(b"entry-1"))
    end = data.index(b"}]}", start) + 3
    forged = data[start:end].replace(b"private-1", b"private-7")
    path.write_bytes(data[: start - 4] + crc32(forged).to_bytes(4, "big") + forged + data[end:])
    report = verify_directory(log)
    assert (report.bad_seq, report.offset) == (1, start - 4)
    assert report.problem == "entry 1: a private field is not what the leaf commits to"


@pytest.mark.parametrize("how", ["cut", "cut to a whole batch", "doubled", "swapped", "without a segment", "older"])
def test_a_log_that_was_cut_or_reordered_is_found(log: Path, how: str, tmp_path: Path) -> None:
    filled(log, 40, batch=1, segment_bytes=8_000)
    shutil.copytree(log, tmp_path / "older")
    filled(log, 100, batch=1, segment_bytes=8_000)
    paths = segments(log)
    data = paths[-1].read_bytes()
    starts = [at for at in range(len(data)) if data.startswith(b"\xffAR\x00", at)]
    if how == "cut":
        paths[-1].write_bytes(data[:-7])
    elif how == "cut to a whole batch":
        paths[-1].write_bytes(data[: starts[-1]])
    elif how == "doubled":
        paths[-1].write_bytes(data[: starts[2]] + data[starts[1] :])
    elif how == "swapped":
        a, b, c = starts[:3]
        paths[-1].write_bytes(data[:a] + data[b:c] + data[a:b] + data[c:])
    elif how == "without a segment":
        paths[2].unlink()
    else:
        shutil.rmtree(log / "wal")
        shutil.copytree(tmp_path / "older" / "wal", log / "wal")
    report = verify_directory(log)
    assert not report.ok
    assert report.file is not None


def test_a_whole_older_copy_is_found_with_a_checkpoint_that_was_kept(log: Path, tmp_path: Path) -> None:
    filled(log, 40)
    shutil.copytree(log, tmp_path / "older")
    note = filled(log, 50)
    assert verify_directory(tmp_path / "older").ok
    report = verify_directory(tmp_path / "older", since=note)
    assert (report.ok, report.bad_seq) == (False, 40)
    assert "but it had 50" in report.problem


def test_tiles_and_bundles_that_are_missing_or_too_many_are_found(log: Path) -> None:
    filled(log, 600)
    for name in ("tile/0/000", "tile/0/001", "tile/entries/001"):
        data = (log / name).read_bytes()
        (log / name).unlink()
        report = verify_directory(log)
        assert (report.ok, report.file) == (False, log / name)
        (log / name).write_bytes(data)
    for name in ("tile/0/007", "tile/0/odd", "tile/entries/002.p/99"):
        (log / name).write_bytes(bytes(32))
        report = verify_directory(log)
        assert (report.ok, report.file) == (False, log / name)
        (log / name).unlink()
    assert verify_directory(log).ok


def test_erased_and_purged_logs_are_right(log: Path) -> None:
    filled(log, 600, segment_bytes=20_000)
    with opened(log, 20_000) as store:
        assert store.erase(range(400, 420)) == 20
        first = store.prune(350)
        note = sign(store)
    assert 256 < first <= 350
    report = verify_directory(log, since=note, key=a_signer().verifier)
    assert report.problem == ""
    assert (report.first, report.size, report.checked, report.erased) == (first, 600, 600 - first, 20)


def test_what_was_signed_before_the_oldest_entry_is_compared_too(log: Path) -> None:
    note = filled(log, 100, segment_bytes=20_000)
    filled(log, 600, segment_bytes=20_000)
    with opened(log, 20_000) as store:
        assert store.prune(500) > 256
    assert verify_directory(log, since=note).ok
    tile = log / "tile/0/000"
    data = tile.read_bytes()
    tile.write_bytes(bytes(32) + data[32:])
    assert "first 100 entries" in verify_directory(log, since=note).problem


def test_an_unfinished_batch_at_the_end_is_no_fault_but_told(log: Path) -> None:
    filled(log, 5)
    path = segments(log)[0]
    with path.open("ab") as file:
        file.write(b"\xffAR\x00 and then the power went")
    report = verify_directory(log)
    assert (report.ok, report.unfinished, report.size) == (True, 28, 5)


def test_the_wrong_key_and_the_wrong_log_are_told(log: Path, tmp_path: Path) -> None:
    from asgi_infra.audit.proofs.ed25519 import Ed25519Signer

    other = Ed25519Signer("example.org/other", bytes(32))
    note = filled(log, 5)
    report = verify_directory(log, key=other.verifier)
    assert (report.ok, report.file) == (False, log / "checkpoint")
    with pytest.raises(ProofError):
        verify_directory(log, since=note, key=other.verifier)
    with pytest.raises(AuditUnavailableError, match="holds no audit log"):
        verify_directory(tmp_path / "nothing")


def test_checking_changes_nothing(log: Path) -> None:
    filled(log, 5)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in log.rglob("*")}
    assert verify_directory(log).ok
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in log.rglob("*")} == before
