"""The way of lines to their stream: at once where the stream takes them, else through a bounded queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from asgi_infra import faults
from asgi_infra.logs.interrupts import of_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.logs.sink import Sink

Queue = Literal["auto", "always", "never"]
Overflow = Literal["drop", "block"]
_T = TypeVar("_T")

_BATCH: Final = 65_536
_GATHER: Final = 0.005
_STEP: Final = 0.2
_LONGEST_BLOCK: Final = 5.0
_FOREVER: Final = 1e9
_LINE_FEED: Final = ord("\n")


class Outlet:
    """Writes lines in the order in which they came, never blocks longer than its policy says, and counts what it lost.

    Whoever gets the lock writes what waits; everybody else only leaves a line in the queue, and nobody waits for the
    lock. A signal handler or a finaliser that logs in the middle of a write can therefore not deadlock. A thread exists
    only once a stream has made lines wait.

    Args:
        sink: Where lines go.
        queue: `"auto"`, `"always"` or `"never"`; see `configure_logging`.
        max_bytes: Lines that wait take this much at most (one line more fits if it starts below).
        overflow: What happens to a line that finds the queue full.
        notice: Renders the line that tells how many were lost.
    """

    def __init__(
        self, sink: Sink, queue: Queue, max_bytes: int, overflow: Overflow, notice: Callable[[int], bytes]
    ) -> None:
        self._sink = sink
        self._write = sink.write
        self._direct = queue == "never"
        self._patience = _FOREVER if self._direct else 0.0
        self._background = queue == "always" or (queue == "auto" and sink.blocks())
        self._max_bytes = max_bytes
        self._blocks = overflow == "block"
        self._notice = notice
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._lost = {"full": 0, "write": 0}
        self._untold = 0
        self._partial = self._torn = False
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.RLock()
        self._owner = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, line: bytes) -> None:
        """Take one line, which ends in a line feed."""
        if not (self._lines or self._background or self._untold):
            done = self._in_turn(self._write_first, line)
            if done is not None:
                self._look_again(done)
                return
        if self._size >= self._max_bytes and not self._has_room():
            self._lost["full"] += 1
            self._untold += 1
            return
        # Two threads may count in the same moment; whoever empties the queue sets the figure right.
        self._size += len(line)
        self._lines.append(line)
        if not self._background:
            self._look_again(self._in_turn(self._drain, self._patience, _LONGEST_BLOCK if self._direct else 0.0))
        elif not self._wake.is_set():
            self._call_thread()

    def _in_turn(self, work: Callable[[_T], bool], argument: _T, wait: float = 0.0) -> bool | None:
        """Return what `work` returns, which nobody else does at the same time.

        Return `None` if it is another thread's turn, for longer than `wait` seconds; or this thread's already: then
        a signal handler, a finaliser or the stream itself logs in the middle of a write.
        """
        me = threading.get_ident()
        if self._owner == me:
            return None
        lock = self._lock
        taken = True  # unless the lock says otherwise: a signal handler may raise before its answer gets here
        try:
            taken = lock.acquire(True, wait)  # by position, which costs half
            if not taken:
                return None
            self._owner = me
            return work(argument)
        finally:
            if taken:
                if self._owner == me:
                    self._owner = 0
                try:  # noqa: SIM105 - in another call, a signal handler could raise before the release
                    lock.release()
                except RuntimeError:  # it was the wait that was interrupted
                    pass

    def _look_again(self, done: bool | None) -> None:
        """Write lines that came between the last look and the release; leave to the thread what has to wait."""
        while done and self._lines:
            done = self._in_turn(self._drain, self._patience)
        if done is False:
            self._call_thread()

    def _write_first(self, line: bytes) -> bool:
        """Write a line past the queue, because nothing waits and nothing is left to be told; then what came since."""
        written = self._written(line, self._patience)
        if written is not None and written < len(line):
            self._partial = written > 0
            self._lines.appendleft(line[written:])
            self._size += len(line) - written
        return self._drain(self._patience) if self._lines else True

    def flush(self, timeout: float) -> bool:
        """Write what waits, for at most `timeout` seconds, and return whether nothing is left."""
        deadline = time.monotonic() + timeout
        if self._background and self._sink.blocks() and self._start_thread():
            return self._wait_for_thread(deadline)
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            done = self._in_turn(self._drain, min(left, _STEP), left)
            if done is not False or time.monotonic() >= deadline:
                return bool(done)

    def _wait_for_thread(self, deadline: float) -> bool:
        """Wait for lines that only the thread may write, since nobody can tell how long that takes."""
        while self._lines or self._owner:
            if time.monotonic() >= deadline:
                return False
            self._wake.set()
            time.sleep(0.001)
        return True

    def write_through(self) -> None:
        """Give up the thread: from now on, callers write what the stream takes."""
        self._background = self._background and self._sink.blocks()

    def close(self, timeout: float) -> bool:
        """Flush, and end the thread. Lines that come later, from threads that are not done, are written directly."""
        done = self.flush(timeout)
        self._background = False
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            self._wake.set()
            thread.join(min(timeout, 1.0))
        if self._lines:
            done = self._in_turn(self._give_up, None) or False
        return done

    def _give_up(self, _: None) -> bool:
        """Write what the stream takes at once, and count the rest as lost."""
        done = not self._sink.blocks() and self._drain(0.0)
        self._lost["write"] += len(self._lines)
        self._lines.clear()
        self._size = 0
        return done

    def after_fork(self) -> None:
        """Start anew in a child process: what waits is the parent's to write."""
        self._sink.reset()
        self._begin()

    def stats(self) -> dict[str, int]:
        """Return the bytes that wait, and the lines that were lost because the queue was full or a write failed."""
        return {
            "queued_bytes": self._size,
            "lost_queue_full": self._lost["full"],
            "lost_write_failed": self._lost["write"],
        }

    def _has_room(self) -> bool:
        if not self._blocks or self._owner == threading.get_ident():
            return False
        deadline = time.monotonic() + _LONGEST_BLOCK
        while self._size >= self._max_bytes and time.monotonic() < deadline:
            if self._background:
                self._call_thread()
            else:
                self._look_again(self._in_turn(self._drain, 0.0))
            time.sleep(0.001)
        return self._size < self._max_bytes

    def _drain(self, timeout: float) -> bool:
        """Write what waits, and return whether nothing is left."""
        lines = self._lines
        while lines:
            line = lines.popleft()
            if lines:
                line = self._batch(line)
            if self._torn:
                line, self._torn = b"\n" + line, False
                self._size += 1
            size = len(line)
            written = self._written(line, timeout)
            if written is None:
                self._size -= size
                continue
            self._size -= written
            if written < size:
                lines.appendleft(line[written:])
                if written == 0:
                    return False
                self._partial = line[written - 1] != _LINE_FEED
                continue
            self._partial = False
            if self._untold and not lines:
                untold, self._untold = self._untold, 0
                lines.append(self._notice(untold))
        self._size = 0
        return True

    def _written(self, data: bytes, timeout: float) -> int | None:
        """Write, and return how many bytes the stream took; `None` if it raised, and they are lost."""
        try:
            return self._write(data, timeout)
        except BaseException as exc:
            lost = data.count(b"\n")
            self._lost["write"] += lost
            self._untold += lost
            self._torn, self._partial = self._partial, False  # the next line must not continue half a line
            if not isinstance(exc, Exception) or of_signal_handler(exc):
                raise  # it goes on, and nobody knows how much was written
            faults.record("logs.write", exc)
            return None

    def _batch(self, first: bytes) -> bytes:
        lines, batch, size = self._lines, [first], len(first)
        while lines and size < _BATCH:
            batch.append(lines.popleft())
            size += len(batch[-1])
        return b"".join(batch)

    def _call_thread(self) -> None:
        if self._thread is None and not self._start_thread():
            # Too late for threads: the interpreter is ending.
            self.flush(1.0)
            return
        self._wake.set()

    def _start_thread(self) -> bool:
        if self._closed:
            return False
        if not self._starting.acquire(blocking=False):
            return True
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, args=(self._wake,), name="asgi-infra-logs", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:
            return False
        finally:
            self._starting.release()
        return True

    def _run(self, wake: threading.Event) -> None:
        while not self._closed:
            wake.wait()
            wake.clear()
            if self._background:
                time.sleep(_GATHER)  # lines that come together are written together
            while self._lines and not self._closed:
                self._in_turn(self._drain, _STEP, _LONGEST_BLOCK)
