"""A durable file for entries that the store does not take at the moment, until it does.

One line of JSON for each record, with a checksum; flushed to the disk before the writer hears that its entry is safe.
What is in the file goes first: the order of entries stays.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, Final
from zlib import crc32

from asgi_infra import faults
from asgi_infra.audit.encoding import decode, encode
from asgi_infra.audit.errors import AuditFullError, AuditIntegrityError, AuditUnavailableError
from asgi_infra.audit.record import Receipt, Record, Stored, unseal
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import ModuleType

try:
    import fcntl as _fcntl
except ImportError:  # Windows has none
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl

_CHUNK: Final = 256
_PAUSE: Final = 1.0


class SpillingCommit:
    """Commits to a store, and while that fails to a file. Called by one thread at a time.

    Args:
        append: The store's `append`.
        path: The file; made when it is needed, readable for its owner alone.
        max_bytes: What the file may hold.
        pause: Seconds between two attempts to give the file's entries to the store.
        monotonic: Seconds, for `pause`.

    Raises:
        ConfigurationError: `max_bytes` is wrong.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Record]], list[Receipt]],
        path: Path,
        max_bytes: int,
        *,
        pause: float = _PAUSE,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        require_integer("max_spill_bytes", max_bytes, minimum=65_536)
        self._append = append
        self._path = path
        self._max_bytes = max_bytes
        self._pause = pause
        self._monotonic = monotonic
        self._file: BinaryIO | None = None
        self._size = 0
        self._not_before = float("-inf")
        self.spilled = 0
        self.replayed = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes in the file."""
        return self._size

    def __call__(self, records: Sequence[Record]) -> list[Receipt]:
        """Return receipts for records that are durable now, in the store or in the file.

        Raises:
            AuditFullError: Neither the store nor the file takes them.
            AuditIntegrityError: The store must not be written to, or the file has been changed.
        """
        file = self._file or self._open()
        if self._size and self._monotonic() < self._not_before:
            return self._spill(file, records)
        try:
            if self._size:
                self._replay(file)
            return self._append(records) if records else []
        except AuditIntegrityError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever keeps the store from it, the file is there for
            self._not_before = self._monotonic() + self._pause
            faults.record("audit.store", exc)
            return self._spill(file, records, exc)

    def close(self) -> None:
        """Close the file; what is in it waits for the next logger with the same path."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            file = os.fdopen(descriptor, "r+b", buffering=0)
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _sync_directory(self._path.parent)
                self._size = _whole_lines(file)
                file.truncate(self._size)  # a line without its end was never acknowledged
            except BaseException:
                file.close()
                raise
        except BlockingIOError as exc:
            raise ConfigurationError("spill must be a file of its own for each process; this one is in use") from exc
        except OSError as exc:
            raise AuditUnavailableError("the spill file can't be opened") from exc
        self._file = file
        return file

    def _spill(self, file: BinaryIO, records: Sequence[Record], cause: Exception | None = None) -> list[Receipt]:
        if not records:
            return []
        lines = b"".join(map(_line, records))
        if self._size + len(lines) > self._max_bytes:
            raise AuditFullError(f"the store takes no entries, and the spill file holds {self._size} bytes") from cause
        try:
            file.seek(self._size)
            written = 0
            while written < len(lines):
                written += file.write(lines[written:]) or 0
            os.fsync(file.fileno())
        except OSError as exc:
            with suppress(OSError):
                file.truncate(self._size)
            self.close()  # after a failed fsync nobody knows what the file holds: it is read again
            raise AuditFullError("the store takes no entries, and neither does the spill file") from exc
        self._size += len(lines)
        self.spilled += len(records)
        return [Receipt(-1, record.leaf_hash) for record in records]

    def _replay(self, file: BinaryIO) -> None:
        chunk: list[Record] = []
        count = 0
        for record in _records(file, self._size):
            chunk.append(record)
            if len(chunk) == _CHUNK:
                count += len(self._append(chunk))
                chunk = []
        if chunk:
            count += len(self._append(chunk))
        file.truncate(0)
        os.fsync(file.fileno())
        self._size = 0
        self.replayed += count


def _line(record: Record) -> bytes:
    private = None if record.private is None else b64encode(record.private).decode()
    body = encode([b64encode(record.leaf).decode(), private])
    return b"%08x %b\n" % (crc32(body), body)


def _records(file: BinaryIO, size: int) -> Iterator[Record]:
    file.seek(0)
    with os.fdopen(os.dup(file.fileno()), "rb") as lines:
        at = 0
        while at < size:
            line = lines.readline()
            check, _, body = line.rstrip(b"\n").partition(b" ")
            if not line or check != b"%08x" % crc32(body):
                raise AuditIntegrityError(f"the spill file is damaged at byte {at}; nothing of it was removed")
            at += len(line)
            leaf, private = decode(body)
            stored = Stored(-1, b64decode(leaf), None if private is None else b64decode(private))
            logged = unseal(stored)
            yield Record(logged.entry, stored.leaf, stored.private, logged.leaf_hash)


def _whole_lines(file: BinaryIO) -> int:
    """Return where the last whole line ends."""
    at = file.seek(0, os.SEEK_END)
    while at:
        begin = max(at - 65_536, 0)
        file.seek(begin)
        newline = file.read(at - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        at = begin
    return 0


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
