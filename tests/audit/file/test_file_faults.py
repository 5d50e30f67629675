"""Errors of the system: clear, never taken for success, and over when they are over."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from file_logs import crash, filled, opened, record, records, segments, sign

from asgi_infra.audit.backends.file import FileAuditLogger, files
from asgi_infra.audit.backends.file.offline import verify_directory
from asgi_infra.audit.backends.file.store import FileStore
from asgi_infra.audit.errors import AuditFullError, AuditOutcomeUnknownError, AuditUnavailableError
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


class Failing:
    """Makes calls of the seam fail from the `start`-th on, `times` times, in segments only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **plans: tuple[int, int, int]) -> None:
        self.calls = dict.fromkeys(plans, 0)
        for name, (code, start, times) in plans.items():
            monkeypatch.setattr(files, name, self._failing(name, getattr(files, name), code, start, times))

    def _failing(self, name: str, real: Any, code: int, start: int, times: int) -> Any:
        def call(descriptor: int, *args: Any) -> Any:
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".log"):
                self.calls[name] += 1
                if start <= self.calls[name] < start + times:
                    if name == "write":  # some of it may have got there
                        real(descriptor, args[0][: len(args[0]) // 2], args[1])
                    raise OSError(code, os.strerror(code))
            return real(descriptor, *args)

        return call


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, AuditFullError), (errno.EIO, AuditUnavailableError)])
@pytest.mark.parametrize("call", ["write", "sync"])
def test_a_batch_that_fails_is_not_kept_and_later_ones_are(
    log: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, error: type[Exception]
) -> None:
    with opened(log) as store:
        store.append(records(0, 3))
        with monkeypatch.context() as patch:
            Failing(patch, **{call: (code, 1, 1)})
            with pytest.raises(error) as caught:
                store.append(records(3, 6))
        assert isinstance(caught.value.__cause__, OSError)
        assert store.head().size == 3
        assert [receipt.seq for receipt in store.append(records(4, 8))] == [3, 4, 5, 6]
        assert len(segments(log)) == (2 if call == "sync" else 1)  # after a failed sync in a new segment
    report = verify_directory(log)
    assert (report.problem, report.size) == ("", 7)


def test_a_failed_sync_is_never_called_again_for_the_same_bytes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(log) as store:
        store.append(records(0, 3))
        size = segments(log)[0].stat().st_size
        with monkeypatch.context() as patch:
            Failing(patch, sync=(errno.EIO, 1, 1))
            with pytest.raises(AuditUnavailableError):
                store.append(records(3, 6))
        assert segments(log)[0].stat().st_size == size + 24  # the batch is gone; a seal is there
        assert b"entry-3" not in segments(log)[0].read_bytes()


def test_a_batch_that_can_not_be_taken_back_has_an_unknown_outcome_and_stops_all(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(log) as store, opened(log) as other:
        store.append(records(0, 3))
        with monkeypatch.context() as patch:
            Failing(patch, sync=(errno.EIO, 1, 100))
            with pytest.raises(AuditOutcomeUnknownError):
                store.append(records(3, 6))
            with pytest.raises(AuditUnavailableError, match="since an error of the disk"):
                store.append(records(6, 7))
            with pytest.raises(AuditUnavailableError, match="since an error of the disk"):
                other.append(records(7, 8))  # another process: it must not take up what is not on the disk
            with pytest.raises(AuditUnavailableError, match="since an error of the disk"):
                other.head()
        assert other.append(records(8, 9))[0].seq == 3
        assert store.append(records(3, 6))[0].seq == 4
        assert store.head().size == other.head().size == 7
    assert verify_directory(log).ok


def test_a_segment_left_bad_is_mended_when_the_log_is_opened(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(log, 1 << 20)
    store.open()
    store.append(records(0, 3))
    with monkeypatch.context() as patch:
        Failing(patch, sync=(errno.EIO, 1, 100))
        patch.setattr(files, "truncate", lambda descriptor, size: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
        with pytest.raises(AuditOutcomeUnknownError):
            store.append(records(3, 6))
    crash(store)
    assert b"entry-4" in segments(log)[0].read_bytes()
    with opened(log) as store:
        assert store.head().size == 3
        assert store.append(records(3, 6))[0].seq == 3
    assert verify_directory(log).ok


def test_what_a_killed_process_wrote_is_synced_before_its_receipt_is_given_again(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(log) as store, opened(log) as dead:
        store.append(records(0, 3))
        parts = dead._parts
        assert parts is not None
        with monkeypatch.context() as patch:
            patch.setattr(files, "sync", lambda descriptor: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                dead.append(records(3, 6))
        with monkeypatch.context() as patch:
            failing = Failing(patch, sync=(errno.EIO, 1, 1))
            with pytest.raises(AuditUnavailableError):
                store.append(records(3, 6))  # known by now, but nobody knows whether it is on the disk
            assert failing.calls["sync"] == 2  # the second one after it was written again
        assert [receipt.seq for receipt in store.append(records(3, 6))] == [3, 4, 5]
        assert store.append([record(6)])[0].seq == 6
        crash(dead)
    assert verify_directory(log).ok


def test_a_tile_that_can_not_be_written_keeps_nobody_from_writing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(log) as store:
        with monkeypatch.context() as patch:
            patch.setattr(files, "rename", lambda *paths: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
            store.append(records(0, 600))
            with pytest.raises(AuditUnavailableError, match="write the tiles"):
                sign(store)
            assert store.load_checkpoint() is None
        sign(store)
    assert verify_directory(log).problem == ""
    assert not list(log.rglob(".*"))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_directory_that_may_not_be_written_to_is_told(log: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    filled(log, 3)

    def refuse(path: Path, flags: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "open_file", refuse)
    with pytest.raises(AuditUnavailableError, match="the process may not open the audit log"):
        FileStore(log, 1 << 20).open()


def test_a_directory_of_others_is_refused(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.mkdir(mode=0o700)
    log.chmod(0o770)
    with pytest.raises(AuditUnavailableError, match="must not be writable by others, but has mode 0770"):
        FileStore(log, 1 << 20).open()
    log.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(log, 12345, -1)
        with pytest.raises(AuditUnavailableError, match="must belong to the user"):
            FileStore(log, 1 << 20).open()
    (tmp_path / "file").touch()
    with pytest.raises(AuditUnavailableError, match="must be a directory"):
        FileStore(tmp_path / "file", 1 << 20).open()
    with pytest.raises(AuditUnavailableError, match="No such file"):
        FileStore(tmp_path / "missing" / "log", 1 << 20).open()


def test_all_files_are_their_owner_s_alone(log: Path) -> None:
    before = os.umask(0)
    try:
        filled(log, 600, segment_bytes=20_000)
    finally:
        os.umask(before)
    for path in (log, *log.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_parameters_are_checked(tmp_path: Path) -> None:
    for bad in (0, "1", True, 4095):
        with pytest.raises(ConfigurationError, match="segment_bytes must be"):
            FileAuditLogger(tmp_path, segment_bytes=bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="origin must be a key name"):
        FileAuditLogger(tmp_path, origin="a name")
    with pytest.raises(ConfigurationError, match="path must be"):
        FileAuditLogger(7)  # type: ignore[arg-type]
    for url in ("file://", "file:///a?b=c", "files:///a"):
        with pytest.raises(ConfigurationError, match="url must be file://"):
            FileAuditLogger.from_url(url)
    assert FileAuditLogger.from_url("file:///var/log/my%20audit").path.as_posix() == "/var/log/my audit"
    assert not list(tmp_path.iterdir())  # nothing happens before the first use


_LIMITED = """
import resource, sys
sys.path[:0] = {path!r}
from pathlib import Path
from file_logs import records
from asgi_infra.audit.backends.file.store import FileStore
from asgi_infra.audit.errors import AuditFullError
store = FileStore(Path({log!r}), 1 << 20)
store.open()
store.append(records(0, 3))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
done = 3
try:
    while True:
        store.append(records(done, done + 3))
        done += 3
except AuditFullError as exc:
    print(exc)
assert store.head().size == done
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert store.append(records(done, done + 3))[0].seq == done
print(done + 3)
store.close()
"""


def test_a_full_disk_is_told_and_with_room_the_log_goes_on(log: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 0
    program = _LIMITED.format(path=[os.path.dirname(__file__)], log=str(log))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    said, size = done.stdout.splitlines()
    assert said == "there is no room to write to the audit log: File too large"
    report = verify_directory(log)
    assert (report.problem, report.size) == ("", int(size))
