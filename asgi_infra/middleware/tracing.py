"""One server span an exchange, through the OpenTelemetry API, by its HTTP semantic conventions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from opentelemetry import trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from asgi_infra import faults
from asgi_infra._version import __version__
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.attributes import RequestAttributes
from asgi_infra.middleware.coexistence import (
    CLAIMED,
    FASTAPI_KEY,
    STARLETTE_KEY,
    claim,
    fastapi_tracer,
    foreign_server_span,
    with_fastapi_operations,
)
from asgi_infra.middleware.dropped import dropper
from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.headers import HeaderCapture
from asgi_infra.middleware.propagation import Propagation
from asgi_infra.middleware.routes import resolve
from asgi_infra.middleware.status import StatusPolicy, status_policy
from asgi_infra.options import require_hook, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp, Scope

_NAMES = {"_OTHER": "HTTP"}
_SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"


class Tracing(Observer):
    """Tracing as a feature; see `TracingMiddleware` for the options."""

    feature = "tracing"

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        status: StatusPolicy = "default",
        capture_request_headers: Sequence[str] = (),
        capture_response_headers: Sequence[str] = (),
        response_header: Literal["traceresponse", "server-timing"] | None = None,
        known_methods: Sequence[str] | None = None,
        on_start: Callable[[Span, Exchange], None] | None = None,
        on_end: Callable[[Span, Exchange], None] | None = None,
    ) -> None:
        if response_header not in (None, "traceresponse", "server-timing"):
            raise ConfigurationError(
                f"response_header must be 'traceresponse', 'server-timing' or None, not {shown(response_header)}"
            )
        if tracer_provider is not None and not isinstance(tracer_provider, trace.TracerProvider):
            raise ConfigurationError(
                f"tracer_provider must be a TracerProvider of OpenTelemetry, not {shown(tracer_provider)}"
            )
        for name, hook in (("on_start", on_start), ("on_end", on_end)):
            if hook is not None:
                require_hook(name, hook)
        self._given_provider = tracer_provider
        self._provider: TracerProvider | None = None
        self._tracer: Tracer = trace.NoOpTracer()
        self._status_of = status_policy(status)
        self._attributes = RequestAttributes(known_methods, HeaderCapture(capture_request_headers, "request"))
        self._captured = HeaderCapture(capture_response_headers, "response")
        self._response_header = response_header
        self._on_start = on_start
        self._on_end = on_end
        self._fastapi: Tracer | None = None
        self._propagation = Propagation()
        self._dropped: Callable[[Context], Span | None] | None = None

    def wraps(self, app: ASGIApp) -> None:
        self._fastapi = fastapi_tracer(app)

    def excluded(self, scope: Scope) -> None:
        claim(scope)

    def start(self, exchange: Exchange) -> None:
        # The global provider may be set after the middleware was made, and replaced in tests.
        provider = self._given_provider or trace.get_tracer_provider()
        if provider is not self._provider:
            self._use(provider)
        outer = get_current()
        if outer and self._adopted(exchange, outer):
            return
        context = self._propagation.extract(exchange, outer)
        span = self._dropped(context) if self._dropped is not None else None
        if span is None:
            span = self._started(exchange, context)
        exchange.span = span
        if span is not trace.INVALID_SPAN:
            context = set_span_in_context(span, context)
            scope = exchange.scope
            scope.setdefault(FASTAPI_KEY, None)
            scope.setdefault(STARLETTE_KEY, CLAIMED)
            if self._fastapi is not None:
                context = with_fastapi_operations(scope, context, span, self._fastapi)
            exchange.span_token = attach(context)
            if self._response_header is not None:
                exchange.response_headers[self._response_header.encode()] = _identity(span, self._response_header)
        elif context is not outer:  # without an SDK, the caller's baggage still goes on
            exchange.span_token = attach(context)
        if self._on_start is not None:
            self._call_hook("tracing.on_start", self._on_start, exchange)

    def end(self, exchange: Exchange) -> None:
        span = exchange.span
        if span is None or not span.is_recording():
            return
        if exchange.span_token is None:
            return
        try:
            if self._on_end is not None:
                self._call_hook("tracing.on_end", self._on_end, exchange)
            self._describe(span, exchange)
        finally:
            span.end(_end_ns(exchange))

    def late_error(self, exchange: Exchange, error: BaseException) -> None:
        span = exchange.span
        if span is None or not span.get_span_context().trace_flags.sampled or not isinstance(error, Exception):
            return
        span = self._tracer.start_span(
            "background", set_span_in_context(exchange.span), SpanKind.INTERNAL, start_time=_end_ns(exchange)
        )
        try:
            span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))
            span.record_exception(error)
        finally:
            span.end()

    def close(self, exchange: Exchange) -> None:
        if exchange.span_token is not None:
            detach(exchange.span_token)

    def _adopted(self, exchange: Exchange, context: Context) -> bool:
        span = foreign_server_span(trace.get_current_span(context), exchange)
        if span is None:
            return False
        exchange.span = span
        exchange.before_head = _tell_route  # later may be too late: its owner ends it as soon as the response is over
        if exchange.request_id is not None:
            span.set_attribute("request_id", exchange.request_id)
        if self._response_header is not None:
            exchange.response_headers[self._response_header.encode()] = _identity(span, self._response_header)
        return True

    def _use(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("asgi_infra", __version__, _SCHEMA_URL)
        self._dropped = dropper(provider, self._tracer)
        self._provider = provider

    def _started(self, exchange: Exchange, context: Context) -> Span:
        attributes = self._attributes(exchange)
        method: str = attributes["http.request.method"]
        exchange.span_name = "WS" if exchange.is_websocket else _NAMES.get(method, method)
        if exchange.request_id is not None:
            attributes["request_id"] = exchange.request_id
        if exchange.user_id is not None:  # its token was checked first, in a middleware outside of this one
            attributes["user.id"] = exchange.user_id
        return self._tracer.start_span(
            exchange.span_name, context, SpanKind.SERVER, attributes, None, exchange.started_ns
        )

    def _describe(self, span: Span, exchange: Exchange) -> None:
        status, route, error_type = exchange.status, exchange.route, exchange.error_type
        attributes: dict[str, Any] = {}
        if status is not None:
            attributes["http.response.status_code"] = status
        if route is not None:
            attributes["http.route"] = route
            span.update_name(f"{exchange.span_name} {route}")
        if error_type is not None:
            attributes["error.type"] = error_type
        if exchange.close_code is not None:
            attributes["websocket.close_code"] = exchange.close_code
        if self._captured:
            attributes.update(self._captured(exchange.sent_headers))
        span.set_attributes(attributes)
        error = exchange.error
        if exchange.outcome == "error" and (error is not None or status is None or status < 500):
            span.set_status(Status(StatusCode.ERROR, error_type))
            if error is not None:
                span.record_exception(error, timestamp=_end_ns(exchange))
        elif status is not None and exchange.outcome in ("ok", "error"):
            verdict = self._status_of(status)
            if verdict is not None:
                span.set_status(verdict)

    def _call_hook(self, place: str, hook: Callable[[Span, Exchange], None], exchange: Exchange) -> None:
        try:
            hook(exchange.span, exchange)
        except Exception as exc:  # noqa: BLE001
            faults.record(place, exc)


class TracingOptions(TypedDict, total=False):
    """The options of `TracingMiddleware`."""

    tracer_provider: TracerProvider | None
    status: StatusPolicy
    capture_request_headers: Sequence[str]
    capture_response_headers: Sequence[str]
    response_header: Literal["traceresponse", "server-timing"] | None
    known_methods: Sequence[str] | None
    on_start: Callable[[Span, Exchange], None] | None
    on_end: Callable[[Span, Exchange], None] | None


class TracingMiddleware(Engine):
    """Give every exchange one SERVER span, named `{method} {route}` (`WS {route}` for a WebSocket).

    Args:
        app: The ASGI application to wrap.
        tracer_provider: Where spans are made; the global provider by default, also one that is set later.
        status: How a response's status becomes the span's: `"default"` (5xx is ERROR with a description, below is OK),
            `"semconv"` (5xx is ERROR, below is left unset, as the OpenTelemetry HTTP conventions say for servers), or
            a callable from the code to a `Status`, a `StatusCode` or `None`. An exception is ERROR in any case;
            disconnects and cancellations keep the status unset and set `error.type`.
        capture_request_headers: Names of request headers to record as `http.request.header.<name>`; values of
            credentials, such as `authorization` and `cookie`, are replaced by `REDACTED`.
        capture_response_headers: The same for the response.
        response_header: Send the trace's identity to the client, as `"traceresponse"` or as `"server-timing"`.
        known_methods: The methods that are named; others become `_OTHER`. By default those of RFC 9110, PATCH and
            QUERY, or `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`.
        on_start: Called with the span and the exchange when the span has started.
        on_end: Called with the span and the exchange before the span is described and ended.
        exclude: Paths to leave alone, as `PathRules` takes them.
        trusted_proxies: Whose forwarding headers to believe, as `TrustedProxies` takes them.

    Raises:
        ConfigurationError: An option is wrong; it is a `ValueError` too.

    The span's attributes are those that the OpenTelemetry HTTP conventions require and recommend for servers, with
    `request_id` beside them. Values of sensitive query parameters are redacted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        exclude: Exclude = (),
        trusted_proxies: str | Sequence[str] = (),
        **options: Unpack[TracingOptions],
    ) -> None:
        super().__init__(app, [Tracing(**options)], exclude=exclude, trusted_proxies=trusted_proxies)


def _tell_route(exchange: Exchange) -> None:
    route = resolve(exchange.scope, exchange.root_path)
    if route is not None:
        exchange.span.set_attribute("http.route", route)


def _identity(span: Span, header: str) -> bytes:
    context = span.get_span_context()
    value = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return (value if header == "traceresponse" else f'traceparent;desc="{value}"').encode()


def _end_ns(exchange: Exchange) -> int:
    # From the one clock reading that the histogram and the log line use too, so that all three agree.
    return exchange.started_ns + round(exchange.duration * 1e9)
