"""Which span a line belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext


def span_context(span: Span) -> SpanContext | None:
    """Return the context of a span, sampled or not, or `None` if it is none that anything could be found by."""
    if span is INVALID_SPAN:
        return None
    context = span.get_span_context()
    return context if context.is_valid else None
