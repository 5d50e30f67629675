"""Bytes to a stream, as far as the stream takes them within a time."""

from __future__ import annotations

import select
import stat
import sys
import time
from io import BytesIO, StringIO, TextIOWrapper
from os import fstat
from typing import IO, TYPE_CHECKING, Any

from asgi_infra.lines import plain_file, through

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    Write = Callable[[bytes, float], int]

_PIPE_BUF = 4096
"""What a pipe or socket that is ready takes without blocking (POSIX: at least 512; Linux: 4096)."""


class Sink:
    """Writes to a stream without waiting longer than it is told to, where the system can say so.

    A plain file below the layers of the standard library is written to itself, so that nothing stays in a buffer.

    Args:
        stream: A text or binary stream; `None` for `sys.stdout` as it is at the time of each write.
    """

    def __init__(self, stream: IO[Any] | None) -> None:
        self._stream = stream
        self._bound: IO[Any] | None = None
        self._write: Write | None = None

    def reset(self) -> None:
        """Forget what was in use, which after a fork may be in the middle of something."""
        self._bound = self._write = None

    def blocks(self) -> bool:
        """Return whether a write may wait longer than it is told to, because the stream is no file of the system."""
        stream = sys.stdout if self._stream is None else self._stream
        return stream is not None and not _in_memory(stream) and _pollable(plain_file(stream)) is None

    def write(self, data: bytes, timeout: float) -> int:
        """Write, wait for the stream for at most `timeout` seconds, and return how many bytes it took.

        Raises what the stream raises, and then it took nothing. One thread at a time may be in here.
        """
        stream = sys.stdout if self._stream is None else self._stream
        if stream is None:  # a process without standard output
            return len(data)
        write = self._write
        if write is None or self._bound is not stream:
            write = self._write = _writer(stream)
            self._bound = stream
        return write(data, timeout)


def _writer(stream: IO[Any]) -> Write:
    file = plain_file(stream)
    kind = _pollable(file)
    if file is None or kind is None:
        write_all = through(stream)
        return lambda data, _: write_all(data)
    stream.flush()  # what was printed before comes first
    # The file's own method and not its descriptor, which would be some other file's once this one is closed.
    return _to_regular(file) if kind == "regular" else _to_pipe(file)


def _to_regular(file: FileIO) -> Write:
    write_some = file.write

    def write(data: bytes, timeout: float) -> int:
        return write_some(data) or 0

    return write


def _to_pipe(file: FileIO) -> Write:
    poll = select.poll()
    poll.register(file.fileno(), select.POLLOUT)
    ready, write_some = poll.poll, file.write

    def write(data: bytes, timeout: float) -> int:
        size, done, deadline = len(data), 0, 0.0
        while done < size:
            if not ready(0):
                if timeout == 0:
                    break
                deadline = deadline or time.monotonic() + timeout
                left = deadline - time.monotonic()
                if left <= 0 or not ready(min(left, 3600.0) * 1000):
                    break
            if size <= _PIPE_BUF and not done:
                written = write_some(data)
            else:  # whole lines where that is possible, so that lines of other processes come between them
                end = data.rfind(b"\n", done, done + _PIPE_BUF) + 1 or done + _PIPE_BUF
                written = write_some(data[done:end])
            if not written:  # not blocking, and full although it was ready
                break
            done += written
        return done

    return write


def _pollable(file: FileIO | None) -> str | None:
    if file is None:
        return None
    try:
        if stat.S_ISREG(fstat(file.fileno()).st_mode):
            return "regular"
    except (OSError, ValueError):
        return "regular"  # closed: the write says so
    return "pipe" if hasattr(select, "poll") else None


def _in_memory(stream: IO[Any]) -> bool:
    return isinstance(stream.buffer if isinstance(stream, TextIOWrapper) else stream, (BytesIO, StringIO))
