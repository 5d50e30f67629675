"""Whole lines to a stream, by a writer that never raises."""

from __future__ import annotations

import os
import sys
from io import UnsupportedOperation
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from asgi_infra import faults

if TYPE_CHECKING:
    from collections.abc import Callable


class LineWriter:
    """Writes whole lines to a stream, one at a time, and counts what could not be written as a fault.

    A stream with a file descriptor is written to directly, so that a line is one system call, whole among those of
    other processes, and a full disk leaves nothing behind in a buffer.

    Args:
        stream: A text or binary stream; `None` for `sys.stdout` as it is at the time of each line.
    """

    def __init__(self, stream: IO[Any] | None = None) -> None:
        self._stream = stream
        self._bound: tuple[IO[Any] | None, Callable[[bytes], object]] = (None, _nowhere)

    def write(self, line: bytes) -> None:
        """Write one line, which ends in a line feed."""
        try:
            stream = self._stream or sys.stdout
            bound = self._bound  # read once, since other threads replace it
            if bound[0] is not stream:
                bound = self._bound = (stream, _writer(stream))
            bound[1](line)
        except Exception as exc:  # noqa: BLE001
            faults.record("access_log.write", exc)


def _writer(stream: IO[Any] | None) -> Callable[[bytes], object]:
    if stream is None:
        return _nowhere
    try:
        descriptor = stream.fileno()
    except (AttributeError, UnsupportedOperation, OSError, ValueError):
        lock = Lock()
        is_text = hasattr(stream, "encoding")

        def write_buffered(line: bytes) -> None:
            with lock:
                stream.write(line.decode() if is_text else line)
                stream.flush()

        return write_buffered
    stream.flush()  # what was printed before comes first

    def write(line: bytes) -> None:
        while (written := os.write(descriptor, line)) < len(line):
            line = line[written:]

    return write


def _nowhere(line: bytes) -> None:
    """A process without standard output has nowhere to write to."""
