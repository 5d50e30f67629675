"""Runs the command line as its users do: as a process of its own, with every wait bounded."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from http.client import HTTPConnection

START = 40.0
STOP = 15.0


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def environment(**variables):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "ASGI_INFRA_", "PROMETHEUS_", "UVICORN_", "GRANIAN_"))
        and name not in ("WEB_CONCURRENCY", "NO_COLOR", "FORCE_COLOR", "PYTHONPATH")
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", **variables}


def run_cli(*arguments, cwd=None, timeout=60, **variables):
    """Run a command to its end, and return what it printed and its exit code."""
    return run_python("-m", "asgi_infra.cli", *arguments, cwd=cwd, timeout=timeout, **variables)


def run_python(*arguments, cwd=None, timeout=60, **variables):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Running:
    def __init__(self, process, port, out, err):
        self.process, self.port, self._out, self._err = process, port, out, err

    @property
    def output(self):
        return self._out.read_text() + self._err.read_text()

    @property
    def lines(self):
        return self._out.read_text().splitlines()

    def get(self, path="/", headers=None):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode()
        finally:
            connection.close()

    def wait_for(self, condition, seconds=START):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"it never came; the process is at {self.process.poll()} and has said:\n{self.output}")

    def stop(self, number=signal.SIGTERM):
        """Send one signal to the process that was started, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP)


@contextmanager
def running(*arguments, cwd, ready="/", port=None, **variables):
    """A command that serves, from the time when it answers; what is left of it at the end is killed by group."""
    port = port or free_port()
    arguments = [port if argument == "PORT" else argument for argument in arguments]
    out, err = cwd / f"out-{port}", cwd / f"err-{port}"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "asgi_infra.cli", *map(str, arguments)],
            cwd=cwd,
            env=environment(**variables),
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    served = Running(process, port, out, err)
    try:
        served.wait_for(lambda: served.get(ready)[0])
        yield served
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP)
