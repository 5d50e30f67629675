"""The packages that one would otherwise put together, each as its documentation says.

A peer that is not installed is left out, and `missing()` names it.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from starlette.middleware import Middleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.variants import Setting

_MODULES = {
    "opentelemetry-instrumentation-asgi": "opentelemetry.instrumentation.asgi",
    "starlette (its OpenTelemetryMiddleware)": "starlette.middleware.opentelemetry",
    "fastapi": "fastapi",
    "prometheus-fastapi-instrumentator": "prometheus_fastapi_instrumentator",
    "starlette-exporter": "starlette_exporter",
    "asgi-correlation-id": "asgi_correlation_id",
    "structlog": "structlog",
}
_names = count()


def missing() -> list[str]:
    """Return the peers that are not installed."""
    return [name for name, module in _MODULES.items() if not installed(module)]


def installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def contrib(setting: Setting, **options: Any) -> list[Middleware]:
    """OpenTelemetry contrib's ASGI middleware; without a meter provider, as beside a Prometheus exporter."""
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    return [Middleware(OpenTelemetryMiddleware, tracer_provider=setting.tracing.provider, **options)]


def contrib_one_span(setting: Setting) -> list[Middleware]:
    return contrib(setting, exclude_spans=["receive", "send"])


def starlette_own(setting: Setting) -> list[Middleware]:
    from starlette.middleware.opentelemetry import OpenTelemetryMiddleware

    return [Middleware(OpenTelemetryMiddleware, tracer_provider=setting.tracing.provider)]


def instrumentator(setting: Setting) -> list[Middleware]:
    from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware

    return [Middleware(PrometheusInstrumentatorMiddleware, registry=setting.registry)]


def exporter(setting: Setting) -> list[Middleware]:
    """starlette-exporter keeps its metrics on the class, by prefix: each variant has a prefix of its own."""
    from starlette_exporter import PrometheusMiddleware

    return [Middleware(PrometheusMiddleware, app_name="shop", prefix=f"shop{next(_names)}")]


def correlation_id(setting: Setting) -> list[Middleware]:
    from asgi_correlation_id import CorrelationIdMiddleware

    return [Middleware(CorrelationIdMiddleware)]


def structlog_line(setting: Setting) -> list[Middleware]:
    return [Middleware(StructlogAccessLog, sink=setting.sink)]


def together(setting: Setting) -> list[Middleware]:
    """One span, a correlation id, an access line that carries both ids, and an exporter."""
    return [
        *contrib_one_span(setting),
        *correlation_id(setting),
        *structlog_line(setting),
        *exporter(setting),
    ]


PEERS: dict[str, tuple[tuple[str, ...], Callable[[Setting], list[Middleware]]]] = {
    "contrib ASGI": (("opentelemetry.instrumentation.asgi",), contrib),
    "contrib ASGI, exclude_spans": (("opentelemetry.instrumentation.asgi",), contrib_one_span),
    "Starlette's own tracing": (("starlette.middleware.opentelemetry",), starlette_own),
    "fastapi-instrumentator": (("prometheus_fastapi_instrumentator",), instrumentator),
    "starlette-exporter": (("starlette_exporter",), exporter),
    "asgi-correlation-id": (("asgi_correlation_id",), correlation_id),
    "structlog access log": (("structlog", "asgi_correlation_id"), structlog_line),
    "peers together": (
        ("opentelemetry.instrumentation.asgi", "asgi_correlation_id", "structlog", "starlette_exporter"),
        together,
    ),
}
"""Each peer's name, the modules that it needs, and the middlewares that make it."""

NEED_STARLETTE = frozenset({"fastapi-instrumentator", "starlette-exporter", "peers together"})
"""The peers that look for the routes of a Starlette application, and fail around any other."""


class StructlogAccessLog:
    """An access log as the guides show it, in structlog's fastest set-up: orjson, bytes, a filtering bound logger."""

    def __init__(self, app: Any, *, sink: Any) -> None:
        import orjson
        import structlog
        from asgi_correlation_id import correlation_id as current_id

        self.app = app
        self.current_id = current_id
        self.logger = structlog.wrap_logger(
            structlog.BytesLogger(sink),
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(serializer=orjson.dumps),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(20),
            cache_logger_on_first_use=True,
        ).bind()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        status, size = 500, 0

        async def send_on(message: Any) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        finally:
            context = trace.get_current_span().get_span_context()
            route = scope.get("route")
            self.logger.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                route=route.path_format if route is not None else None,
                status=status,
                duration_s=round(perf_counter() - started, 6),
                bytes_out=size,
                client=scope["client"][0],
                request_id=self.current_id.get(),
                trace_id=format(context.trace_id, "032x"),
                span_id=format(context.span_id, "016x"),
            )


def fastapi_app(setting: Setting, *, telemetry: bool) -> Any:
    """A FastAPI application, with its own telemetry as it comes or with none."""
    from fastapi import FastAPI

    config: Any = {} if telemetry else {"tracing": False, "metrics": False, "logs": False}
    if setting.tracing.provider is not None:
        config["tracer_provider"] = setting.tracing.provider
    app = FastAPI(telemetry=config, openapi_url=None)

    @app.get("/items/{id}")
    async def item(id: str) -> dict[str, str]:  # noqa: A002
        return {"id": id, "name": "lamp"}

    return app
