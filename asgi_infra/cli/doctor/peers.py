"""Other packages that do what a feature of ours does, and what to do about them."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """A middleware that overlaps with one of ours, known by where its class comes from."""

    module: str
    package: str
    feature: str
    why: str
    mend: str


_TWO_SPANS = "The request is traced twice: where the spans don't double, the work does, and the names differ."
_TWO_COUNTS = "Every request is counted and timed twice, and at each request it searches the routes once more."
_TWO_IDS = "The response gets two ids, and log lines of one request carry different ones."

PEERS = (
    Peer(
        "starlette.middleware.opentelemetry",
        "Starlette's OpenTelemetryMiddleware",
        "tracing",
        _TWO_SPANS,
        "remove it from the application's middleware",
    ),
    Peer(
        "opentelemetry.instrumentation",
        "the OpenTelemetry contrib instrumentation",
        "tracing",
        _TWO_SPANS,
        "remove instrument_app(...), or set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=asgi,fastapi,starlette",
    ),
    Peer("logfire", "Logfire's instrumentation", "tracing", _TWO_SPANS, "remove logfire.instrument_...(app)"),
    Peer(
        "litestar.plugins.opentelemetry",
        "Litestar's OpenTelemetry plug-in",
        "tracing",
        _TWO_SPANS,
        "remove the plug-in",
    ),
    Peer(
        "litestar.contrib.opentelemetry",
        "Litestar's OpenTelemetry plug-in",
        "tracing",
        _TWO_SPANS,
        "remove the plug-in",
    ),
    Peer(
        "elasticapm.contrib",
        "the Elastic APM agent",
        "tracing",
        _TWO_SPANS,
        "remove its middleware; Elastic takes OTLP, or pass tracing=False to InfraMiddleware",
    ),
    Peer(
        "ddtrace",
        "ddtrace's middleware",
        "tracing",
        _TWO_SPANS,
        "remove it; Datadog takes OTLP, or pass tracing=False to InfraMiddleware",
    ),
    Peer(
        "asgi_correlation_id",
        "asgi-correlation-id",
        "request_id",
        _TWO_IDS,
        "remove CorrelationIdMiddleware and read the id with asgi_infra.get_request_id()",
    ),
    Peer(
        "starlette_context",
        "starlette-context",
        "request_id",
        _TWO_IDS,
        "remove its RequestIdPlugin and CorrelationIdPlugin, and read the id with asgi_infra.get_request_id()",
    ),
    Peer(
        "prometheus_fastapi_instrumentator",
        "prometheus-fastapi-instrumentator",
        "metrics",
        f"{_TWO_COUNTS} Its names collide with ours in one registry.",
        "remove Instrumentator().instrument(app), and serve metrics_app() at /metrics",
    ),
    Peer(
        "starlette_exporter",
        "starlette-exporter",
        "metrics",
        _TWO_COUNTS,
        "remove PrometheusMiddleware, and serve metrics_app() at /metrics",
    ),
    Peer("starlette_prometheus", "starlette-prometheus", "metrics", _TWO_COUNTS, "remove PrometheusMiddleware"),
    Peer("aioprometheus", "aioprometheus", "metrics", _TWO_COUNTS, "remove MetricsMiddleware"),
    Peer("asgi_monitor", "asgi-monitor", "metrics", _TWO_COUNTS, "remove its set-up calls"),
    Peer("django_prometheus", "django-prometheus", "metrics", _TWO_COUNTS, "remove its two entries from MIDDLEWARE"),
    Peer(
        "litestar.plugins.prometheus", "Litestar's Prometheus plug-in", "metrics", _TWO_COUNTS, "remove its middleware"
    ),
    Peer(
        "litestar.contrib.prometheus", "Litestar's Prometheus plug-in", "metrics", _TWO_COUNTS, "remove its middleware"
    ),
)
"""The first whose module is that of a class, or holds it, is the one."""


def peer_of(dotted: str) -> Peer | None:
    """Return the peer that a class of this dotted name belongs to, or `None`."""
    return next((peer for peer in PEERS if dotted.startswith(f"{peer.module}.")), None)
