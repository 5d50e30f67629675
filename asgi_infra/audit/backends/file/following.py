"""What goes on behind the log: tiles, bundles and the index follow it, in a thread of its own."""

from __future__ import annotations

from threading import Condition, Thread
from typing import TYPE_CHECKING, Final

from asgi_infra import faults
from asgi_infra.audit.backends.file.index import IndexLostError
from asgi_infra.audit.errors import AuditNotFoundError
from asgi_infra.audit.proofs.errors import TileError

if TYPE_CHECKING:
    from asgi_infra.audit.backends.file.files import FileLock
    from asgi_infra.audit.backends.file.index import Index
    from asgi_infra.audit.backends.file.publishing import Publisher
    from asgi_infra.audit.backends.file.recent import Recent
    from asgi_infra.audit.backends.file.wal import WriteAheadLog

MAX_BEHIND: Final = 50_000
"""Entries that the index may be behind; then writers wait for it."""

_PAUSE: Final = 0.1
_CHUNK: Final = 4096
_PUBLISH: Final = 4096  # entries without tiles: each round costs syncs, which writers wait for, too


class Follower:
    """Brings tiles and index up to the log. Thread-safe.

    Args:
        lock: The lock of the followers of all processes. Whoever holds the log's lock may take it, never the other way.
        wal: The log.
        publisher: The tiles.
        index: The index.
        recent: The ids that the index lacks.
    """

    def __init__(self, lock: FileLock, wal: WriteAheadLog, publisher: Publisher, index: Index, recent: Recent) -> None:
        self.lock = lock
        self._wal, self._publisher, self._index, self._recent = wal, publisher, index, recent
        self._changed = Condition()
        self._thread: Thread | None = None
        self._wanted = False
        self._closing = False
        self._at: tuple[int, int] | None = None
        self.rebuilt = 0

    def wake(self) -> None:
        """Have it look at the log soon."""
        with self._changed:
            if self._closing:
                return
            if self._thread is None:
                self._thread = Thread(target=self._run, name="asgi_infra-audit-follower", daemon=True)
                self._thread.start()
            if not self._wanted:
                self._wanted = True
                self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def open(self) -> None:
        """Make the index ready, up to the end of the log."""
        with self.lock:
            self._open()
            self._index_up_to(self._wal.size)

    def publish(self, size: int, *, edge: bool = False) -> None:
        """Write the tiles of the first `size` entries; with `edge` the partial ones, too."""
        with self.lock:
            self._publisher.publish(size, edge=edge)

    def catch_up(self, size: int) -> None:
        """Bring the index up to the first `size` entries, if it isn't there."""
        try:
            done, _ = self._index.size()
        except IndexLostError:
            done = -1
        if done < size:
            with self.lock:
                self.index_up_to(size)
        else:
            self._recent.forget(done)

    def index_up_to(self, size: int) -> None:
        """Do the same with the lock in hand."""
        try:
            self._index_up_to(size)
        except IndexLostError:
            self._index.close()
            self._open()
            self._index_up_to(size)

    def _index_up_to(self, size: int) -> None:
        done, _ = self._index.size()
        start = max(done, self._wal.segments.firsts()[0])
        if start < size:
            at = self._at[1] if self._at is not None and self._at[0] == start else None
            for frames in self._wal.segments.frames(start, size, at):
                for begin in range(0, len(frames), _CHUNK):
                    self._index.add(frames[begin : begin + _CHUNK])
                self._at = (frames[-1].seq + 1, frames[-1].end)
        self._recent.forget(max(size, done))

    def _check(self) -> None:
        """Refuse an index of another log."""
        done, last = self._index.size()
        if not done:
            return
        if done > self._wal.size:
            raise IndexLostError("the index knows entries that the log has not")
        try:
            if self._publisher.read_leaf_hash(done - 1, self._wal.size) != last:
                raise IndexLostError("the index is that of another log")
        except (TileError, AuditNotFoundError) as exc:
            raise IndexLostError("the index can't be compared with the log") from exc

    def _open(self) -> None:
        try:
            new = self._index.open()
            self._check()
        except IndexLostError:
            self._index.remove()
            new = self._index.open()
        self._at = None
        self.rebuilt += new and self._wal.size > 0

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._wanted and not self._closing:
                    self._changed.wait()
                if not self._closing:
                    self._changed.wait(_PAUSE)  # for more to come; only `close` ends it early
                if self._closing:
                    return
                self._wanted = False
            try:
                size = self._wal.size
                if size - self._publisher.size >= _PUBLISH:
                    self.publish(size)
                self.catch_up(size)
            except Exception as exc:  # noqa: BLE001 - whoever needs it tries again, and is told
                faults.record("audit.file", exc, consequence="the tiles and the index of the audit log stay behind")
