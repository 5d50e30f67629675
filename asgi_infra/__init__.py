"""Request ids, traces, metrics and access logs for any ASGI application, in one pass over each request.

>>> from asgi_infra import InfraMiddleware
>>> app = InfraMiddleware(app)

The names below are imported when they are used, so that a program pays only for what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from asgi_infra._version import __version__

if TYPE_CHECKING:
    from asgi_infra.audit import open_audit_logger
    from asgi_infra.context import bind, get_client_address, get_request_id, get_user_id
    from asgi_infra.errors import (
        AuditError,
        ConfigurationError,
        DatabaseError,
        InfrastructureError,
        MissingExtraError,
        TelemetryError,
        TokenStoreError,
    )
    from asgi_infra.logs import configure_logging
    from asgi_infra.middleware.access_log import AccessLog, AccessLogMiddleware
    from asgi_infra.middleware.audit import Audit, AuditMiddleware, AuditRule, annotate
    from asgi_infra.middleware.client_auth import client_secret_basic
    from asgi_infra.middleware.hooks import publish_routes
    from asgi_infra.middleware.install import install
    from asgi_infra.middleware.metrics import Metrics, MetricsMiddleware
    from asgi_infra.middleware.metrics_endpoint import metrics_app
    from asgi_infra.middleware.request_id import (
        RequestID,
        RequestIDFilter,
        RequestIDMiddleware,
        forward_request_id,
    )
    from asgi_infra.middleware.stack import InfraMiddleware
    from asgi_infra.middleware.token_endpoints import token_endpoints
    from asgi_infra.middleware.tokens import TokenMiddleware, Tokens, get_token
    from asgi_infra.middleware.tracing import Tracing, TracingMiddleware
    from asgi_infra.paths import PathRules
    from asgi_infra.telemetry import get_telemetry, init_telemetry, shutdown_telemetry, traced
    from asgi_infra.tokens import open_token_store

_HOMES = {
    "asgi_infra.audit": ("open_audit_logger",),
    "asgi_infra.context": ("bind", "get_client_address", "get_request_id", "get_user_id"),
    "asgi_infra.errors": (
        "AuditError",
        "ConfigurationError",
        "DatabaseError",
        "InfrastructureError",
        "MissingExtraError",
        "TelemetryError",
        "TokenStoreError",
    ),
    "asgi_infra.logs": ("configure_logging",),
    "asgi_infra.middleware.access_log": ("AccessLog", "AccessLogMiddleware"),
    "asgi_infra.middleware.audit": ("Audit", "AuditMiddleware", "AuditRule", "annotate"),
    "asgi_infra.middleware.client_auth": ("client_secret_basic",),
    "asgi_infra.middleware.hooks": ("publish_routes",),
    "asgi_infra.middleware.install": ("install",),
    "asgi_infra.middleware.metrics": ("Metrics", "MetricsMiddleware"),
    "asgi_infra.middleware.metrics_endpoint": ("metrics_app",),
    "asgi_infra.middleware.request_id": ("RequestID", "RequestIDFilter", "RequestIDMiddleware", "forward_request_id"),
    "asgi_infra.middleware.stack": ("InfraMiddleware",),
    "asgi_infra.middleware.token_endpoints": ("token_endpoints",),
    "asgi_infra.middleware.tokens": ("TokenMiddleware", "Tokens", "get_token"),
    "asgi_infra.middleware.tracing": ("Tracing", "TracingMiddleware"),
    "asgi_infra.paths": ("PathRules",),
    "asgi_infra.telemetry": ("get_telemetry", "init_telemetry", "shutdown_telemetry", "traced"),
    "asgi_infra.tokens": ("open_token_store",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AccessLog",
    "AccessLogMiddleware",
    "Audit",
    "AuditError",
    "AuditMiddleware",
    "AuditRule",
    "ConfigurationError",
    "DatabaseError",
    "InfraMiddleware",
    "InfrastructureError",
    "Metrics",
    "MetricsMiddleware",
    "MissingExtraError",
    "PathRules",
    "RequestID",
    "RequestIDFilter",
    "RequestIDMiddleware",
    "TelemetryError",
    "TokenMiddleware",
    "TokenStoreError",
    "Tokens",
    "Tracing",
    "TracingMiddleware",
    "__version__",
    "annotate",
    "bind",
    "client_secret_basic",
    "configure_logging",
    "forward_request_id",
    "get_client_address",
    "get_request_id",
    "get_telemetry",
    "get_token",
    "get_user_id",
    "init_telemetry",
    "install",
    "metrics_app",
    "open_audit_logger",
    "open_token_store",
    "publish_routes",
    "shutdown_telemetry",
    "token_endpoints",
    "traced",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
