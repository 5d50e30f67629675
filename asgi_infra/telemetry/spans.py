"""The one place where `traced` starts spans, makes them current, and ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)
from opentelemetry.trace import SpanKind, Status, StatusCode

from asgi_infra import faults
from asgi_infra._version import __version__
from asgi_infra.telemetry.scrub import scrub_attributes, scrub_exception

if TYPE_CHECKING:
    import inspect
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.trace import Span, Tracer, TracerProvider

    from asgi_infra.telemetry.scrub import Redact

_SCOPE = "asgi_infra.telemetry"
_CONTROL_FLOW = (StopIteration, StopAsyncIteration)
_RECORDED = "__asgi_infra_recorded__"


class SpanRecipe(NamedTuple):
    """What the spans of one traced function have in common."""

    name: str
    attributes: Mapping[str, Any]
    kind: SpanKind
    signature: inspect.Signature | None
    record: tuple[str, ...]
    redact: Redact | None


class Activity:
    """One span and the context that is current while its code runs.

    Used as a context manager around each stretch of that code: a whole call, or one step of a generator. Between the
    steps the context is kept, spans that the code itself has made current included, and the consumer sees its own.
    A span that nobody finishes (a coroutine never awaited, a generator never iterated) ends with this object.
    """

    __slots__ = ("_context", "_redact", "_token", "span")

    def __init__(self, span: Span, redact: Redact | None) -> None:
        self.span: Span | None = span
        self._redact = redact
        self._context = trace.set_span_in_context(span)
        self._token: Token[otel_context.Context] | None = None

    def __enter__(self) -> None:
        self._token = otel_context.attach(self._context)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        current = otel_context.get_current()
        token, self._token = self._token, None
        # A coroutine that is closed from elsewhere, by the garbage collector say, may end in a context in which
        # nothing of it was ever current: there is nothing to restore there, and trying would log an error.
        if token is not None and (current is self._context or not isinstance(exc, GeneratorExit)):
            otel_context.detach(token)
        self._context = current

    def finish(self, exc: BaseException | None = None) -> None:
        """End the span, once; an `Exception` makes it an error, while being closed or cancelled does not."""
        span, self.span = self.span, None
        if span is None:
            return
        try:
            if isinstance(exc, Exception) and not isinstance(exc, _CONTROL_FLOW) and span.is_recording():
                _record_exception(span, exc, self._redact)
            span.end()
        except Exception as fault:  # noqa: BLE001 - telemetry never breaks the application
            faults.record("telemetry.span", fault)

    def __del__(self) -> None:
        self.finish()


class _Idle:
    """Stands for an activity where nobody collects spans."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return

    def finish(self, exc: BaseException | None = None) -> None:
        return


IDLE = _Idle()


def current_provider() -> TracerProvider | None:
    """Return the provider that has been set for the process, or `None`; costs less than any public question."""
    try:
        return trace._TRACER_PROVIDER
    except AttributeError:  # should the API ever rename it, tracing works on, only dearer
        return trace.get_tracer_provider()


def begin(recipe: SpanRecipe, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Activity | _Idle:
    """Start a span as a child of the current one; `IDLE` where there is no provider, or where starting it fails."""
    provider = current_provider()
    if provider is None:
        return IDLE
    try:
        span = _tracer(provider).start_span(recipe.name, kind=recipe.kind, attributes=recipe.attributes)
        if recipe.record and span.is_recording():
            span.set_attributes(_arguments(recipe, args, kwargs))
    except Exception as fault:  # noqa: BLE001 - telemetry never breaks the application
        faults.record("telemetry.span", fault)
        return IDLE
    return Activity(span, recipe.redact)


_latest: tuple[TracerProvider, Tracer] | None = None


def _tracer(provider: TracerProvider) -> Tracer:
    global _latest
    latest = _latest
    if latest is None or latest[0] is not provider:
        latest = _latest = (provider, provider.get_tracer(_SCOPE, __version__))
    return latest[1]


def _arguments(recipe: SpanRecipe, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    if recipe.signature is None:
        return {}
    try:
        bound = recipe.signature.bind(*args, **kwargs)
    except TypeError:  # the call itself is about to fail with a better message
        return {}
    bound.apply_defaults()
    wanted = {name: bound.arguments[name] for name in recipe.record}
    return {f"argument.{name}": value for name, value in scrub_attributes(wanted, recipe.redact).items()}


def _record_exception(span: Span, exc: Exception, redact: Redact | None) -> None:
    kind = type(exc)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    message, stack = scrub_exception(exc, redact)
    span.set_attribute(ERROR_TYPE, name)
    span.set_status(Status(StatusCode.ERROR, f"{kind.__name__}: {message}" if message else kind.__name__))
    trace_id = span.get_span_context().trace_id
    if getattr(exc, _RECORDED, None) == trace_id:
        return
    span.add_event("exception", {EXCEPTION_TYPE: name, EXCEPTION_MESSAGE: message, EXCEPTION_STACKTRACE: stack})
    try:
        setattr(exc, _RECORDED, trace_id)
    except (AttributeError, TypeError):  # an exception that takes no attributes is recorded by each span it passes
        return
