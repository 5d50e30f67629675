"""A background thread that works in intervals, on request, and for a last time before a deadline."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

# The key has no public spelling; the SDK and the contrib instrumentations import it from here too.
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

from asgi_infra import faults

if TYPE_CHECKING:
    from collections.abc import Callable


class Worker:
    """Calls `work` every `interval` seconds and whenever it is asked to, on one daemon thread.

    The thread starts on the first `ensure`, so that building one leaves no trace. Nothing that the caller waits for
    lasts longer than the timeout given, whatever `work` does: a call that hangs is left behind on its daemon thread.
    After `os.fork` the child has a worker without thread or requests; the next `ensure` starts its own.

    Args:
        name: The thread's name.
        work: What to do; an exception is counted as a fault, and the thread goes on.
        close: Called once, on the thread, after the last `work`.
        interval: Seconds between two calls of `work` when nobody asks.
    """

    def __init__(self, name: str, work: Callable[[], None], close: Callable[[], None], *, interval: float) -> None:
        self._name = name
        self._work = work
        self._close = close
        self._interval = interval
        self.stopping = False
        self.abandoned = False
        self.reset()

    def reset(self) -> None:
        """Forget the thread of the parent process: the first thing to do in a forked child."""
        self.pid = os.getpid()
        self._wake = threading.Event()
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        self._requested = self._completed = 0

    @property
    def started(self) -> bool:
        """Whether the thread has been started in this process."""
        return self._thread is not None

    def ensure(self) -> None:
        """Start the thread if there is none; where the system refuses one, the next call tries again."""
        with self._state:
            if self._thread is not None:
                return
            thread = self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as exc:
                self._thread = None
                faults.record("telemetry.worker", exc)

    def wake(self) -> None:
        """Ask for `work` now; nobody waits for it."""
        if not self._wake.is_set():
            self._wake.set()

    def request(self) -> int:
        """Ask for `work` to be done from its start, and return the ticket to `wait` with."""
        with self._state:
            self._requested += 1
            self._wake.set()
            return self._requested

    def wait(self, ticket: int, timeout: float) -> bool:
        """Wait for at most `timeout` seconds for what was asked for; say whether it was done."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        with self._state:
            return self._state.wait_for(lambda: self._completed >= ticket, max(timeout, 0.0))

    def request_stop(self) -> None:
        """Ask for the last `work` and `close`."""
        if self.pid != os.getpid():
            self.reset()
        self.stopping = True
        self._wake.set()

    def stop(self, timeout: float) -> bool:
        """Do the last `work`, close, and wait for at most `timeout` seconds; say whether all of it was done."""
        self.request_stop()
        thread = self._thread
        if thread is threading.current_thread():
            return False
        if thread is None:  # nothing was ever done in this process, or it starts no threads any more
            self.abandoned = not call_within(timeout, self._finish)
        else:
            thread.join(max(timeout, 0.0))
            self.abandoned = thread.is_alive()
        return not self.abandoned

    def _run(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while True:
            self._wake.wait(self._interval)
            self._wake.clear()
            if self.stopping:
                break
            self._turn()
        self._finish()

    def _turn(self) -> None:
        ticket = self._requested
        self._attempt("work", self._work)
        with self._state:
            self._completed = ticket
            self._state.notify_all()

    def _finish(self) -> None:
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        self._turn()
        self._attempt("close", self._close)
        detach(token)
        with self._state:
            self._completed = sys.maxsize  # nobody waits for a worker that has ended
            self._state.notify_all()

    def _attempt(self, place: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as exc:  # noqa: BLE001 - telemetry never breaks the application
            faults.record(f"telemetry.{place}", exc)


def call_within(timeout: float, call: Callable[[], object]) -> bool:
    """Call something that may hang, and wait for at most `timeout` seconds; say whether it succeeded in time.

    It failed when it raised, or returned `False`. Where no thread can be started any more it is called right here.
    """
    outcome: list[bool] = []

    def attempt() -> None:
        try:
            outcome.append(call() is not False)
        except Exception as exc:  # noqa: BLE001 - telemetry never breaks the application
            faults.record("telemetry.call", exc)

    thread = threading.Thread(target=attempt, name="asgi-infra-telemetry", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        attempt()
    else:
        thread.join(max(timeout, 0.0))
    return outcome == [True]
