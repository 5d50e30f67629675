"""A real server process that serves one framework, and what it says of each request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMEWORKS = ("starlette", "fastapi", "litestar", "quart", "django", "falcon", "blacksheep")
SERVERS = ("uvicorn", "granian", "hypercorn", "daphne")
PATIENCE = 15.0
APPS = Path(__file__).parent / "apps"


def command(server: str, framework: str, port: int) -> list[str]:
    run = [sys.executable, "-W", "ignore", "-m", server]
    if server == "uvicorn":
        return [*run, "served:app", "--port", str(port), "--log-level", "warning"]
    if server == "granian":
        # Django's handler raises on a lifespan scope, which granian takes for a failed start.
        interface = "asginl" if framework == "django" else "asgi"
        return [*run, "served:app", "--port", str(port), "--interface", interface, "--log-level", "warning"]
    if server == "hypercorn":
        return [*run, "served:app", "--bind", f"127.0.0.1:{port}", "--workers", "0"]
    return [*run, "--bind", "127.0.0.1", "--port", str(port), "--verbosity", "0", "served:app"]


class Served:
    """A running server, and what it has written to its standard output."""

    def __init__(self, framework: str, server: str, *arguments: str) -> None:
        self.framework = framework
        self.server = server
        self._records: dict[str, dict[str, Any]] = {}
        self._output: list[str] = []
        self._news = threading.Condition()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [*command(server, framework, self.port), *arguments],
            cwd=APPS,
            env={**os.environ, "MATRIX_FRAMEWORK": framework, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # granian has a worker process: both end together
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._output.append(line)
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    self._records[record["request_id"]] = record
                self._news.notify_all()

    @property
    def output(self) -> str:
        return "".join(self._output)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                self.client.get("/metrics")
            except httpx2.TransportError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"{self.server} did not start {self.framework}:\n{self.output}")

    def stop(self) -> None:
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def record(self, request_id: str) -> dict[str, Any]:
        """Return the access-log line of a request; it may be written a little after the response."""
        with self._news:
            if not self._news.wait_for(lambda: request_id in self._records, timeout=PATIENCE):
                raise AssertionError(f"no access-log line has the id {request_id}; the server wrote:\n{self.output}")
            return self._records[request_id]

    def ask(self, method: str, path: str, **options: Any) -> tuple[httpx2.Response, dict[str, Any]]:
        """Return a response, which must carry the id that was sent, and its access-log line."""
        request_id = new_id()
        headers = {"X-Request-ID": request_id, **options.pop("headers", {})}
        response = self.client.request(method, path, headers=headers, **options)
        assert response.headers.get_list("X-Request-ID") == [request_id]
        record = self.record(request_id)
        assert record["method"] == method
        assert record["status"] == response.status_code
        return response, record

    def requests_total(self, method: str, path: str, status: int) -> float:
        """Return how many requests `/metrics` tells of."""
        labels = {"method": method, "path": path, "status_code": str(status)}
        for family in text_string_to_metric_families(self.client.get("/metrics").text):
            for sample in family.samples:
                if sample.name == "http_requests_total" and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0


@contextlib.contextmanager
def serve(framework: str, server: str, *arguments: str) -> Iterator[Served]:
    """Start a server, and stop it at the end; once more if its port was taken between the choice and the start."""
    running = Served(framework, server, *arguments)
    try:
        try:
            running.wait_until_ready()
        except RuntimeError:
            running.stop()
            running = Served(framework, server, *arguments)
            running.wait_until_ready()
        yield running
    finally:
        running.stop()


def new_id() -> str:
    return f"matrix-{uuid4().hex}"
