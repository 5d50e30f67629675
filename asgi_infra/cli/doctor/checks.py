"""What the doctor looks at in the application itself: our middleware, and what stands beside it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_infra.cli.doctor.findings import Finding
from asgi_infra.cli.doctor.layers import class_names
from asgi_infra.cli.doctor.peers import peer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgi_infra.cli.doctor.layers import Anatomy

_Duck: TypeAlias = Any
"""An object of a framework or an application, known by its attributes alone."""

_WRAP = "wrap the application outermost: install(app), or app = InfraMiddleware(app)"
_RIGHTLY_OUTSIDE = ("uvicorn.middleware.proxy_headers.ProxyHeadersMiddleware",)
_SERVER_ERROR = "starlette.middleware.errors.ServerErrorMiddleware"


def our_middleware(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield what is wrong with the place of our middleware: absent, twice, or not outermost."""
    ours = anatomy.ours
    if not ours:
        yield Finding(
            "warning",
            "middleware-missing",
            "no middleware of asgi_infra is around the application",
            "Its requests have no id, trace, metrics or log line, unless it is started with `asgi-infra run`.",
            f"{_WRAP}; or start it with: asgi-infra run module:app",
        )
        return
    counts = Counter(feature for layer in ours for feature in layer.features)
    twice = sorted(feature for feature, count in counts.items() if count > 1)
    if twice:
        yield Finding(
            "warning",
            "middleware-twice",
            f"more than one middleware of ours does {', '.join(twice)}",
            "The inner one finds the outer one's work and adds nothing, so its options have no effect.",
            "keep the outermost, and give it the options of both",
        )
    above = [layer.name for layer in anatomy.layers[: anatomy.layers.index(ours[0])]]
    if ours[0].inside and (_SERVER_ERROR in above or anatomy.framework == "Litestar"):
        if anatomy.framework == "Litestar":
            answers, why = "404 and 405", "Those responses carry no request id, and are missing in metrics and log."
        else:
            answers = "unhandled errors"
            why = "Those responses carry no request id; metrics and log count them as 500, which they are."
        yield Finding(
            "warning",
            "middleware-inside",
            f"{ours[0].name} is inside the framework, which answers {answers} outside of it",
            why,
            _WRAP,
        )
    elif outside := [name for name in above if name not in _RIGHTLY_OUTSIDE and peer_of(name) is None]:
        yield Finding(
            "info",
            "middleware-above",
            f"outside of our middleware: {', '.join(outside)}",
            "What it answers on its own has no request id, and its time and its errors are not measured.",
            "put InfraMiddleware around it, unless it is meant to stay unseen",
        )


def peers(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield the other packages in the chain that do what a feature of ours does."""
    seen = set()
    for layer in anatomy.layers:
        peer = next(filter(None, map(peer_of, class_names(layer.kind) or [layer.name])), None)
        if peer is not None and peer.package not in seen:
            seen.add(peer.package)
            yield Finding(
                "warning", f"doubles-{peer.feature.replace('_', '-')}", _present(peer.package), peer.why, peer.mend
            )
    instrumented = getattr(anatomy.core, "_is_instrumented_by_opentelemetry", False)
    contrib = peer_of("opentelemetry.instrumentation.")
    if instrumented and contrib is not None and contrib.package not in seen:
        yield Finding("warning", "doubles-tracing", _present(contrib.package), contrib.why, contrib.mend)


def agents(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield the agents that patch frameworks as they are imported, and so are in no chain: Sentry and ddtrace."""
    sentry: Any = sys.modules.get("sentry_sdk")
    client = sentry.get_client() if hasattr(sentry, "get_client") else None
    if client is not None and client.is_active():
        options = getattr(client, "options", {})
        if options.get("traces_sample_rate") or options.get("traces_sampler"):
            yield Finding(
                "warning",
                "doubles-tracing",
                "Sentry traces the requests too",
                "Every request gets a transaction of Sentry's beside our span, with another trace id in log lines.",
                "call sentry_sdk.init without traces_sample_rate and traces_sampler; errors still reach Sentry",
            )
    tracing_off = os.environ.get("DD_TRACE_ENABLED", "true").lower() in ("false", "0")
    if "ddtrace" in sys.modules and not tracing_off:
        yield Finding(
            "warning",
            "doubles-tracing",
            "ddtrace is loaded, and patches the framework",
            "It makes spans of its own with ids of its own, so trace ids in its traces and in our log lines differ.",
            "start without ddtrace-run, set DD_TRACE_ENABLED=false, or pass tracing=False to InfraMiddleware",
        )


def fastapi_telemetry(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield a hint where FastAPI's own telemetry and ours meet."""
    config = getattr(anatomy.core, "_telemetry", None)
    if anatomy.framework != "FastAPI" or not isinstance(config, dict) or not config.get("tracing"):
        return
    tracing = [layer for layer in anatomy.ours if "tracing" in layer.features]
    if not tracing:
        return
    if tracing[0].inside:
        yield Finding(
            "info",
            "fastapi-telemetry",
            "our middleware is inside FastAPI's telemetry, which makes the server span; ours adds to it",
            "Its span has its names and status rules: status, captured headers and hooks of Tracing(...) don't apply.",
            'nothing to do; for our span instead, FastAPI(telemetry={"tracing": False}) or app = InfraMiddleware(app)',
        )
    else:
        yield Finding(
            "info",
            "fastapi-telemetry",
            "FastAPI's own telemetry is on; our middleware makes the server span in its place",
            "There is one server span, and FastAPI's spans of dependencies and endpoints are its children.",
            'nothing to do; FastAPI(telemetry={"tracing": False}) turns those off too',
        )


def base_http_middleware(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield each middleware in the chain that derives from Starlette's `BaseHTTPMiddleware`."""
    for layer in anatomy.layers:
        if "starlette.middleware.base.BaseHTTPMiddleware" in class_names(layer.kind):
            name = layer.name
            yield Finding(
                "warning",
                "base-http-middleware",
                f"{name} is a BaseHTTPMiddleware",
                "It runs the application in another task: context variables set inside don't come back out of it, "
                "and each costs several times what our whole stack does.",
                "write it as a plain ASGI middleware: a class with __init__(app) and __call__(scope, receive, send)",
            )


def building(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield what the framework raised when it put its middlewares together."""
    if anatomy.fault is not None:
        text = (str(anatomy.fault).splitlines() or [""])[0]
        yield Finding(
            "error",
            "middleware-fails",
            f"putting the middleware together failed: {type(anatomy.fault).__name__}: {text}",
            "The application answers every request with this error.",
            "look at the options of the middleware that the message speaks of",
        )


def route_hook(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield a warning where a framework that keeps its routes to itself has no hook of ours."""
    if anatomy.framework not in _HOOKED or not any({"tracing", "metrics"} & {*o.features} for o in anatomy.ours):
        return
    if not _HOOKED[anatomy.framework](anatomy.core):
        yield Finding(
            "warning",
            "routes-hidden",
            f"{anatomy.framework} tells nobody which route handled a request",
            "Every path is counted as `unmatched`, and no span has a route.",
            "from asgi_infra import publish_routes; publish_routes(app)",
        )


def _present(package: str) -> str:
    return f"{package} is in the chain"


def _quart_hooked(app: _Duck) -> bool:
    from asgi_infra.middleware.hooks import quart_request

    return quart_request in app.before_request_funcs.get(None, ())


def _django_hooked(handler: _Duck) -> bool:
    names = sys.modules["django.conf"].settings.MIDDLEWARE
    return "resolve_request" in vars(handler) or "asgi_infra.middleware.hooks.django_routes" in names


def _falcon_hooked(app: _Duck) -> bool:
    from asgi_infra.middleware.hooks import FalconRoutes

    return any(isinstance(component, FalconRoutes) for component in app._unprepared_middleware)


def _blacksheep_hooked(app: _Duck) -> bool:
    return "get_match" in vars(app.router)


_HOOKED: dict[str | None, Callable[[Any], bool]] = {
    "Quart": _quart_hooked,
    "Django": _django_hooked,
    "Falcon": _falcon_hooked,
    "BlackSheep": _blacksheep_hooked,
}

CHECKS: tuple[Callable[[Anatomy], Iterator[Finding]], ...] = (
    building,
    our_middleware,
    peers,
    agents,
    fastapi_telemetry,
    base_http_middleware,
    route_hook,
)
