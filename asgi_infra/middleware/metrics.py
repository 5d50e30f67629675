"""Metrics of each exchange for Prometheus: how many, how long, how large, how many at once."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict, Unpack

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.methods import OTHER, KnownMethods
from asgi_infra.middleware.metrics_families import clean
from asgi_infra.middleware.metrics_spec import DURATION_BUCKETS, MAX_SERIES, SIZE_BUCKETS, Spec
from asgi_infra.options import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.middleware.metrics_spec import LabelCallable
    from asgi_infra.middleware.series import Key, RawExemplar
    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp

_MAX_LABEL = 128  # characters of a custom label's value
_BROKEN = "error"
_OTHER_METHOD = (OTHER,)
_SCHEMES = {"http": "http", "https": "https", "ws": "ws", "wss": "wss"}
_OTHER_SCHEME = "_OTHER"


class Metrics(Observer):
    """Measures every exchange for Prometheus, and shows it in a registry of prometheus-client.

    HTTP requests are counted at their end, under the labels `method`, `path` (the route's template, or `unmatched`)
    and `status_code`: the status that was sent; without one, 500 after an error and 499 where the client went away or
    the request was cancelled. WebSocket connections have metrics of their own, with the status of their handshake.
    What an application does after its response is complete is not part of any duration.

    Args:
        naming: `"prometheus"`, or `"semconv"` for names and labels of the OpenTelemetry HTTP conventions as they
            are spelled for Prometheus, such as `http_server_request_duration_seconds`.
        prefix: What stands before each name, with an underscore between; by default nothing.
        labels: More labels, by name: functions that take the exchange at its end and return the value. It is made a
            string of at most 128 characters; where the function raises, the value is `error`, and a fault is counted.
        buckets: Boundaries for durations, in seconds; by default those that the OpenTelemetry conventions advise.
        size_buckets: Boundaries for body sizes, in bytes; by default powers of ten from 100 to 100 million.
        max_series: How many sets of labels each metric may have (default 1000). What is over is counted in one more
            series, with `overflow` as each label, and by `asgi_infra_metrics_overflow_total`.
        known_methods: The methods that are labels; all others are `_OTHER`. By default those of RFC 9110, PATCH and
            QUERY, or what `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` lists.
        exemplars: Whether buckets of the duration name a request: trace and span id where its span is sampled, and
            its request id. They show in the OpenMetrics format, and in one-process mode only.
        registry: Where the metrics show; by default `prometheus_client.REGISTRY`. Middlewares with the same options
            share what is there.
        meter: `True`, or an OpenTelemetry `MeterProvider`, to record `http.server.request.duration` there as well.

    Raises:
        ConfigurationError: An option is wrong, or the registry has these names from elsewhere or with other options.

    Example:
        >>> app = InfraMiddleware(app, metrics=Metrics(buckets=[0.1, 0.5, 1], exemplars=True))
    """

    feature: ClassVar[str] = "metrics"

    def __init__(
        self,
        *,
        naming: Literal["prometheus", "semconv"] = "prometheus",
        prefix: str = "",
        labels: Mapping[str, LabelCallable] | None = None,
        buckets: Sequence[float] = DURATION_BUCKETS,
        size_buckets: Sequence[float] = SIZE_BUCKETS,
        max_series: int = MAX_SERIES,
        known_methods: Iterable[str] | None = None,
        exemplars: bool = False,
        registry: CollectorRegistry | None = None,
        meter: bool | MeterProvider = False,
    ) -> None:
        labels = {} if labels is None else labels
        if not isinstance(exemplars, bool):
            raise ConfigurationError(f"exemplars must be True or False, not {shown(exemplars)}")
        spec = Spec.of(
            naming=naming,
            prefix=prefix,
            labels=labels,
            buckets=buckets,
            size_buckets=size_buckets,
            max_series=max_series,
        )
        methods = KnownMethods(known_methods)
        meter_duration = None
        if meter is not False:
            from asgi_infra.middleware.metrics_otel import MeterDuration

            meter_duration = MeterDuration(meter, spec.buckets, max_series)
        from asgi_infra.middleware.metrics_registry import table_for

        self._table = table = table_for(registry, spec)
        self._began, self._ended = table.began, table.ended
        self._methods = methods
        self._meter = meter_duration
        self._exemplars = exemplars
        self._custom = [(f"metrics.labels.{name}", function) for name, function in labels.items()]
        self._unsent = spec.names.unsent
        self._semconv = naming == "semconv"
        self._extends = self._semconv or bool(labels)
        self._labels_by_method = {name: (name,) for name in methods.names}

    def start(self, exchange: Exchange) -> None:
        if exchange.finished:  # joined too late, and will not be told of the end
            return
        in_progress: tuple[str, ...] = ()
        if not exchange.is_websocket:
            in_progress = self._labels_by_method.get(exchange.method, _OTHER_METHOD)
            if self._semconv:
                in_progress = (in_progress[0], _scheme(exchange))
        self._began(exchange, in_progress)

    def end(self, exchange: Exchange) -> None:
        in_progress = self._ended(exchange, None)
        if in_progress is None:  # `start` failed
            return
        method = in_progress[0] if in_progress else "GET"
        status: int | str | None = exchange.status
        if status is None:
            status = self._unsent[exchange.outcome]
        key: Key = (method, exchange.route, status)
        if self._extends:
            key += self._extra(exchange)
        if exchange.is_websocket:
            self._table.connection(key, exchange)
            return
        exemplar = _exemplar(exchange) if self._exemplars else None
        self._table.request(key, exchange, exemplar)
        if self._meter is not None:
            self._meter.record(exchange, method, _scheme(exchange))

    def late_error(self, exchange: Exchange, error: BaseException) -> None:
        # A cancellation is no error; a group that is no `Exception` may hold one beside a cancellation.
        if isinstance(error, (Exception, BaseExceptionGroup)):
            self._table.failed_late((self._methods.label(exchange.method), exchange.route))

    def _extra(self, exchange: Exchange) -> tuple[str, ...]:
        extra = [_scheme(exchange), clean(exchange.error_type or "")] if self._semconv else []
        for place, function in self._custom:
            try:
                value = function(exchange)
                extra.append("" if value is None else clean(value)[:_MAX_LABEL])
            except Exception as exc:  # noqa: BLE001
                faults.record(place, exc)
                extra.append(_BROKEN)
        return tuple(extra)


class MetricsOptions(TypedDict, total=False):
    """The options of `MetricsMiddleware`."""

    naming: Literal["prometheus", "semconv"]
    prefix: str
    labels: Mapping[str, LabelCallable] | None
    buckets: Sequence[float]
    size_buckets: Sequence[float]
    max_series: int
    known_methods: Iterable[str] | None
    exemplars: bool
    registry: CollectorRegistry | None
    meter: bool | MeterProvider


class MetricsMiddleware(Engine):
    """Measures every exchange, and nothing else.

    Args:
        app: The ASGI application to wrap.
        exclude: Paths that are not measured, as `PathRules` takes them.
        trusted_proxies: Whose forwarding headers to believe, as `TrustedProxies` takes them.
        options: The options of `Metrics`.

    Raises:
        ConfigurationError: An option is wrong, or the registry has these names from elsewhere or with other options.

    Example:
        >>> app = MetricsMiddleware(app, exclude=["/health"], labels={"tenant": lambda exchange: "example"})
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        exclude: Exclude = (),
        trusted_proxies: str | Sequence[str] = (),
        **options: Unpack[MetricsOptions],
    ) -> None:
        super().__init__(app, [Metrics(**options)], exclude=exclude, trusted_proxies=trusted_proxies)


def _scheme(exchange: Exchange) -> str:
    return _SCHEMES.get(exchange.scheme, _OTHER_SCHEME)


def _exemplar(exchange: Exchange) -> RawExemplar | None:
    span_context = None if exchange.span is None else exchange.span.get_span_context()
    if span_context is not None and not span_context.trace_flags.sampled:
        span_context = None
    if span_context is None and exchange.request_id is None:
        return None
    return span_context, exchange.request_id, exchange.duration, time()
