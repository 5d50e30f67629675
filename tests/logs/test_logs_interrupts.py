from __future__ import annotations

import io
import json
import logging
import signal
import threading

import pytest

from asgi_infra.logs import configure_logging
from asgi_infra.logs.outlet import Outlet
from asgi_infra.logs.sink import Sink

logger = logging.getLogger("shop.interrupts")


class TimeLimitError(Exception):
    pass


class InterruptedLock:
    """A lock that a signal handler interrupts as soon as it is taken, before its answer arrives."""

    def __init__(self, lock, interrupt):
        self._lock = lock
        self._interrupt = interrupt

    def acquire(self, *args, **kwargs):
        taken = self._lock.acquire(*args, **kwargs)
        interrupt, self._interrupt = self._interrupt, lambda: None
        interrupt()
        return taken

    def release(self):
        self._lock.release()


def time_is_up(*_):
    raise TimeLimitError


def outlet(stream, queue="auto"):
    return Outlet(Sink(stream), queue, 1 << 20, "drop", lambda lost: b"lost %d\n" % lost)


def in_another_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def alarmed():
    """The signal SIGUSR1 raises `TimeLimitError`."""
    previous = signal.signal(signal.SIGUSR1, time_is_up)
    yield
    signal.signal(signal.SIGUSR1, previous)


@pytest.mark.parametrize("error", [TimeLimitError, KeyboardInterrupt])
@pytest.mark.parametrize("queue", ["auto", "never"])
def test_an_interrupt_as_the_lock_is_taken_leaves_it_free_for_everybody(queue, error):
    def interrupt():
        raise error

    stream = io.BytesIO()
    way = outlet(stream, queue)
    way._lock = InterruptedLock(way._lock, interrupt)
    with pytest.raises(error):
        way.put(b"interrupted\n")
    in_another_thread(way.put, b"by another\n")
    way.put(b"by this one\n")
    assert way.flush(0.1)
    assert stream.getvalue() == b"by another\nby this one\n"


def test_an_interrupt_as_a_flush_takes_the_lock_leaves_it_free():
    stream = io.BytesIO()
    way = outlet(stream)
    way._lock = InterruptedLock(way._lock, time_is_up)
    with pytest.raises(TimeLimitError):
        way.flush(1.0)
    in_another_thread(way.put, b"by another\n")
    assert stream.getvalue() == b"by another\n"


def test_a_signal_handler_that_logs_as_the_lock_is_taken_gets_its_line_written():
    stream = io.BytesIO()
    way = outlet(stream)
    way._lock = InterruptedLock(way._lock, lambda: way.put(b"by the handler\n"))
    way.put(b"interrupted\n")
    in_another_thread(way.put, b"by another\n")
    assert stream.getvalue() == b"by the handler\ninterrupted\nby another\n"


def test_an_interrupted_wait_for_the_lock_takes_nothing_from_who_has_it():
    writing, go_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def write(self, data):
            writing.set()
            assert go_on.wait(10)
            return super().write(data)

    class InterruptedWait(InterruptedLock):
        def acquire(self, *args, **kwargs):
            if threading.current_thread() is threading.main_thread():
                raise TimeLimitError
            return self._lock.acquire(*args, **kwargs)

    stream = Slow()
    way = outlet(stream, "never")
    way._lock = InterruptedWait(way._lock, None)
    thread = threading.Thread(target=way.put, args=(b"slow\n",))
    thread.start()
    assert writing.wait(10)
    owner = way._owner
    with pytest.raises(TimeLimitError):
        way.put(b"interrupted\n")
    assert way._owner == owner == thread.ident
    go_on.set()
    thread.join(10)
    assert stream.getvalue().startswith(b"slow\n")


@pytest.mark.parametrize("queue", ["auto", "never"])
@pytest.mark.parametrize("base", [io.BytesIO, io.FileIO])
def test_what_a_signal_handler_raises_in_a_write_goes_on_and_costs_that_line_alone(
    alarmed, tmp_path, monkeypatch, base, queue
):
    class Interrupted(base):
        interrupts = 1

        def write(self, data):
            if self.interrupts:
                self.interrupts -= 1
                signal.raise_signal(signal.SIGUSR1)
            return super().write(data)

    path = tmp_path / "log"
    stream = Interrupted(path, "wb") if base is io.FileIO else Interrupted()
    setup = configure_logging("INFO", stream=stream, queue=queue)
    with pytest.raises(TimeLimitError):
        logger.info("interrupted")
    in_another_thread(logger.info, "afterwards")
    assert setup.close(1.0)
    written = path.read_bytes() if base is io.FileIO else stream.getvalue()
    assert [json.loads(line)["message"] for line in written.splitlines()] == [
        "afterwards",
        "1 log lines were lost before this one",
    ]
    stream.close()
