"""Which span a line belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN, get_current_span

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext


def current_span() -> SpanContext | None:
    """Return the context of the current span, sampled or not, or `None` where there is none."""
    span = get_current_span()
    if span is INVALID_SPAN:
        return None
    context = span.get_span_context()
    return context if context.is_valid else None
