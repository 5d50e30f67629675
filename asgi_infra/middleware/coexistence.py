"""One server span beside frameworks and instrumentations that trace too.

Inside of us, FastAPI's own telemetry and Starlette's middleware are told through their scope keys that the request is
traced already; the contrib instrumentation sees our span and makes an internal one. Outside of us, their server span
is adopted: we add to it and neither start nor end one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, set_value
from opentelemetry.trace import Span, SpanKind

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.types import Scope

FASTAPI_KEY = "fastapi.telemetry"
STARLETTE_KEY = "starlette.opentelemetry"
CLAIMED = "asgi_infra"
"""What we put under Starlette's key, where its own middleware puts `True`."""


def foreign_server_span(current: Span, exchange: Exchange) -> Span | None:
    """Return the current span if it is the server span that something outside of us made for this very request.

    A server span of another request can be current too, when one application calls another in the same process.
    """
    if not current.is_recording() or getattr(current, "kind", None) is not SpanKind.SERVER:
        return None
    scope_name = getattr(getattr(current, "instrumentation_scope", None), "name", None)
    if scope_name == "asgi_infra" and exchange.scope.get(STARLETTE_KEY) != CLAIMED:
        return None  # ours, of the request whose handler makes this one in the same process
    if getattr(exchange.scope.get(FASTAPI_KEY), "span", None) is current or exchange.scope.get(STARLETTE_KEY) is True:
        return current
    attributes = getattr(current, "attributes", None) or {}
    target = attributes.get("url.path") or attributes.get("http.target") or ""
    return current if str(target).partition("?")[0] == exchange.path else None


def claim(scope: Scope) -> None:
    """Tell what traces inside of us that this request has its server span, or is not to have one."""
    scope.setdefault(FASTAPI_KEY, None)
    scope.setdefault(STARLETTE_KEY, CLAIMED)


def fastapi_tracer(app: Any) -> Tracer | None:
    """Return the tracer for FastAPI's operation spans (dependencies, endpoint) if the application wants them.

    Args:
        app: The application that the tracing middleware wraps; a FastAPI application is looked for along its `app`.
    """
    for _ in range(32):
        config = getattr(app, "_telemetry", None)
        if isinstance(config, dict) and type(app).__module__.startswith("fastapi."):
            if not (config.get("tracing") and config.get("operation_spans")):
                return None
            from opentelemetry.trace import get_tracer

            return get_tracer("fastapi", tracer_provider=config.get("tracer_provider"))
        app = getattr(app, "app", None)
        if app is None:
            return None
    return None


def with_fastapi_operations(scope: Scope, context: Context, span: Span, tracer: Tracer) -> Context:
    """Make FastAPI's operation spans children of ours.

    There is no public way: this hands FastAPI the state that its own telemetry would have made. Where that state is
    not as it was in FastAPI 0.165, its operation spans are missing and all else is the same.
    """
    api = sys.modules.get("fastapi.telemetry._api")
    try:
        state = api._RequestTelemetry(span=span, span_method=scope.get("method", "WS"), tracer=tracer)  # type: ignore[union-attr]
        context = set_value(api._REQUEST_TELEMETRY_KEY, state, context)  # type: ignore[union-attr]
    except (AttributeError, TypeError):
        return context
    scope[FASTAPI_KEY] = state
    return context
