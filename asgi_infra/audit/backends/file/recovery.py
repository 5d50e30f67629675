"""What a log may look like after its writer was killed, and what it may not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.backends.file.frames import Frame, committed, decode, fault, later_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK: Final = 1 << 22
_NO_END: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What was cut off when a log was opened: the batch that its last writer was killed in; nobody had its receipts.

    Attributes:
        path: The segment.
        offset: Where it ends now.
        removed: How many bytes were cut off.
        size: How many entries the log has.
    """

    path: Path
    offset: int
    removed: int
    size: int

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.removed} bytes of an unfinished batch were removed after byte {self.offset}; "
            f"the log has {self.size} entries"
        )


def whole_batches(descriptor: int, at: int, seq: int, end: int | None = None) -> Iterator[list[Frame]]:
    """Yield the records of whole batches, in pieces, up to the first batch that is not; a seal is the last one.

    Args:
        descriptor: The segment.
        at: Where to begin.
        seq: The number of the first record.
        end: Where to stop, if not at the end of the file.
    """
    size = _CHUNK
    while end is None or at < end:
        wanted = size if end is None else min(size, end - at)
        data = files.read(descriptor, wanted, at)
        frames = decode(data, at, seq, _NO_END)
        count = committed(frames)
        if not count:
            if len(data) < size:
                return
            size *= 2  # a batch larger than that
            continue
        del frames[count:]
        seq, at, sealed = frames[-1].seq + 1, frames[-1].end, not frames[-1].leaf
        yield frames
        if sealed:
            return


def leftover_fault(data: bytes, at: int, seq: int, covered: int) -> str | None:
    """Return what is wrong with the bytes after the last whole batch, or `None` if it is a batch that was cut short.

    Args:
        data: The bytes.
        at: Where in the segment they begin.
        seq: The number of the entry that should begin there.
        covered: How many entries are known to have been committed.
    """
    frames = decode(data, at, seq, _NO_END)
    bad = seq + len(frames)
    place = frames[-1].end if frames else at
    if covered <= bad and not later_batch(data, place - at, seq):
        return None if covered <= seq else f"byte {place}: the batch of entry {seq} has lost its end"
    return f"byte {place}: entry {bad}: {fault(data[place - at :], bad)}"
