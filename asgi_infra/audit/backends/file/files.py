"""What the log asks of the operating system: few calls, all in one place, so that each can be made to fail in tests."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from asgi_infra.audit.errors import AuditFullError, AuditStoreError, AuditUnavailableError
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CLOSED_ON_EXEC: Final = getattr(os, "O_CLOEXEC", 0)
_WRITABLE_BY_OTHERS: Final = 0o022


def open_file(path: Path, flags: int) -> int:
    """Return a descriptor; a new file is its owner's alone."""
    return os.open(path, flags | _CLOSED_ON_EXEC, 0o600)


def write(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of the data at an offset."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], offset + written)


def read(descriptor: int, count: int, offset: int) -> bytes:
    """Return bytes from an offset, fewer only at the end of the file."""
    data = os.pread(descriptor, count, offset)
    while len(data) < count and (more := os.pread(descriptor, count - len(data), offset + len(data))):
        data += more
    return data


def read_path(path: Path) -> bytes:
    """Return what a file holds."""
    with path.open("rb") as file:
        return file.read()


def sync(descriptor: int) -> None:
    """Wait until the file's data, and its length, are on the disk."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def truncate(descriptor: int, size: int) -> None:
    """Cut a file."""
    os.ftruncate(descriptor, size)


def rename(source: Path, target: Path) -> None:
    """Give a file its name, in place of another one."""
    os.replace(source, target)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CLOSED_ON_EXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Make or replace a file, so that it is there as a whole or not at all. The directory is not synced."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = open_file(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            write(descriptor, data, 0)
            sync(descriptor)
        finally:
            os.close(descriptor)
        rename(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise


def replace(path: Path, data: bytes) -> None:
    """Make or replace a file durably."""
    write_whole(path, data)
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        path.unlink()


def make_directory(path: Path) -> None:
    """Make a directory, its owner's alone, durably, if it isn't there."""
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return
    sync_directory(path.parent)


def check_directory(path: Path) -> None:
    """Refuse a directory that others could put files into.

    Raises:
        AuditUnavailableError: It is no directory, belongs to another user, or others may write to it.
    """
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise AuditUnavailableError(f"the audit log {path} must be a directory")
    if status.st_uid not in (0, os.geteuid()):
        raise AuditUnavailableError(
            f"the directory of the audit log, {path}, must belong to the user that the process runs as, or to root"
        )
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise AuditUnavailableError(
            f"the directory of the audit log, {path}, must not be writable by others, "
            f"but has mode {stat.S_IMODE(status.st_mode):04o}; chmod 700 mends it"
        )


def require_posix() -> None:
    """Refuse systems without the locks that the log needs.

    Raises:
        ConfigurationError: This is one.
    """
    if fcntl is None:
        raise ConfigurationError("an audit log in files needs a POSIX system, for its locks; use SQLite here")


def failure(error: OSError, what: str) -> AuditStoreError:
    """Return what an error of the system means for the log; nothing was kept of what was to be done."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return AuditFullError(f"there is no room to {what}: {reason}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AuditUnavailableError(f"the process may not {what}: {reason}; give it a directory of its own")
    return AuditUnavailableError(f"the system could not {what}: {reason}")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise the system's errors as the log's."""
    try:
        yield
    except OSError as exc:
        raise failure(exc, what) from exc


class FileLock:
    """A lock between the threads of all processes that use the same file. Not re-entrant.

    `flock` on a file of its own: locks of POSIX (`fcntl`) would go as soon as anything in the process closes the file.

    Args:
        path: The file; made if it isn't there.
    """

    def __init__(self, path: Path) -> None:
        self._threads = Lock()
        self._path = path
        self.descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
        _locks.add(self)
        _release_in_children()

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        except OSError:  # closing releases it, too
            os.close(self.descriptor)
            self.descriptor = -1
            self.descriptor = open_file(self._path, os.O_RDWR | os.O_CREAT)
        finally:
            self._threads.release()

    def close(self) -> None:
        """Give the file back."""
        _locks.discard(self)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


_locks: WeakSet[FileLock] = WeakSet()
_watching = False


def _release_in_children() -> None:
    """Close the descriptors of locks in forked children: as long as one has it, a dead parent's lock would hold."""
    global _watching
    if not _watching:
        _watching = True
        os.register_at_fork(after_in_child=_forget_locks)


def _forget_locks() -> None:
    for lock in list(_locks):
        lock.close()
