"""The parts of one open log, and what needs several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_infra.audit.backends.file import erasing, files
from asgi_infra.audit.backends.file.following import Follower
from asgi_infra.audit.backends.file.index import Index
from asgi_infra.audit.backends.file.publishing import Publisher, read_state
from asgi_infra.audit.backends.file.recent import Recent
from asgi_infra.audit.backends.file.wal import WriteAheadLog
from asgi_infra.audit.errors import AuditIntegrityError, AuditNotFoundError
from asgi_infra.audit.proofs.checkpoint import Checkpoint
from asgi_infra.audit.proofs.errors import ProofError, TileError
from asgi_infra.audit.proofs.proving import root_at
from asgi_infra.audit.proofs.tile_nodes import TileNodes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asgi_infra.audit.backends.file.frames import Frame
    from asgi_infra.audit.backends.file.recovery import RecoveryReport

CHECKPOINT: Final = "checkpoint"


class Parts:
    """All that belongs to an open log.

    Args:
        path: The directory, which is there.
        segment_bytes: The size at which a new segment begins.
    """

    def __init__(self, path: Path, segment_bytes: int) -> None:
        self.path = path
        self.recent = Recent(0)
        self.wal = WriteAheadLog(path / "wal", files.FileLock(path / "lock"), segment_bytes)
        self.wal.adopted = self.recent.add_frames
        self.wal.skipped = self.recent.skip
        self.publisher = Publisher(path, self.wal)
        self.index = Index(path / "index.db")
        follow = files.FileLock(path / "follow")
        self.follower = Follower(follow, self.wal, self.publisher, self.index, self.recent)
        self.wal.before_roll = self.follower.publish

    def open(self) -> RecoveryReport | None:
        """Recover the log, and compare it with the last checkpoint."""
        with self.wal.lock:
            with self.follower.lock:
                erased = erasing.finish(self.path, self.wal.segments.path)
            checkpoint = self.checkpoint()
            signed = 0 if checkpoint is None else checkpoint.size
            report = self.wal.recover(max(signed, read_state(self.path)))
            if checkpoint is not None:
                self._compare(checkpoint)
            self.follower.open()
        if erased:
            with self.follower.lock:
                self.finish_erasing()
        return report

    def checkpoint_note(self) -> bytes | None:
        """Return the checkpoint that was signed last."""
        try:
            return files.read_path(self.path / CHECKPOINT)
        except FileNotFoundError:
            return None

    def checkpoint(self) -> Checkpoint | None:
        """Return what the last checkpoint claims.

        Raises:
            AuditIntegrityError: The file holds none.
        """
        note = self.checkpoint_note()
        try:
            return None if note is None else Checkpoint.of_note(note)
        except ProofError as exc:
            raise AuditIntegrityError(f"{self.path / CHECKPOINT}, byte 0: {exc}") from exc

    def read(self, places: Sequence[tuple[int, int]]) -> list[Frame]:
        """Return the records of entries, given by number and place, in that order; purged ones are left out."""
        frames: list[Frame] = []
        at = 0
        while at < len(places):
            end = at + 1
            while end < len(places) and places[end][0] == places[end - 1][0] + 1:
                end += 1
            frames += self.run(places[at][0], places[end - 1][0] + 1, places[at][1])
            at = end
        return frames

    def run(self, start: int, stop: int, at: int | None) -> list[Frame]:
        """Return the records from `start` up to but without `stop`; those that were purged are left out."""
        segments = self.wal.segments
        try:
            return [frame for frames in segments.frames(start, stop, at) for frame in frames]
        except AuditNotFoundError:
            kept = max(start, segments.load()[0])
            return [] if kept >= stop else self.run(kept, stop, None)
        except AuditIntegrityError:
            if at is None:
                raise
            found = self.run(start, stop, None)  # raises if it is the log that is wrong
            with self.follower.lock:
                self.index.remove()
            return found

    def finish_erasing(self) -> None:
        """Erase what a process has begun to erase that was killed. Needs the followers' lock."""
        seqs = erasing.finish(self.path, self.wal.segments.path)
        if seqs:
            self.follower.index_up_to(self.wal.size)
            self.index.forget_users(self.read(self.index.places(seqs)))
            erasing.close(self.path)

    def close(self) -> None:
        """Give all files back."""
        self.index.close()
        self.wal.close()
        self.wal.lock.close()
        self.follower.lock.close()

    def _compare(self, checkpoint: Checkpoint) -> None:
        tree = self.wal.tree.range()
        try:
            root = root_at(checkpoint.size, TileNodes(self.publisher, tree.size, edge=tree))
        except TileError as exc:
            raise AuditIntegrityError(f"{self.path}: the last checkpoint can't be checked: {exc}") from exc
        if root != checkpoint.root:
            raise AuditIntegrityError(
                f"{self.path / CHECKPOINT}: the log is not the one whose first {checkpoint.size} entries were signed"
            )
