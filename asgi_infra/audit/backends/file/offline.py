"""Checking a log's directory from outside: nothing is opened for writing, and no process is asked.

Everything is derived again from the entries: the checksums, the commitments to private parts, the tree, each tile and
bundle, and the checkpoints. Writers may go on meanwhile; what they have not finished is not looked at.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.backends.file.frames import Frame, committed, decode, fault, later_batch
from asgi_infra.audit.backends.file.parts import CHECKPOINT
from asgi_infra.audit.backends.file.private import private_problem
from asgi_infra.audit.backends.file.publishing import read_state
from asgi_infra.audit.backends.file.segments import Segments, open_edge, read_head
from asgi_infra.audit.backends.file.tiles_check import TilesCheck
from asgi_infra.audit.errors import AuditIntegrityError, AuditUnavailableError
from asgi_infra.audit.proofs.checkpoint import Checkpoint, open_checkpoint
from asgi_infra.audit.proofs.merkle import CompactRange, leaf_hashes
from asgi_infra.audit.proofs.proving import root_at
from asgi_infra.audit.proofs.tile_edge import TileEdge
from asgi_infra.audit.proofs.tile_nodes import TileNodes
from asgi_infra.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.proofs.signing import Verifier

_CHUNK: Final = 1 << 23
_NO_END: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class DirectoryReport:
    """What checking a directory found.

    Attributes:
        ok: Whether everything was right.
        size: Entries that were ever logged, as far as the check came.
        first: The oldest one that is still there.
        checked: Entries that were found to be right.
        erased: How many of these have had their private part erased.
        root: The root of the tree of `size` leaves.
        signed: How many entries the last checkpoint covers.
        unfinished: Bytes at the end of a batch that was never finished; the next writer removes them.
        problem: What is wrong, in words; empty if nothing is.
        bad_seq: The first bad entry, or `None` if no single entry is to blame.
        file: The file that is wrong, or `None`.
        offset: The byte in that file, or `None`.
    """

    ok: bool
    size: int
    first: int
    checked: int
    erased: int
    root: bytes
    signed: int
    unfinished: int
    problem: str = ""
    bad_seq: int | None = None
    file: Path | None = None
    offset: int | None = None

    def __bool__(self) -> bool:
        return self.ok


def verify_directory(
    path: str | os.PathLike[str],
    *,
    since: str | bytes | None = None,
    key: Verifier | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> DirectoryReport:
    """Check a log that `FileAuditLogger` has written.

    Args:
        path: The directory.
        since: A checkpoint from before, kept elsewhere: the log must begin with what it covers. Without it, a log that
            was cut or made anew as a whole can't be told from a true one.
        key: The log's public key; with it the signatures of both checkpoints are checked.
        progress: Called now and then with the number of bytes checked so far, and of all.

    Raises:
        AuditUnavailableError: The directory can't be read, or holds no log.
        ProofError: `since` is no checkpoint, or not one of this log.

    Example:
        >>> report = verify_directory("/var/log/shop/audit", since=kept)
        >>> assert report, f"{report.file}, byte {report.offset}: {report.problem}"
    """
    expected = None if since is None else _checkpoint(since, key)
    with files.translated("read the audit log"):
        return _Check(Path(path), expected, key).run(progress)


class _WrongError(Exception):
    def __init__(
        self, problem: str, file: Path | None = None, offset: int | None = None, seq: int | None = None
    ) -> None:
        super().__init__(problem)
        self.place = (problem, seq, file, offset)


class _Check:
    def __init__(self, path: Path, since: Checkpoint | None, key: Verifier | None) -> None:
        self._path = path
        self._key = key
        self._since = since
        self._segments = Segments(path / "wal")
        self._edge = TileEdge()
        self._first = self._checked = self._erased = self._unfinished = self._signed = 0
        self._done = 0
        self._covered = 0
        self._marks: dict[int, tuple[bytes, str, Path | None]] = {}

    def run(self, progress: Callable[[int, int], object] | None) -> DirectoryReport:
        try:
            self._expect()
            firsts = self._segments.load()
        except _WrongError as exc:
            return self._report(exc)
        except FileNotFoundError as exc:
            raise AuditUnavailableError(f"{self._path} holds no audit log") from exc
        self._first = firsts[0] if firsts else 0
        total = sum(self._segments.path(first).stat().st_size for first in firsts)
        self._tiles = TilesCheck(self._path, self._first)
        try:
            for index, first in enumerate(firsts):
                self._segment(first, firsts[index + 1] if index + 1 < len(firsts) else None, progress, total)
            if self._covered > self.size:
                raise _WrongError(
                    f"the log ends after {self.size} entries, but it had {self._covered}: the end was cut off, "
                    "or an older copy was put in its place",
                    self._segments.path(firsts[-1]) if firsts else self._segments.directory,
                    seq=self.size,
                )
            self._compare_roots()
            if problem := self._tiles.finish(self.size, self._published):
                raise _WrongError(problem[0], problem[1])
        except _WrongError as exc:
            return self._report(exc)
        except AuditIntegrityError as exc:
            return self._report(_WrongError(str(exc)))
        return self._report(None)

    @property
    def size(self) -> int:
        return self._edge.range.size

    def _expect(self) -> None:
        """Find out which roots the log must have at which sizes."""
        path = self._path / CHECKPOINT
        try:
            self._published = self._covered = read_state(self._path)
        except AuditIntegrityError as exc:
            raise _WrongError(str(exc), self._path / "published", 0) from exc
        try:
            note = files.read_path(path)
        except FileNotFoundError:
            note = None
        if note is not None:
            try:
                last = _checkpoint(note, self._key)
            except AuditError as exc:
                raise _WrongError(f"the last checkpoint is wrong: {exc}", path, 0) from exc
            self._signed = last.size
            self._marks[last.size] = (last.root, "signed", path)
            self._covered = max(self._covered, last.size)
        if self._since is not None:
            known = self._marks.get(self._since.size)
            if known is not None and known[0] != self._since.root:
                raise _WrongError("the last checkpoint is not the one that was kept", path, 0)
            self._marks[self._since.size] = (self._since.root, "covered by the checkpoint that was kept", None)
            self._covered = max(self._covered, self._since.size)

    def _segment(
        self, first: int, following: int | None, progress: Callable[[int, int], object] | None, total: int
    ) -> None:
        path = self._segments.path(first)
        descriptor = files.open_file(path, os.O_RDONLY)
        try:
            try:
                at, tiles = read_head(path, descriptor, first)
                edge = open_edge(path, first, tiles)
            except AuditIntegrityError as exc:
                raise _WrongError(str(exc), path, 0, first) from exc
            if first == self._first:
                self._edge = edge
                self._tiles.begin(tiles)
            elif first != self.size or edge.range != self._edge.range:
                raise _WrongError(f"the segment does not continue the one before, after entry {self.size - 1}", path, 0)
            end = self._records(path, descriptor, at, following, progress, total)
            self._done += end
        finally:
            os.close(descriptor)

    def _records(
        self,
        path: Path,
        descriptor: int,
        at: int,
        following: int | None,
        progress: Callable[[int, int], object] | None,
        total: int,
    ) -> int:
        size = _CHUNK
        while True:
            data = files.read(descriptor, size, at)
            frames = decode(data, at, self.size, _NO_END)
            count = committed(frames)
            if not count and len(data) == size:
                size *= 2
                continue
            sealed = bool(count) and not frames[count - 1].leaf
            if not count or (len(data) < size and not sealed and frames[count - 1].end < at + len(data)):
                if count:
                    self._take(frames[:count], path)
                    data, at = data[frames[count - 1].end - at :], frames[count - 1].end
                self._end(path, data, at, following)
                return at
            self._take(frames[: count - sealed], path)
            at, size = frames[count - 1].end, _CHUNK
            if progress is not None:
                progress(min(self._done + at, total), total)
            if sealed:
                if following is None and (more := len(files.read(descriptor, 1, at))):
                    raise _WrongError(f"{more} bytes or more stand behind the end of the segment", path, at)
                if following is not None and following != self.size:
                    raise _WrongError(f"the segment ends with entry {self.size - 1}", path, at, self.size)
                return at

    def _end(self, path: Path, data: bytes, at: int, following: int | None) -> None:
        """Judge what stands where no whole batch does."""
        seq = self.size
        if not data and following is None:
            return
        whole = decode(data, at, seq, _NO_END)
        place = whole[-1].end if whole else at
        bad = seq + len(whole)
        if following is not None or self._covered > seq or later_batch(data, place - at, seq):
            raise _WrongError(f"entry {bad}: {fault(data[place - at :], bad)}", path, place, bad)
        self._unfinished = len(data)

    def _take(self, frames: list[Frame], path: Path) -> None:
        hashes = leaf_hashes([frame.leaf for frame in frames])
        for frame in frames:
            if frame.end > frame.erasable and frame.private is None:
                self._erased += 1
            elif problem := private_problem(frame):
                raise _WrongError(f"entry {frame.seq}: {problem}", path, frame.erasable, frame.seq)
        done = 0
        for size in sorted(mark for mark in self._marks if self.size < mark <= self.size + len(frames)):
            self._extend(frames[done : size - frames[0].seq], hashes[done : size - frames[0].seq])
            done = size - frames[0].seq
            self._check_root(self._edge.range, size)
        self._extend(frames[done:], hashes[done:])

    def _extend(self, frames: list[Frame], hashes: list[bytes]) -> None:
        changed = self._edge.extend(hashes)
        if problem := self._tiles.compare(changed, frames):
            raise _WrongError(problem[0], problem[1], seq=problem[2])
        self._checked += len(frames)

    def _check_root(self, tree: CompactRange, size: int) -> None:
        root, what, path = self._marks.pop(size)
        if tree.root() != root:
            raise _WrongError(f"the first {size} entries are not those that were {what}", path)

    def _compare_roots(self) -> None:
        """Compare what is older than the oldest entry that is there, from the tiles."""
        nodes = TileNodes(self._tiles, self.size, edge=self._edge.range)
        for size, (root, what, path) in self._marks.items():
            try:
                found = root_at(size, nodes)
            except AuditError as exc:
                raise _WrongError(f"the first {size} entries can't be compared: {exc}", path) from exc
            if found != root:
                raise _WrongError(f"the first {size} entries are not those that were {what}", path)

    def _report(self, wrong: _WrongError | None) -> DirectoryReport:
        problem, seq, file, offset = ("", None, None, None) if wrong is None else wrong.place
        return DirectoryReport(
            ok=wrong is None,
            size=self.size,
            first=self._first,
            checked=self._checked,
            erased=self._erased,
            root=self._edge.range.root(),
            signed=self._signed,
            unfinished=self._unfinished,
            problem=problem,
            bad_seq=seq,
            file=file,
            offset=offset,
        )


def _checkpoint(note: str | bytes, key: Verifier | None) -> Checkpoint:
    return Checkpoint.of_note(note) if key is None else open_checkpoint(note, key).checkpoint


__all__ = ["DirectoryReport", "verify_directory"]
