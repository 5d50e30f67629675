"""Forks, and ends of processes, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

PATIENCE = 30.0

PREAMBLE = """
import logging, multiprocessing, os, signal, sys, threading, time
from asgi_infra.logs import configure_logging, get_logging
logger = logging.getLogger("shop")
"""


def run(code, **options):
    """Run a program, and return its exit code, its lines and what it said on standard error."""
    process = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )
    return process.returncode, [json.loads(line) for line in process.stdout.splitlines()], process.stderr


def messages(lines):
    return [line["message"] for line in lines]


@pytest.mark.parametrize("queue", ["auto", "always", "never"])
def test_what_is_queued_is_written_at_exit(queue):
    code, lines, errors = run(f"""
        configure_logging("INFO", queue={queue!r})
        for number in range(200):
            logger.info("%d", number)
        """)
    assert (code, errors) == (0, "")
    assert messages(lines) == [str(number) for number in range(200)]


def test_what_a_full_pipe_holds_up_is_written_at_exit():
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PREAMBLE + "configure_logging('INFO')\nfor n in range(2000): logger.info('%d', n)\nsys.stderr.write('x')",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr.read(1) == b"x"  # it has logged all, and nobody has read
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, b"")
    assert messages(map(json.loads, out.splitlines())) == [str(number) for number in range(2000)]


def test_an_exit_does_not_wait_for_ever_for_a_reader():
    reader, writer = os.pipe()
    try:
        process = subprocess.run(
            [
                sys.executable,
                "-c",
                PREAMBLE
                + "import asgi_infra.logs.setup as setup\nsetup._CLOSE_TIMEOUT = 0.2\n"
                + "configure_logging('INFO')\nfor n in range(2000): logger.info('%d', n)",
            ],
            stdout=writer,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert process.returncode == 0


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), 9)"])
def test_in_the_default_mode_not_even_a_sudden_end_loses_a_line(end):
    _, lines, _ = run(f"""
        configure_logging("INFO")
        for number in range(50):
            logger.info("%d", number)
        {end}
        """)
    assert messages(lines) == [str(number) for number in range(50)]


def test_lines_of_atexit_handlers_and_finalisers_are_written():
    code, lines, errors = run("""
        import atexit
        class Last:
            def __del__(self):
                logger.info("finaliser")
        atexit.register(lambda: logger.info("registered before"))
        configure_logging("INFO", queue="always")
        atexit.register(lambda: logger.info("registered after"))
        last = Last()
        logger.info("end")
        """)
    assert (code, errors) == (0, "")
    assert messages(lines) == ["end", "registered after", "registered before", "finaliser"]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
@pytest.mark.parametrize("queue", ["auto", "always", "never"])
def test_a_child_writes_its_own_lines_and_nothing_twice(queue):
    code, lines, errors = run(f"""
        configure_logging("INFO", queue={queue!r})
        for number in range(100):
            logger.info("parent %d", number)
        child = os.fork()
        who = "parent" if child else "child"
        for number in range(100, 200):
            logger.info("%s %d", who, number)
        get_logging().flush()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        else:
            os._exit(0)
        """)
    assert (code, errors) == (0, "")
    parent = [message for message in messages(lines) if message.startswith("parent")]
    child = [message for message in messages(lines) if message.startswith("child")]
    assert parent == [f"parent {number}" for number in range(200)]
    assert child == [f"child {number}" for number in range(100, 200)]


@needs_fork
@pytest.mark.parametrize("queue", ["auto", "always", "never"])
def test_forks_while_other_threads_log_do_not_deadlock(queue):
    code, lines, errors = run(f"""
        configure_logging("INFO", queue={queue!r})
        stop = False
        written = []
        def work(name):
            count = 0
            while not stop:
                logger.info("%s %d", name, count)
                count += 1
            written.append((name, count))
        threads = [threading.Thread(target=work, args=(f"t{{n}}",)) for n in range(3)]
        for thread in threads:
            thread.start()
        for number in range(30):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                logger.info("child %d", number)
                get_logging().flush()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, "the child hangs"
        stop = True
        for thread in threads:
            thread.join()
        logger.info("end", extra={{"written": dict(written)}})
        """)
    assert (code, errors) == (0, "")
    said = messages(lines)
    assert sorted(message for message in said if message.startswith("child")) == sorted(f"child {n}" for n in range(30))
    assert said[-1] == "end"
    for name, count in lines[-1]["written"].items():
        assert [message for message in said if message.startswith(name)] == [f"{name} {n}" for n in range(count)]


@needs_fork
def test_a_fork_while_a_thread_holds_the_lock_of_the_queue_does_not_deadlock():
    code, lines, errors = run("""
        setup = configure_logging("INFO", queue="never")
        held, go = threading.Event(), threading.Event()
        def hold():
            with setup._outlet._lock:
                held.set()
                go.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            logger.info("child")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        go.set()
        thread.join()
        logger.info("%d", status)
        """)
    assert (code, errors) == (0, "")
    assert messages(lines) == ["child", "0"]


@needs_fork
@pytest.mark.parametrize("queue", ["auto", "always"])
def test_a_child_of_multiprocessing_writes_what_it_has_queued(queue):
    code, lines, errors = run(f"""
        def work():
            for number in range(50):
                logger.info("%d", number)
        configure_logging("INFO", queue={queue!r})
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
        """)
    assert (code, errors) == (0, "")
    assert messages(lines) == [str(number) for number in range(50)]


@pytest.mark.parametrize("name", ["callHandlers", "handle", "_log"])
def test_what_was_wrapped_before_the_import_is_still_called(name):
    code, lines, errors = run(f"""
        import functools
        for module in [each for each in sys.modules if each.startswith("asgi_infra.logs")]:
            del sys.modules[module]
        original = logging.Logger.{name}
        seen = []
        @functools.wraps(original)
        def wrapped(*args, **kwargs):
            seen.append(args)
            return original(*args, **kwargs)
        logging.Logger.{name} = wrapped
        from asgi_infra.logs import configure_logging
        configure_logging("INFO")
        logger.info("x")
        logger.info("%d", len(seen))
        """)
    assert (code, errors) == (0, "")
    assert messages(lines) == ["x", "1"]


def test_importing_does_nothing():
    code, lines, errors = run("""
        import asgi_infra.logs
        assert logging.getLogger().handlers == []
        assert logging.Logger._log.__module__ == "logging"
        assert threading.active_count() == 1
        assert "structlog" not in sys.modules
        """)
    assert (code, lines, errors) == (0, [], "")
