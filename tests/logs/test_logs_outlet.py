from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import sys
import threading
import time

import pytest

from asgi_infra import faults
from asgi_infra.logs import configure_logging
from asgi_infra.logs.outlet import Outlet
from asgi_infra.logs.sink import Sink

logger = logging.getLogger("shop.outlet")
PATIENCE = 20.0


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


class Pipe:
    """A pipe whose reader takes nothing before it is told to."""

    def __init__(self):
        self.reader, writer = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux has it, and pipes of 64 KiB without it
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        self.writer = io.FileIO(writer, "wb")
        self.data = b""
        self._thread = None

    def read_all(self):
        """Read in the background until the writer is closed."""

        def read():
            while data := os.read(self.reader, 65536):
                self.data += data

        self._thread = threading.Thread(target=read)
        self._thread.start()

    def close(self):
        self.writer.close()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            os.close(self.reader)

    @property
    def lines(self):
        return [json.loads(line) for line in self.data.split(b"\n")[:-1]]


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


def outlet(stream, queue="auto", max_bytes=1 << 20, overflow="drop"):
    return Outlet(Sink(stream), queue, max_bytes, overflow, lambda lost: b"lost %d\n" % lost)


def test_a_stream_that_takes_lines_gets_them_before_the_call_returns(pipe):
    way = outlet(pipe.writer)
    way.put(b"one\n")
    assert os.read(pipe.reader, 100) == b"one\n"
    assert way._thread is None


def test_a_full_pipe_does_not_hold_the_caller_up_and_loses_nothing(pipe):
    setup = configure_logging("INFO", stream=pipe.writer)
    for number in range(500):  # many times what the pipe holds, and nobody reads
        logger.info("%d", number)
    assert setup.stats()["queued_bytes"] > 20_000
    pipe.read_all()
    assert setup.flush(PATIENCE)
    setup.close()
    pipe.close()
    assert [line["message"] for line in pipe.lines] == [str(number) for number in range(500)]
    assert setup.stats() == {"queued_bytes": 0, "lost_queue_full": 0, "lost_write_failed": 0}


def test_lines_longer_than_the_pipe_arrive_whole(pipe):
    setup = configure_logging("INFO", stream=pipe.writer, redact=False)
    for number in range(5):
        logger.info("%s", str(number) * 20_000)
    pipe.read_all()
    setup.close(PATIENCE)
    pipe.close()
    assert [line["message"] for line in pipe.lines] == [str(number) * 20_000 for number in range(5)]


def test_a_pipe_that_is_not_blocking_loses_nothing(pipe):
    os.set_blocking(pipe.writer.fileno(), False)
    setup = configure_logging("INFO", stream=pipe.writer)
    for number in range(300):
        logger.info("%d", number)
    pipe.read_all()
    assert setup.flush(PATIENCE)
    pipe.close()
    assert [line["message"] for line in pipe.lines] == [str(number) for number in range(300)]


def test_a_full_queue_drops_the_newest_lines_counts_them_and_says_so(pipe):
    setup = configure_logging("INFO", stream=pipe.writer, queue_bytes=10_000)
    for number in range(1000):
        logger.info("%d", number)
    lost = setup.stats()["lost_queue_full"]
    assert lost > 500
    assert setup.stats()["queued_bytes"] < 11_000
    pipe.read_all()
    assert setup.flush(PATIENCE)
    logger.info("afterwards")
    setup.close(PATIENCE)
    pipe.close()
    *kept, notice, last = pipe.lines
    assert [line["message"] for line in kept] == [str(number) for number in range(1000 - lost)]
    assert notice["message"] == f"{lost} log lines were lost before this one"
    assert (notice["lost"], notice["level"], notice["logger"]) == (lost, "WARNING", "asgi_infra.logs")
    assert last["message"] == "afterwards"


def test_a_full_queue_blocks_when_told_to_and_loses_nothing(pipe):
    setup = configure_logging("INFO", stream=pipe.writer, queue_bytes=8_000, overflow="block")
    worker = threading.Thread(target=lambda: [logger.info("%d", number) for number in range(400)])
    worker.start()
    wait_for(lambda: setup.stats()["queued_bytes"] >= 8_000)
    assert worker.is_alive()
    pipe.read_all()
    worker.join(PATIENCE)
    setup.close(PATIENCE)
    pipe.close()
    assert [line["message"] for line in pipe.lines] == [str(number) for number in range(400)]


def test_direct_mode_has_no_thread_and_waits_for_the_reader(pipe):
    way = outlet(pipe.writer, queue="never")
    worker = threading.Thread(target=lambda: [way.put(b"%d " % number * 100 + b"\n") for number in range(100)])
    worker.start()
    pipe.read_all()
    worker.join(PATIENCE)
    assert way._thread is None
    pipe.close()
    assert pipe.data.count(b"\n") == 100


@pytest.mark.parametrize("queue", ["auto", "always", "never"])
def test_many_threads_lose_nothing_and_tear_nothing(lines, queue):
    setup = configure_logging("INFO", stream=lines, queue=queue)

    def work(number):
        for index in range(400):
            logger.info("%d %d %s", number, index, "x" * 50)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    setup.close(PATIENCE)
    for number in range(4):
        mine = [line["message"].split()[1] for line in lines.all if line["message"].startswith(f"{number} ")]
        assert mine == [str(index) for index in range(400)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("queue", ["auto", "always", "never"])
def test_a_full_disk_is_counted_and_never_raised(queue):
    with open("/dev/full", "wb", 0) as full:
        setup = configure_logging("INFO", stream=full, queue=queue)
        for _ in range(5):
            logger.info("gone")
        setup.close()
    # The first failure of its kind is logged itself, and is lost too.
    assert setup.stats()["lost_write_failed"] in (5, 6)
    assert setup.stats()["queued_bytes"] == 0
    assert faults.counts()[("logs.write", "OSError")] >= 1


class Broken(io.RawIOBase):
    """A stream that raises until it is mended."""

    def __init__(self):
        self.broken = True
        self.data = b""

    def write(self, data):
        if self.broken:
            raise OSError("broken")
        self.data += data
        return len(data)


def test_what_a_broken_stream_lost_is_told_once_it_works_again():
    stream = Broken()
    setup = configure_logging("INFO", stream=stream)
    logger.info("lost")
    assert setup.flush(PATIENCE)
    lost = setup.stats()["lost_write_failed"]
    stream.broken = False
    logger.info("found")
    setup.close(PATIENCE)
    assert [json.loads(line)["message"] for line in stream.data.splitlines()] == [
        "found",
        f"{lost} log lines were lost before this one",
    ]


def test_a_stream_that_takes_half_a_line_and_breaks_does_not_spoil_the_next(tmp_path):
    class Sometimes:
        taken = b""
        answers = iter([3, OSError("full"), None, None])

        def write(self, data, timeout):
            answer = next(self.answers)
            if isinstance(answer, Exception):
                raise answer
            self.taken += data[:answer]
            return len(data) if answer is None else answer

        def blocks(self):
            return False

    sink = Sometimes()
    way = Outlet(sink, "auto", 1000, "drop", lambda lost: b"lost %d\n" % lost)
    way.put(b"first\n")
    way.put(b"second\n")
    assert sink.taken == b"fir\nsecond\nlost 1\n"


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_closed_stream_is_counted_and_never_raised(tmp_path, mode):
    with open(tmp_path / "log", mode) as stream:
        setup = configure_logging("INFO", stream=stream)
        logger.info("kept")
    logger.info("gone")
    setup.close()
    assert setup.stats()["lost_write_failed"] >= 1
    assert json.loads((tmp_path / "log").read_text())["message"] == "kept"


def test_a_reader_that_is_gone_is_counted_and_never_raised(pipe):
    os.close(pipe.reader)
    setup = configure_logging("INFO", stream=pipe.writer)
    logger.info("gone")
    setup.close()
    assert setup.stats()["lost_write_failed"] >= 1


class Slow:
    """A stream of no file, whose write takes until it is let go."""

    encoding = "utf-8"

    def __init__(self):
        self.go = threading.Event()
        self.data = ""

    def write(self, text):
        assert self.go.wait(PATIENCE)
        self.data += text


def test_a_slow_stream_does_not_hold_the_caller_up():
    stream = Slow()
    setup = configure_logging("INFO", stream=stream)
    for number in range(50):
        logger.info("%d", number)
    assert stream.data == ""
    assert setup.flush(0.01) is False
    stream.go.set()
    assert setup.flush(PATIENCE)
    assert [json.loads(line)["message"] for line in stream.data.splitlines()] == [str(n) for n in range(50)]


def test_closing_does_not_wait_for_ever_for_a_slow_stream():
    stream = Slow()
    setup = configure_logging("INFO", stream=stream)
    logger.info("stuck")
    assert setup.close(0.05) is False
    stream.go.set()


def test_a_stream_that_logs_while_it_writes_does_not_deadlock():
    class Chatty(io.StringIO):
        said = False

        def write(self, text):
            if not self.said:
                self.said = True
                logger.warning("from within")
            return super().write(text)

    stream = Chatty()
    for queue in ("auto", "never"):
        stream.said = False
        configure_logging("INFO", stream=stream, queue=queue).pipeline.log(1.0, 20, "a", queue)
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "auto",
        "from within",
        "never",
        "from within",
    ]


def test_without_a_stream_lines_go_to_the_standard_output_of_the_time(capsys, monkeypatch):
    setup = configure_logging("INFO")
    logger.info("captured")
    setup.flush()
    assert json.loads(capsys.readouterr().out)["message"] == "captured"
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", other)
    logger.info("elsewhere")
    setup.flush()
    assert json.loads(other.getvalue())["message"] == "elsewhere"
    monkeypatch.setattr(sys, "stdout", None)
    logger.info("nowhere")
    assert setup.stats()["lost_write_failed"] == 0


def test_what_was_printed_before_comes_first(tmp_path):
    with open(tmp_path / "out", "w") as stream:
        print("before", file=stream)
        configure_logging("INFO", stream=stream)
        logger.info("after")
        first, second = (tmp_path / "out").read_text().splitlines()
    assert first == "before"
    assert json.loads(second)["message"] == "after"


def test_lines_after_the_close_are_still_written(lines):
    setup = configure_logging("INFO", stream=lines, queue="always")
    pipeline = setup.pipeline
    setup.close()
    pipeline.log(1.0, logging.INFO, "late", "from a thread that was not done")
    assert lines.one["message"] == "from a thread that was not done"


@pytest.mark.parametrize("queue", ["auto", "never"])
def test_an_interrupt_in_the_middle_of_a_write_is_passed_on_and_blocks_nothing(queue):
    class Interrupted(io.BytesIO):
        interrupts = 2

        def write(self, data):
            if self.interrupts:
                self.interrupts -= 1
                raise KeyboardInterrupt
            return super().write(data)

    stream = Interrupted()
    setup = configure_logging("INFO", stream=stream, queue=queue)
    for _ in range(2):  # past the queue, and from it
        with pytest.raises(KeyboardInterrupt):
            logger.info("interrupted")
    logger.info("afterwards")
    assert setup.flush(PATIENCE)
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "afterwards",
        "2 log lines were lost before this one",
    ]
