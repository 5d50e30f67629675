from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.metrics_endpoint import metrics_app

APP = """
import asyncio, os
from asgi_infra.middleware.metrics import MetricsMiddleware
from asgi_infra.middleware.metrics_endpoint import metrics_app

scrape = metrics_app()

def broken(exchange):
    raise LookupError

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await scrape(scope, receive, send)
        return
    scope["path_template"] = scope["path"]
    if scope["path"] == "/slow":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode() + b"\\n", "more_body": True})
        await asyncio.sleep(60)
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})

measured = MetricsMiddleware(app, max_series=2, labels={"tenant": broken})

async def main(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/metrics":
        await scrape(scope, receive, send)
    else:
        await measured(scope, receive, send)
"""


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.05)
    return result


@pytest.fixture
def address(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shop.py").write_text(APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "shop:main", "--workers", "2", "--port", str(port)]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "shared")}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--log-level", "warning"], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: server.poll() is not None or answers(address))
        assert server.poll() is None, (tmp_path / "log").read_text()
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def answers(address):
    try:
        fetch(f"{address}/metrics")
    except OSError:
        return False
    return True


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read().decode()


def scrape(address):
    families = parse_text(fetch(f"{address}/metrics"))
    return [sample for family in families for sample in family.samples]


def value(samples, name, **labels):
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_one_scrape_shows_the_sum_of_two_workers(address):
    workers = {}
    with ThreadPoolExecutor(8) as pool:
        while len(workers) < 2:
            assert sum(workers.values()) < 2000, "one worker got everything"
            for worker in pool.map(fetch, [f"{address}/items"] * 40):
                workers[worker] = workers.get(worker, 0) + 1
    count = sum(workers.values())
    samples = scrape(address)
    labels = {"method": "GET", "path": "/items", "status_code": "200", "tenant": "error"}
    assert value(samples, "http_requests_total", **labels) == count
    assert value(samples, "http_request_duration_seconds_bucket", le="+Inf", **labels) == count
    assert value(samples, "http_response_first_byte_seconds_count", **labels) == count
    assert value(samples, "http_response_size_bytes_sum", **labels) == sum(len(w) * n for w, n in workers.items())
    assert value(samples, "http_requests_in_progress") == 0
    assert value(samples, "asgi_infra_faults_total", place="metrics.labels.tenant") > 0
    assert b"http_requests_total" not in fetch(f"{address}/metrics?name[]=http_requests_in_progress").encode()

    for number in range(12):
        fetch(f"{address}/{number}")
    assert value(scrape(address), "http_requests_total", path="overflow") >= 9
    wait_until(lambda: fetch(f"{address}/items") and value(scrape(address), "asgi_infra_metrics_overflow_total") >= 9)


def test_what_a_killed_worker_had_in_progress_is_forgotten(address):
    with urllib.request.urlopen(f"{address}/slow", timeout=30) as response:
        worker = int(response.readline())
        assert value(scrape(address), "http_requests_in_progress", method="GET") == 1
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: answers(address) and value(scrape(address), "http_requests_in_progress") == 0)


def test_only_the_live_gauges_of_dead_processes_are_removed(tmp_path):
    # In a process of its own: once made, the values of this mode stay with a process.
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = int(dead.stdout)
    kept = [f"gauge_livesum_{os.getpid()}.db", f"gauge_all_{dead}.db", f"counter_{dead}.db", "gauge_livesum_x.db"]
    for name in [*kept, f"gauge_livesum_{dead}.db", f"gauge_liveall_{dead}.db"]:
        (tmp_path / name).touch()
    code = "import sys\nfrom asgi_infra.middleware.metrics_multiprocess import all_workers\nall_workers(sys.argv[1])\n"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, timeout=60)
    assert set(kept) <= {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.glob(f"gauge_live*_{dead}.db"))


def test_a_missing_directory_is_a_configuration_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="no directory"):
        Metrics()
    with pytest.raises(ConfigurationError, match="no directory"):
        metrics_app()


def test_a_variable_that_was_set_too_late_is_a_configuration_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with pytest.raises(ConfigurationError, match="set it before the process starts"):
        Metrics()
