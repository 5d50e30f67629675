from __future__ import annotations

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.metrics import Metrics


class Keeps(Observer):
    feature = "keeps"

    def end(self, exchange):
        self.duration = exchange.duration


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader):
    provider = MeterProvider([reader])
    yield provider
    provider.shutdown()


def points(reader):
    data = reader.get_metrics_data()
    return [
        (metric, point)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]


def run(observers, path="/items/7", method="GET"):
    async def app(scope, receive, send):
        scope["path_template"] = "/items/{id}"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(*_):
        """Receives and sends."""

    scope = {
        "type": "http", "method": method, "path": path, "headers": [], "scheme": "https", "http_version": "1.1"
    }  # fmt: skip
    anyio.run(Engine(app, observers), scope, nothing, nothing)


def test_the_meter_gets_the_same_duration_under_the_names_of_the_conventions(reader, provider):
    keeps, registry = Keeps(), CollectorRegistry()
    run([Metrics(registry=registry, meter=provider), keeps])
    ((metric, point),) = points(reader)
    assert (metric.name, metric.unit) == ("http.server.request.duration", "s")
    assert point.sum == keeps.duration
    labels = {"method": "GET", "path": "/items/{id}", "status_code": "200"}
    assert registry.get_sample_value("http_request_duration_seconds_sum", labels) == keeps.duration
    assert point.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "url.scheme": "https",
        "http.route": "/items/{id}",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }


def test_sets_of_attributes_are_bounded(reader, provider):
    metrics = Metrics(registry=CollectorRegistry(), meter=provider, max_series=1)
    for method in ("GET", "PUT", "POST", "M1", "M2"):
        run([metrics], method=method)
    found = {point.attributes.get("http.request.method", "overflow"): point.count for _, point in points(reader)}
    assert found == {"GET": 1, "overflow": 4}


def test_the_global_meter_provider_is_used_for_true():
    run([Metrics(registry=(registry := CollectorRegistry()), meter=True)])
    assert (
        registry.get_sample_value("http_requests_total", {"method": "GET", "path": "/items/{id}", "status_code": "200"})
        == 1
    )
