"""The real servers: each of their lines is one of ours, and none is there twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 30.0

COMMANDS = {
    "uvicorn": ["-m", "uvicorn", "log_app:app", "--port", "PORT"],
    "granian": ["-m", "granian", "log_app:app", "--interface", "asgi", "--port", "PORT", "--access-log"],
    "hypercorn": [
        "-m",
        "hypercorn",
        "log_app:app",
        "--bind",
        "127.0.0.1:PORT",
        "--workers",
        "0",
        "--access-logfile",
        "-",
        "--error-logfile",
        "-",
    ],
}
ACCESS = {"uvicorn": "uvicorn.access", "granian": "granian.access", "hypercorn": "hypercorn.access"}
FAILURE = {"uvicorn": "uvicorn.error", "granian": "_granian", "hypercorn": "hypercorn.error"}

SUPERVISOR = (
    "[INFO] Shutting down granian",
    "[INFO] Stopped worker-1",
    "[INFO] Granian shutdown completed, see ya!",
)
"""What a process says that starts the workers, and never imports the application."""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def get(port, path):
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def serve_and_ask(server, tmp_path, **variables):
    """Start a server, ask it twice, end it by SIGTERM, and return the lines of both its outputs."""
    port = free_port()
    out = tmp_path / "out"
    command = [part.replace("PORT", str(port)) for part in COMMANDS[server]]
    with out.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            cwd=HERE,
            env={**os.environ, **variables},
            stdout=stream,
            stderr=stream,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                get(port, "/ready")
            except OSError:
                assert process.poll() is None, out.read_text()
                assert time.monotonic() < deadline, out.read_text()
                time.sleep(0.05)
            else:
                break
        assert get(port, "/items?token=abcdef123456") == 200
        assert get(port, "/fail") == 500
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
    return out.read_text().splitlines()


def parsed(lines):
    """Return the lines from the application's own first one on; before it, the server has not imported it yet."""
    first = next(index for index, line in enumerate(lines) if '"handled /ready"' in line)
    return [json.loads(line) for line in lines[first:] if line not in SUPERVISOR]


@pytest.mark.parametrize("late", ["0", "1"], ids=["set up at import", "set up in the lifespan"])
@pytest.mark.parametrize("queue", ["auto", "always"])
@pytest.mark.parametrize("server", COMMANDS)
def test_every_line_of_a_server_is_one_of_ours_and_there_once(server, queue, late, tmp_path):
    raw = serve_and_ask(server, tmp_path, LOG_APP_QUEUE=queue, LOG_APP_LATE=late)
    lines = parsed(raw)
    text = "\n".join(raw)
    assert [line["message"] for line in lines if line["logger"] == "shop"] == [
        "handled /ready",
        "handled /items",
        "handled /fail",
        "goodbye",
    ]
    access = [line["message"] for line in lines if line["logger"] == ACCESS[server]]
    assert sum("/items" in message for message in access) == 1
    assert [line["level"] for line in lines if line["logger"].startswith(FAILURE[server])].count("ERROR") == 1
    if server == "uvicorn":
        assert "Finished server process" in lines[-1]["message"]  # after the last flush
    assert "hunter2" not in text
    assert "abcdef123456" not in text
