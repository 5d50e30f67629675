"""Bytes past the layers of a stream, and whole lines by a writer that never raises."""

from __future__ import annotations

import sys
from io import BufferedRandom, BufferedWriter, FileIO, TextIOWrapper
from threading import RLock
from typing import IO, TYPE_CHECKING, Any

from asgi_infra import faults

if TYPE_CHECKING:
    from collections.abc import Callable


class LineWriter:
    """Writes whole lines to a stream, one at a time, and counts what could not be written as a fault.

    Past the buffer of a plain file, so that a line is one system call, and a full disk leaves nothing behind in a
    buffer. Lines of other processes don't mix with it in a file that all of them append to, nor, up to 4096 bytes, on a
    pipe. A stream that makes something else of its bytes, such as one that compresses them, is written to as it is.

    Args:
        stream: A text or binary stream; `None` for `sys.stdout` as it is at the time of each line.
    """

    def __init__(self, stream: IO[Any] | None = None) -> None:
        self._stream = stream
        self._lock = RLock()  # re-entrant: the garbage collector may end an abandoned exchange while a line is written
        self._bound: tuple[IO[Any] | None, Callable[[bytes], int | None]] = (None, _nowhere)

    def write(self, line: bytes) -> None:
        """Write one line, which ends in a line feed."""
        try:
            stream = self._stream
            if stream is None:
                stream = sys.stdout
            bound = self._bound  # read once, since other threads replace it
            if bound[0] is not stream:
                bound = self._bound = (stream, _writer(stream))
            with self._lock:  # a pipe takes a line of more than 4096 bytes in pieces
                written = bound[1](line)
                while written != len(line):
                    if written is None:
                        raise BlockingIOError("the stream is not blocking, and takes nothing more at present")
                    line = line[written:]
                    written = bound[1](line)
        except Exception as exc:  # noqa: BLE001
            faults.record("access_log.write", exc)


def _writer(stream: IO[Any] | None) -> Callable[[bytes], int | None]:
    if stream is None:
        return _nowhere
    file = plain_file(stream)
    if file is None:
        return through(stream)
    stream.flush()  # what was printed before comes first
    # The file's own method and not its descriptor, which would be some other file's once this one is closed.
    return file.write


def plain_file(stream: IO[Any]) -> FileIO | None:
    """Return the plain file below the layers of the standard library, if there is nothing but these."""
    layer: object = stream.buffer if isinstance(stream, TextIOWrapper) else stream
    if isinstance(layer, (BufferedWriter, BufferedRandom)):
        layer = layer.raw
    return layer if isinstance(layer, FileIO) else None


def through(stream: IO[Any]) -> Callable[[bytes], int]:
    """Return a function that writes to the stream as it is, text or binary, and flushes it."""
    is_text = stream is sys.stdout or hasattr(stream, "encoding")
    flush = getattr(stream, "flush", None)

    def write(line: bytes) -> int:
        stream.write(line.decode() if is_text else line)
        if flush is not None:
            flush()
        return len(line)

    return write


def _nowhere(line: bytes) -> int:
    """A process without standard output has nowhere to write to."""
    return len(line)
