"""The duration of requests through the OpenTelemetry meter, beside the metrics for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import set_span_in_context

from asgi_infra._version import __version__
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from asgi_infra.middleware.exchange import Exchange

NAME = "http.server.request.duration"
_OVERFLOW = {"otel.metric.overflow": True}  # OpenTelemetry metrics SDK, section "Overflow attribute"


class MeterDuration:
    """Records `http.server.request.duration` with the attributes of the HTTP conventions.

    Args:
        meter: `True` for the global meter provider, or a provider.
        buckets: The boundaries to advise, in seconds.
        max_series: How many sets of attributes there may be; the rest shares one, marked `otel.metric.overflow`.
    """

    def __init__(self, meter: object, buckets: tuple[float, ...], max_series: int) -> None:
        if meter is not True and not isinstance(meter, MeterProvider):
            raise ConfigurationError(
                f"meter must be True, False or an OpenTelemetry MeterProvider, not of type {type(meter).__name__}"
            )
        self._histogram = get_meter(
            "asgi_infra", __version__, None if meter is True else meter, "https://opentelemetry.io/schemas/1.29.0"
        ).create_histogram(
            NAME,
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=buckets,
        )
        self._max_series = max_series
        self._attributes: dict[tuple[Any, ...], dict[str, Any]] = {}

    def record(self, exchange: Exchange, method: str, scheme: str) -> None:
        """Record an exchange that has ended; `method` and `scheme` are the bounded ones."""
        version = exchange.scope.get("http_version")
        key = (method, scheme, exchange.route, exchange.status, exchange.error_type, version)
        attributes = self._attributes.get(key)
        if attributes is None:
            if len(self._attributes) >= self._max_series:
                attributes = _OVERFLOW
            else:
                attributes = self._attributes[key] = _attributes(*key)
        span = exchange.span
        context = None if span is None else set_span_in_context(span, Context())
        self._histogram.record(exchange.duration, attributes, context)


def _attributes(
    method: str, scheme: str, route: str | None, status: object, error_type: str | None, version: object
) -> dict[str, Any]:
    attributes = {
        "http.request.method": method,
        "url.scheme": scheme,
        "http.route": route,
        "http.response.status_code": status,
        "error.type": error_type,
        "network.protocol.version": version,
    }
    return {name: value for name, value in attributes.items() if value is not None}
