"""What every log line needs: a timestamp that costs little, and a writer that never raises."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from io import UnsupportedOperation
from threading import Lock
from time import time_ns
from typing import IO, TYPE_CHECKING, Any

from asgi_infra import faults

if TYPE_CHECKING:
    from collections.abc import Callable


class Timestamps:
    """Times as RFC 3339 in UTC with microseconds; the second is formatted once and kept.

    Args:
        clock: Nanoseconds of Unix time.
    """

    def __init__(self, clock: Callable[[], int] = time_ns) -> None:
        self._clock = clock
        self._last: tuple[int, str] = (-1, "")

    def now(self) -> str:
        """Return the present time, such as `2026-03-01T12:00:00.000123Z`."""
        second, rest = divmod(self._clock(), 1_000_000_000)
        last = self._last  # read once, since other threads replace it
        if last[0] != second:
            last = self._last = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S."))
        return f"{last[1]}{rest // 1000:06d}Z"


class LineWriter:
    """Writes whole lines to a stream, one at a time, and counts what could not be written as a fault.

    A stream with a file descriptor is written to directly, so that a line is one system call, whole among those of
    other processes, and a full disk leaves nothing behind in a buffer.

    Args:
        stream: A text or binary stream; `None` for `sys.stdout` as it is at the time of each line.
    """

    def __init__(self, stream: IO[Any] | None = None) -> None:
        self._stream = stream
        self._lock = Lock()
        self._bound: IO[Any] | None = None
        self._write: Callable[[bytes], None] = _nowhere

    def write(self, line: bytes) -> None:
        """Write one line, which ends in a line feed."""
        try:
            stream = self._stream if self._stream is not None else sys.stdout
            with self._lock:
                if stream is not self._bound:
                    self._write = _writer(stream)
                    self._bound = stream
                self._write(line)
        except Exception as exc:  # noqa: BLE001
            faults.record("access_log.write", exc)


def _writer(stream: IO[Any] | None) -> Callable[[bytes], None]:
    if stream is None:
        return _nowhere
    try:
        descriptor = stream.fileno()
    except (AttributeError, UnsupportedOperation, OSError, ValueError):
        if hasattr(stream, "encoding"):
            return lambda line: _flushed(stream, line.decode())
        return lambda line: _flushed(stream, line)
    stream.flush()  # what was printed before comes first

    def write(line: bytes) -> None:
        written = os.write(descriptor, line)
        while written < len(line):
            line = line[written:]
            written = os.write(descriptor, line)

    return write


def _flushed(stream: IO[Any], line: Any) -> None:
    stream.write(line)
    stream.flush()


def _nowhere(line: bytes) -> None:
    """A process without standard output has nowhere to write to."""
