"""The write-ahead log: where entries become durable, one process at a time.

After an error of `fdatasync` nobody knows which pages are on the disk, and the system counts them as clean: a second
call would succeed without writing them. So it is never simply called again. What was to be added is cut off; what this
process has not synced itself is written once more, with a seal behind it, and synced; then a new segment begins. As
long as that fails too, the segment is marked as bad for all processes, and the log takes nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final
from zlib import crc32

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.backends.file.frames import encode, seal
from asgi_infra.audit.backends.file.recovery import RecoveryReport, leftover_fault, whole_batches
from asgi_infra.audit.backends.file.segments import Segments, encode_head, open_edge, read_head
from asgi_infra.audit.backends.file.tree import Tree
from asgi_infra.audit.errors import AuditIntegrityError, AuditOutcomeUnknownError, AuditUnavailableError
from asgi_infra.audit.proofs.merkle import leaf_hashes
from asgi_infra.audit.proofs.tile_edge import TileEdge
from asgi_infra.audit.proofs.tiles import partial_tiles
from asgi_infra.audit.record import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from asgi_infra.audit.backends.file.frames import Frame
    from asgi_infra.audit.errors import AuditStoreError
    from asgi_infra.audit.record import Record

_MARK: Final = Struct(">QQI")
_WRITE: Final = "write to the audit log"


class WriteAheadLog:
    """The segments of one log, as this process knows them.

    Whatever is not said to be for any thread needs `lock`.

    Args:
        directory: Where the segments are.
        lock: The lock of the log.
        segment_bytes: The size at which a new segment begins.

    Attributes:
        size: How many entries are committed, as far as this process knows.
        torn: How many bytes of unfinished batches were cut off while the log was open.
    """

    def __init__(self, directory: Path, lock: files.FileLock, segment_bytes: int) -> None:
        self.lock = lock
        self.segments = Segments(directory)
        self.tree = Tree(TileEdge(), {})
        self.size = 0
        self.torn = 0
        self.before_roll: Callable[[int], object] = bool
        self.adopted: Callable[[list[Frame], list[bytes]], object] = lambda frames, hashes: None
        self.skipped: Callable[[int], object] = bool
        self._segment_bytes = segment_bytes
        self._descriptor = -1
        self._first = self._end = self._sure = 0
        self._begin = 0
        self._sealed = False
        self._bad = False
        self._committing = False

    def recover(self, covered: int) -> RecoveryReport | None:
        """Read the last segment, and cut off a batch that was not finished when the last writer ended.

        Args:
            covered: How many entries are known to have been committed.

        Returns:
            What was cut off, if anything.

        Raises:
            AuditIntegrityError: The log is not as it was left; nothing was changed.
        """
        firsts = self.segments.load()
        self.segments.check()
        if firsts:
            self._open(firsts[-1])
            self.skipped(firsts[-1])
        elif covered:
            raise AuditIntegrityError(f"{self.segments.directory}: the segments of {covered} entries are missing")
        else:
            self._start()
        self._check_mark()
        if self._bad:
            self._mend()
        self._read_on()
        path = self.segments.path(self._first)
        on_disk = os.fstat(self._descriptor).st_size
        report = None
        if on_disk > self._end:
            data = files.read(self._descriptor, on_disk - self._end, self._end)
            if problem := leftover_fault(data, self._end, self.size, covered):
                raise AuditIntegrityError(f"{path}, {problem}")
            report = RecoveryReport(path, self._end, on_disk - self._end, self.size)
            files.truncate(self._descriptor, self._end)
        if covered > self.size:
            raise AuditIntegrityError(
                f"{path}, byte {self._end}: the log ends after {self.size} entries, but it had {covered}: "
                "the end was cut off, or an older copy was put in its place"
            )
        files.sync(self._descriptor)
        self._sure = self._end
        return report

    def unchanged(self) -> bool:
        """Tell, to any thread, whether no other process has added anything since this one has looked."""
        if self._committing:
            return True
        path, end = self.segments.path(self._first), self._end
        try:
            return not self._sealed and os.stat(path).st_size == end
        except FileNotFoundError:
            return False

    def refresh(self) -> None:
        """Take up what other processes have added, and remove what one has left unfinished.

        Raises:
            AuditIntegrityError: The log has been cut or replaced.
            AuditUnavailableError: The segment is bad, and can't be mended.
        """
        self._check_mark()
        if self._bad:
            self._mend()
        while True:
            path = self.segments.path(self._first)
            try:
                status = os.stat(path)
            except FileNotFoundError:
                status = None
            own = os.fstat(self._descriptor)
            if status is not None and (status.st_ino, status.st_dev) != (own.st_ino, own.st_dev):
                if self.size > self._first:
                    raise AuditIntegrityError(f"{path}: the segment was replaced while the log was open")
                self._open(self._first, keep=True)  # an empty one that was bad
                continue
            if status is None and own.st_size == self._end and not self._sealed:
                raise AuditIntegrityError(f"{path}: the segment was removed while the log was open")
            if own.st_size < self._end:
                raise AuditIntegrityError(f"{path}, byte {own.st_size}: the end was cut off while the log was open")
            if own.st_size > self._end:
                self._read_on()
            if not self._sealed:
                break
            if not self._follow():
                return
        if os.fstat(self._descriptor).st_size > self._end:  # its writer has died: it would hold the lock
            self.torn += os.fstat(self._descriptor).st_size - self._end
            files.truncate(self._descriptor, self._end)

    def commit(self, records: Sequence[Record]) -> list[Receipt]:
        """Make records durable. `refresh` comes before.

        Raises:
            AuditUnavailableError: Nothing was kept. `AuditFullError` if there was no room.
            AuditOutcomeUnknownError: They may be kept or not.
        """
        data = encode(records, self.size)
        self._committing = True
        try:
            if self._sealed:
                self._start()
            elif self._end + len(data) > self._segment_bytes and self._end > self._begin:
                self.roll()
            written = False
            try:
                files.write(self._descriptor, data, self._end)
                written = True
                files.sync(self._descriptor)
            except OSError as exc:
                raise self._undo(exc, sealed=written) from exc
            receipts = [Receipt(seq, record.leaf_hash) for seq, record in enumerate(records, self.size)]
            self._end += len(data)
            self._sure = self._end
            self.tree.add([record.leaf_hash for record in records])
            self.size += len(records)
        finally:
            self._committing = False
        return receipts

    def make_sure(self) -> None:
        """Make durable what another process has written, which may have died before it could.

        Raises:
            AuditUnavailableError: It can't be told that it is.
        """
        if self._sure < self._end:
            try:
                files.sync(self._descriptor)
            except OSError as exc:
                raise self._undo(exc, sealed=True) from exc
            self._sure = self._end

    def roll(self) -> None:
        """End the segment, and begin another one; its tiles are written before."""
        self.before_roll(self.size)
        end = seal(self.size)
        try:
            files.write(self._descriptor, end, self._end)
            files.sync(self._descriptor)
        except OSError as exc:
            raise self._undo(exc, sealed=True) from exc
        self._end += len(end)
        self._sealed = True
        self._start()

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _undo(self, error: OSError, *, sealed: bool) -> AuditStoreError:
        """Take back a batch that failed, and return what to raise."""
        try:
            self._cut(sealed=sealed)
        except OSError:
            self._bad = True
            mark = _MARK.pack(self._first, self._end, 0)[:16]
            with suppress(OSError):
                files.write(self.lock.descriptor, mark + crc32(mark).to_bytes(4, "big"), 0)
            return AuditOutcomeUnknownError(f"the system could not {_WRITE}, nor take it back: {error.strerror}")
        return files.failure(error, _WRITE)

    def _cut(self, *, sealed: bool) -> None:
        files.truncate(self._descriptor, self._end)
        if sealed and not self._sealed:
            unsure = files.read(self._descriptor, self._end - self._sure, self._sure)
            end = seal(self.size)
            files.write(self._descriptor, unsure + end, self._sure)
            files.sync(self._descriptor)
            self._end += len(end)
            self._sealed = True
        else:
            files.sync(self._descriptor)
        self._sure = self._end

    def _check_mark(self) -> None:
        """See whether a process has left a segment that it could not mend. Nothing after the mark was acknowledged."""
        mark = files.read(self.lock.descriptor, _MARK.size, 0)
        if len(mark) < _MARK.size or self._bad:
            return
        first, end, check = _MARK.unpack(mark)
        if check == crc32(mark[:16]) and first == self._first and not self._sealed:
            self._read_on(end)
            if self._end != end:
                path = self.segments.path(first)
                raise AuditIntegrityError(f"{path}, byte {self._end}: entry {self.size} is damaged or cut off")
            self._bad = True

    def _mend(self) -> None:
        try:
            self._cut(sealed=True)
            self._bad = False
            files.truncate(self.lock.descriptor, 0)
        except OSError as exc:
            raise AuditUnavailableError("the audit log can't be written to since an error of the disk") from exc

    def _read_on(self, end: int | None = None) -> None:
        for frames in whole_batches(self._descriptor, self._end, self.size, end):
            self._end = frames[-1].end
            if not frames[-1].leaf:
                self._sealed = True
                frames.pop()
            hashes = leaf_hashes([frame.leaf for frame in frames])
            self.adopted(frames, hashes)
            self.tree.add(hashes)
            self.size += len(frames)

    def _follow(self) -> bool:
        """Go to the next segment, if there is one."""
        later = [first for first in self.segments.load() if first > self._first]
        if not later:
            return False
        if self.size in later:
            self._open(self.size, keep=True)
        else:  # all that came next was purged
            self._open(later[0])
            self.skipped(later[0])
        return True

    def _open(self, first: int, *, keep: bool = False) -> None:
        path = self.segments.path(first)
        descriptor = files.open_file(path, os.O_RDWR)
        try:
            begin, tiles = read_head(path, descriptor, first)
            edge = open_edge(path, first, tiles)
            if keep and edge.range != self.tree.range():
                raise AuditIntegrityError(f"{path}, byte 0: the segment continues another tree")
        except BaseException:
            os.close(descriptor)
            raise
        if not keep:
            self.tree = Tree(edge, tiles)
            self.size = first
        self._take(descriptor, first, begin)

    def _start(self) -> None:
        size = self.tree.range().size
        tiles = {tile: (self.tree.tile(tile.level, tile.index) or b"")[: tile.size] for tile in partial_tiles(size)}
        head = encode_head(size, tiles)
        path = self.segments.path(size)
        with files.translated("begin a segment of the audit log"):
            files.replace(path, head)
            descriptor = files.open_file(path, os.O_RDWR)
        self._take(descriptor, size, len(head))
        self.segments.add(size)

    def _take(self, descriptor: int, first: int, begin: int) -> None:
        self.close()
        self._descriptor = descriptor
        self._first = first
        self._begin = self._end = self._sure = begin
        self._sealed = self._bad = False
