"""The trace context that a request brings, by the global propagator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from asgi_infra import faults
from asgi_infra.middleware.exchange import Exchange

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator

# The form that senders use (W3C Trace Context, section 3.2); whatever else may be valid is left to the propagator.
_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_DEFAULT = [TraceContextTextMapPropagator, W3CBaggagePropagator]


class _Headers(Getter[Exchange]):
    """All values of a header, as propagators ask for them; baggage may come in several."""

    def get(self, carrier: Exchange, key: str) -> list[str] | None:
        name = key.lower().encode("latin-1")
        if name not in carrier.headers:
            return None
        values = [value.decode("latin-1") for header, value in carrier.scope["headers"] if header == name]
        return [",".join(values)] if name == b"baggage" else values

    def keys(self, carrier: Exchange) -> list[str]:
        return [name.decode("latin-1") for name in carrier.headers]


_HEADERS = _Headers()


class Propagation:
    """Reads the context of the caller; the global propagator may change at any time."""

    __slots__ = ("_fields", "_is_default", "_propagator")

    def __init__(self) -> None:
        self._propagator: TextMapPropagator | None = None
        self._fields: frozenset[bytes] = frozenset()
        self._is_default = False

    def extract(self, exchange: Exchange, context: Context) -> Context:
        """Return the context that a server span starts in: the caller's, or `context` where there is none."""
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._learn(propagator)
        headers = exchange.headers
        if self._fields.isdisjoint(headers):
            return context
        try:
            if not context and self._is_default and b"tracestate" not in headers and b"baggage" not in headers:
                # What the two default propagators do here, at a fifth of their cost.
                parts = _TRACEPARENT.fullmatch(headers[b"traceparent"])
                if parts is not None:
                    trace_id, span_id, flags = parts.groups()
                    parent = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
                    return set_span_in_context(NonRecordingSpan(parent), context) if parent.is_valid else context
            elif context:
                outer = get_current_span(context).get_span_context()
                if outer.is_valid and not outer.is_remote:  # a server span outside of us that was sampled out
                    return context
            return propagator.extract(exchange, context, _HEADERS)
        except Exception as exc:  # noqa: BLE001
            faults.record("tracing.extract", exc)
            return context

    def _learn(self, propagator: TextMapPropagator) -> None:
        self._fields = frozenset(field.lower().encode("latin-1") for field in propagator.fields)
        members = getattr(propagator, "_propagators", ())
        self._is_default = type(propagator) is CompositePropagator and [type(member) for member in members] == _DEFAULT
        self._propagator = propagator
