"""The audit log in a directory of files."""

from __future__ import annotations

import logging
from bisect import bisect_right
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from asgi_infra import forks
from asgi_infra.audit.backends.file import erasing, files
from asgi_infra.audit.backends.file.following import MAX_BEHIND
from asgi_infra.audit.backends.file.index import IndexLostError
from asgi_infra.audit.backends.file.parts import CHECKPOINT, Parts
from asgi_infra.audit.errors import AuditUnavailableError
from asgi_infra.audit.proofs.tile_nodes import TileNodes
from asgi_infra.audit.proofs.tiles import TILE_WIDTH
from asgi_infra.audit.record import Receipt, Stored
from asgi_infra.audit.store import AuditStore, Head
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from asgi_infra.audit.backends.file.frames import Frame
    from asgi_infra.audit.backends.file.recovery import RecoveryReport
    from asgi_infra.audit.filter import AuditFilter
    from asgi_infra.audit.proofs.proving import Nodes
    from asgi_infra.audit.record import Record

T = TypeVar("T")

_MIN_SEGMENT: Final = 4096

_logger = logging.getLogger("asgi_infra.audit")


class FileStore(AuditStore):
    """Entries in segments of a write-ahead log, with tiles, bundles and an index beside them.

    Args:
        path: The directory; made if it isn't there.
        segment_bytes: The size at which a new segment begins; what is purged goes by segments.

    Attributes:
        recovery: What was cut off when the log was opened, or `None`.
    """

    def __init__(self, path: str | Path, segment_bytes: int) -> None:
        files.require_posix()
        require_integer("segment_bytes", segment_bytes, minimum=_MIN_SEGMENT)
        try:
            self.path = Path(path).absolute()
        except (TypeError, ValueError) as exc:
            raise ConfigurationError(f"path must be that of a directory, not {type(path).__name__}") from exc
        self._segment_bytes = segment_bytes
        self._opening = Lock()
        self._fork = forks.forks()
        self._parts: Parts | None = None
        self._left: list[Parts] = []
        self.recovery: RecoveryReport | None = None

    def open(self) -> None:
        forks.watch()
        self._fork = forks.forks()
        with files.translated(f"open the audit log {self.path}"):
            files.make_directory(self.path)
            files.check_directory(self.path)
            files.make_directory(self.path / "wal")
            parts = Parts(self.path, self._segment_bytes)
            try:
                self.recovery = parts.open()
            except BaseException:
                parts.close()
                raise
        self._parts = parts
        if self.recovery is not None:
            _logger.warning("%s", self.recovery)

    def append(self, records: Sequence[Record]) -> list[Receipt]:
        with self._ready() as parts:
            wal = parts.wal
            if wal.size - parts.recent.first > MAX_BEHIND:
                parts.follower.catch_up(wal.size)
            with wal.lock:
                wal.refresh()
                known = self._known(parts, records)
                fresh: dict[str, Record] = {}
                for record in records:
                    if record.entry.id not in known:
                        fresh.setdefault(record.entry.id, record)
                if fresh:
                    new = list(fresh.values())
                    receipts = wal.commit(new)
                    parts.recent.add_records(new, receipts)
                    if len(fresh) == len(records):
                        parts.follower.wake()
                        return receipts
                    known.update(zip(fresh, receipts, strict=True))
                else:
                    wal.make_sure()
            parts.follower.wake()
            return [known[record.entry.id] for record in records]

    def head(self) -> Head:
        with self._ready() as parts:
            if not parts.wal.unchanged():
                with parts.wal.lock:
                    parts.wal.refresh()
            tree = parts.wal.tree.range()
            return Head(min(parts.wal.segments.firsts()[0], tree.size), tree)

    def select(
        self, wanted: AuditFilter, start: int, stop: int, limit: int, *, newest_first: bool = False
    ) -> list[Stored]:
        with self._ready() as parts:
            firsts = parts.wal.segments.firsts()
            start, stop = max(start, firsts[0]), min(stop, parts.wal.size)
            if start >= stop:
                return []
            if not wanted.to_dict():
                return self._plain(parts, start, stop, limit, newest_first=newest_first)
            places = self._indexed(
                parts, stop, lambda: parts.index.select(wanted, start, stop, limit, newest_first=newest_first)
            )
            frames = {frame.seq: frame for frame in parts.read(sorted(places))}
            return [_stored(frames[seq]) for seq, _ in places if seq in frames]

    def count(self, wanted: AuditFilter, start: int, stop: int) -> int:
        with self._ready() as parts:
            start, stop = max(start, parts.wal.segments.firsts()[0]), min(stop, parts.wal.size)
            if start >= stop:
                return 0
            if not wanted.to_dict():
                return stop - start
            return self._indexed(parts, stop, lambda: parts.index.count(wanted, start, stop))

    def find(self, entry_id: str) -> int | None:
        self.head()
        with self._ready() as parts:
            receipts = parts.recent.find([entry_id])
            if entry_id in receipts:
                return receipts[entry_id].seq
            found = self._indexed(parts, parts.recent.first, lambda: parts.index.find([entry_id]))
            return found[entry_id][0] if entry_id in found else None

    def nodes(self, size: int) -> Nodes:
        with self._ready() as parts:
            tree = parts.wal.tree.range()
            return TileNodes(parts.publisher, size, edge=tree if tree.size == size else None)

    def erase(self, seqs: Iterable[int]) -> int:
        wanted = sorted(set(seqs))
        size = self.head().size
        with self._ready() as parts, files.translated("erase from the audit log"), parts.follower.lock:
            parts.finish_erasing()
            parts.follower.index_up_to(size)
            frames = [each for each in parts.read(parts.index.places(wanted)) if each.private is not None]
            if frames:
                firsts = parts.wal.segments.firsts()
                places = [
                    erasing.Place(
                        firsts[bisect_right(firsts, frame.seq) - 1],
                        frame.erasable,
                        frame.end - frame.erasable,
                        frame.seq,
                    )
                    for frame in frames
                ]
                erasing.overwrite(self.path, places, parts.wal.segments.path)
                parts.index.forget_users(frames)
                erasing.close(self.path)
        return len(frames)

    def prune(self, before: int) -> int:
        size = self.head().size
        with self._ready() as parts, files.translated("purge the audit log"):
            wal = parts.wal
            with wal.lock:
                wal.refresh()
                if before >= wal.size > wal.segments.firsts()[-1]:
                    wal.roll()
                parts.follower.publish(wal.size)
            with parts.follower.lock:
                firsts = wal.segments.load()
                end = min(before, size - size % TILE_WIDTH)  # what the next bundle needs stays
                keep = max(bisect_right(firsts, end) - 1, 0)
                parts.index.drop(firsts[keep])
                parts.publisher.drop_bundles(firsts[keep])
                for first in firsts[:keep]:
                    files.remove(wal.segments.path(first))
                files.sync_directory(wal.segments.directory)
                return wal.segments.load()[0]

    def load_checkpoint(self) -> bytes | None:
        with self._ready() as parts:
            parts.checkpoint()
            return parts.checkpoint_note()

    def save_checkpoint(self, note: bytes, size: int) -> None:
        with self._ready() as parts, files.translated("save the checkpoint"):
            with parts.wal.lock:
                parts.wal.refresh()
                parts.wal.make_sure()
            parts.follower.publish(size, edge=True)
            with parts.follower.lock:
                last = parts.checkpoint()
                if last is None or last.size <= size:
                    files.replace(self.path / CHECKPOINT, note)

    def stats(self) -> dict[str, int]:
        with self._ready() as parts:
            return {
                "segments": len(parts.wal.segments.firsts()),
                "published": parts.publisher.size,
                "indexed": parts.recent.first,
                "index_rebuilt": parts.follower.rebuilt,
                "torn_bytes": parts.wal.torn + (self.recovery.removed if self.recovery is not None else 0),
            }

    def close(self) -> None:
        parts, self._parts = self._parts, None
        if parts is None or self._fork != forks.forks():
            return
        parts.follower.close()
        try:
            with files.translated("close the audit log"):
                parts.follower.publish(parts.wal.size, edge=True)
                parts.follower.catch_up(parts.wal.size)
        finally:
            parts.close()

    @contextmanager
    def _ready(self) -> Iterator[Parts]:
        if self._fork != forks.forks():
            self._open_in_child()
        parts = self._parts
        if parts is None:
            raise AuditUnavailableError("the audit log is not open")
        try:
            yield parts
        except OSError as exc:
            raise files.failure(exc, "read or write the audit log") from exc

    def _open_in_child(self) -> None:
        """Begin anew after a fork: what was open belongs to the parent, and its locks would be shared."""
        if self._parts is not None:
            self._left.append(self._parts)  # closing SQLite's connections here could do harm to the parent's
        with self._opening:
            if self._fork != forks.forks():
                self.open()

    def _known(self, parts: Parts, records: Sequence[Record]) -> dict[str, Receipt]:
        """Return the receipts of the records that are stored already."""
        ids = [record.entry.id for record in records]
        known = parts.recent.find(ids)
        if not parts.recent.first:
            return known
        others = [each for each in ids if each not in known] if known else ids
        found = self._indexed(parts, parts.recent.first, lambda: parts.index.find(others))
        if found:
            names = {seq: name for name, (seq, _) in found.items()}
            for frame in parts.read(sorted(found.values())):
                known[names[frame.seq]] = Receipt(frame.seq, sha256(b"\x00" + frame.leaf).digest())
        return known

    def _plain(self, parts: Parts, start: int, stop: int, limit: int, *, newest_first: bool) -> list[Stored]:
        """Read entries one after the other, without any condition."""
        if newest_first:
            start = max(start, stop - limit)
        else:
            stop = min(stop, start + limit)
        try:
            at = parts.index.place(start)
        except IndexLostError:
            at = None
        rows = [_stored(frame) for frame in parts.run(start, stop, at)]
        return rows[::-1] if newest_first else rows

    def _indexed(self, parts: Parts, size: int, read: Callable[[], T]) -> T:
        """Read from the index, once it knows the first `size` entries; if it is lost, from the next one."""
        for attempt in range(3):
            try:
                if parts.index.size()[0] >= size:
                    return read()
            except IndexLostError:
                if attempt:  # what is there can be opened, but not be used
                    with parts.follower.lock:
                        parts.index.remove()
            parts.follower.catch_up(size)
        raise AuditUnavailableError("the index of the audit log is lost again and again")


def _stored(frame: Frame) -> Stored:
    return Stored(frame.seq, frame.leaf, frame.private)
