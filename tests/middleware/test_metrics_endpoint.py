from __future__ import annotations

import gzip
import threading

import anyio
import anyio.from_thread
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette
from starlette.routing import Route

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.metrics import MetricsMiddleware
from asgi_infra.middleware.metrics_endpoint import metrics_app

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Counter("jobs", "Jobs.", ["queue"], registry=registry).labels("a").inc(3)
    Gauge("depth", "Depth.", registry=registry).set(2)
    return registry


async def get(app, method="GET", query=b"", path="/metrics", **headers):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": raw}
    await app(scope, receive, send)
    head, body = sent
    found = {name.decode(): value.decode() for name, value in head["headers"]}
    assert found["content-length"].isdigit()
    return head["status"], found, body["body"]


@pytest.mark.anyio
async def test_the_default_is_prometheus_text(registry):
    status, headers, body = await get(metrics_app(registry))
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert [family.name for family in parse_text(body.decode())] == ["jobs", "jobs_created", "depth"]
    assert headers["content-length"] == str(len(body))
    assert headers["vary"] == "accept, accept-encoding"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_3, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=1.0.0", True),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.4", False),
        ("text/plain;q=0.4, application/openmetrics-text;q=0.5", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=99.0.0", False),
        ("application/openmetrics-text;version=abc", False),
        ("application/openmetrics-text;q=abc", False),
        ("text/html,*/*", False),
        (";;;,=,q=", False),
        ("\xff" * 100_000, False),
    ],
)
async def test_openmetrics_is_negotiated(registry, accept, openmetrics):
    status, headers, body = await get(metrics_app(registry), accept=accept)
    assert status == 200
    if openmetrics:
        assert headers["content-type"].startswith(OPENMETRICS)
        assert {family.name for family in parse_openmetrics(body.decode())} == {"jobs", "depth"}
    else:
        assert headers["content-type"].startswith("text/plain; version=")
        assert not body.endswith(b"# EOF\n")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("accept_encoding", "zipped"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("*, gzip;q=0", False), ("br", False)],
)
async def test_gzip_is_used_where_it_is_accepted(registry, accept_encoding, zipped):
    _, plain, expected = await get(metrics_app(registry))
    _, headers, body = await get(metrics_app(registry), accept_encoding=accept_encoding)
    assert (headers.get("content-encoding") == "gzip") is zipped
    assert (gzip.decompress(body) if zipped else body) == expected
    assert "content-encoding" not in plain
    _, headers, body = await get(metrics_app(registry, compress=False), accept_encoding=accept_encoding)
    assert body == expected


@pytest.mark.anyio
async def test_names_filter_families_and_samples(registry):
    app = metrics_app(registry)
    assert b"jobs" not in (await get(app, query=b"name[]=depth"))[2]
    body = (await get(app, query=b"name[]=jobs_total&name%5B%5D=depth"))[2]
    assert b"jobs_total{" in body
    assert b"depth 2" in body
    assert b"jobs_created" not in body
    assert b"jobs_created" in (await get(app, query=b"name[]=jobs"))[2]
    assert (await get(app, query=b"name[]=nothing"))[2] == b""
    assert (await get(app, query=b"&".join([b"name[]=x"] * 2000)))[0] == 400
    assert (await get(app, query=b"\xff\xfe=%ff&name[]=depth"))[0] == 200


@pytest.mark.anyio
async def test_head_answers_as_get_without_a_body_and_other_methods_are_refused(registry):
    app = metrics_app(registry)
    status, headers, body = await get(app, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0
    status, headers, _ = await get(app, "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.anyio
async def test_collecting_does_not_hold_the_event_loop_and_one_runs_at_a_time(registry):
    gate, started, running, most = threading.Event(), anyio.Event(), [], []

    class Slow:
        def collect(self):
            running.append(1)
            most.append(len(running))
            anyio.from_thread.run_sync(started.set)
            assert gate.wait(30)
            running.pop()
            return []

    registry.register(Slow())
    app = metrics_app(registry)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(get, app)
        await started.wait()
        gate.set()
    assert most == [1, 1, 1]


@pytest.mark.anyio
async def test_a_broken_collector_is_a_500_that_tells_nothing_and_a_fault(registry):
    class Broken:
        def collect(self):
            raise LookupError("secret")

    registry.register(Broken())
    before = faults.counts().get(("metrics_app", "LookupError"), 0)
    status, _, body = await get(metrics_app(registry))
    assert status == 500
    assert b"secret" not in body
    assert faults.counts()["metrics_app", "LookupError"] == before + 1


@pytest.mark.anyio
async def test_it_survives_lifespan_and_refuses_websockets(registry):
    app = metrics_app(registry)
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket", "path": "/"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


@pytest.mark.anyio
async def test_the_default_registry_is_the_one_of_prometheus_client(anyio_backend_name):
    app = MetricsMiddleware(metrics_app(), prefix=f"{anyio_backend_name}_test")
    try:
        await get(app, path="/anywhere")
        _, _, body = await get(app)
        assert b'_test_http_requests_total{method="GET",path="unmatched",status_code="200"} 1.0' in body
        assert b"python_info" in body
    finally:
        for collector in {
            REGISTRY._names_to_collectors[n] for n in list(REGISTRY._names_to_collectors) if "_test_" in n
        }:
            REGISTRY.unregister(collector)


def test_what_is_no_registry_is_refused():
    with pytest.raises(ConfigurationError, match=r"registry must be .*, not of type str"):
        metrics_app("x")


@pytest.mark.anyio
async def test_a_router_serves_it_at_the_exact_path(registry):
    app = Starlette()
    app.routes.append(Route("/metrics", metrics_app(registry)))
    status, _, body = await get(app)
    assert status == 200
    assert b"depth 2.0" in body
