"""What a set of HTTP metrics is: its names, labels, buckets and bounds, checked once."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_infra.middleware.exchange import Exchange

    LabelCallable: TypeAlias = Callable[[Exchange], object]

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; the boundaries that the OpenTelemetry HTTP conventions advise for `http.server.request.duration`."""
CONNECTION_BUCKETS = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Seconds; WebSockets last longer than requests."""
SIZE_BUCKETS = (100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
"""Bytes."""
MAX_SERIES = 1000

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED = frozenset({"le", "quantile", "pid"})


@dataclass(frozen=True)
class Naming:
    """The names of the metrics, and of the labels that each exchange has."""

    requests: str | None
    duration: str
    in_progress: str
    request_size: str
    response_size: str
    first_byte: str
    background_errors: str
    connections: str
    connection_duration: str
    labels: tuple[str, ...]
    in_progress_labels: tuple[str, ...]
    unmatched: str
    unsent: Mapping[str, str]
    """The status label by outcome, where no status was sent."""


NAMINGS: Mapping[str, Naming] = {
    "prometheus": Naming(
        requests="http_requests_total",
        duration="http_request_duration_seconds",
        in_progress="http_requests_in_progress",
        request_size="http_request_size_bytes",
        response_size="http_response_size_bytes",
        first_byte="http_response_first_byte_seconds",
        background_errors="http_background_errors_total",
        connections="websocket_connections_in_progress",
        connection_duration="websocket_connection_duration_seconds",
        labels=("method", "path", "status_code"),
        in_progress_labels=("method",),
        unmatched="unmatched",
        unsent={"ok": "500", "error": "500", "disconnected": "499", "cancelled": "499"},
    ),
    # Names and labels of the semantic conventions as the OpenTelemetry specification translates them for Prometheus:
    # dots become underscores, `s` becomes `_seconds`, `By` becomes `_bytes`, `{request}` is dropped. The conventions
    # leave an attribute out where there is no value; an empty label is the same to Prometheus.
    "semconv": Naming(
        requests=None,
        duration="http_server_request_duration_seconds",
        in_progress="http_server_active_requests",
        request_size="http_server_request_body_size_bytes",
        response_size="http_server_response_body_size_bytes",
        first_byte="http_server_response_first_byte_seconds",
        background_errors="http_server_background_errors_total",
        connections="websocket_server_active_connections",
        connection_duration="websocket_server_connection_duration_seconds",
        labels=("http_request_method", "http_route", "http_response_status_code", "url_scheme", "error_type"),
        in_progress_labels=("http_request_method", "url_scheme"),
        unmatched="",
        unsent={"ok": "", "error": "", "disconnected": "", "cancelled": ""},
    ),
}


HELP: Mapping[str, str] = {
    "requests": "HTTP requests, counted when they end.",
    "duration": "Seconds from the start of an HTTP request to the last message of its response.",
    "in_progress": "HTTP requests that have started and not yet ended.",
    "request_size": "Bytes of the request body that the application received.",
    "response_size": "Bytes of the response body that the application sent.",
    "first_byte": "Seconds from the start of an HTTP request to the head of its response.",
    "background_errors": "Errors that an application raised after its response was complete.",
    "connections": "WebSocket connections that have started and not yet ended.",
    "connection_duration": "Seconds from the handshake of a WebSocket connection to its end.",
    "overflow": "Exchanges that were counted in an overflow series, as max_series was reached.",
    "faults": "Faults of asgi_infra itself, by place and type of the error; no request fails by them.",
}
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
OVERFLOW_NAME = "asgi_infra_metrics_overflow_total"
FAULTS_NAME = "asgi_infra_faults_total"


@dataclass(frozen=True)
class Spec:
    """Everything that two observers have to agree on to feed the same metrics."""

    naming: str
    prefix: str
    custom_labels: tuple[str, ...]
    buckets: tuple[float, ...]
    size_buckets: tuple[float, ...]
    max_series: int

    @property
    def names(self) -> Naming:
        return NAMINGS[self.naming]

    def name(self, metric: str) -> str:
        """Return the full name of a metric, such as `"duration"`."""
        name: str = getattr(self.names, metric)
        return f"{self.prefix}_{name}" if self.prefix else name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names.labels + self.custom_labels

    @classmethod
    def of(
        cls,
        *,
        naming: str,
        prefix: str,
        labels: Mapping[str, LabelCallable],
        buckets: Sequence[float],
        size_buckets: Sequence[float],
        max_series: int,
    ) -> Spec:
        if not isinstance(naming, str) or naming not in NAMINGS:
            raise ConfigurationError(f"naming must be {' or '.join(map(repr, NAMINGS))}, not {shown(naming)}")
        if not isinstance(prefix, str) or (prefix and not _NAME.fullmatch(prefix)):
            raise ConfigurationError(
                f"prefix must be letters, digits and underscores, not starting with a digit, not {shown(prefix)}"
            )
        if not isinstance(max_series, int) or isinstance(max_series, bool) or max_series < 1:
            raise ConfigurationError(f"max_series must be an integer of at least 1, not {shown(max_series)}")
        return cls(
            naming=naming,
            prefix=prefix,
            custom_labels=_label_names(labels, NAMINGS[naming]),
            buckets=_bounds("buckets", buckets),
            size_buckets=_bounds("size_buckets", size_buckets),
            max_series=max_series,
        )


def _label_names(labels: Mapping[str, Any], names: Naming) -> tuple[str, ...]:
    if not isinstance(labels, Mapping):
        raise ConfigurationError(f"labels must map names to functions, not be of type {type(labels).__name__}")
    for name, value in labels.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("__"):
            raise ConfigurationError(f"labels must have names such as 'tenant', not {shown(name)}")
        if name in names.labels or name in _RESERVED:
            raise ConfigurationError(f"labels must not have the name {name!r}, which is taken; choose another")
        if not callable(value) or inspect.iscoroutinefunction(value):
            raise ConfigurationError(
                f"labels[{name!r}] must be a plain function that takes the exchange and returns the value"
            )
    return tuple(labels)


def _bounds(parameter: str, buckets: Sequence[float]) -> tuple[float, ...]:
    remedy = "give positive numbers in rising order, such as [0.1, 0.5, 1]"
    try:
        if isinstance(buckets, (str, bytes)):
            raise TypeError("characters are no boundaries")
        bounds = tuple(float(bound) for bound in buckets)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ConfigurationError(f"{parameter} must be a list of numbers; {remedy}") from exc
    if bounds and bounds[-1] == math.inf:
        bounds = bounds[:-1]
    rising = all(low < high for low, high in pairwise(bounds))
    if not bounds or not rising or not bounds[0] > 0 or bounds[-1] == math.inf:
        raise ConfigurationError(f"{parameter} must rise and be finite, unlike {bounds!s:.200}; {remedy}")
    return bounds
