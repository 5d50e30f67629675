"""Server spans that are dropped, without asking the SDK for them.

Where the sampler drops a request for its parent's sake, or drops everything, nothing looks at the attributes of its
span, so they need not be made, nor need the sampler be asked. What comes out is what the SDK would have returned: a
span that records nothing, in the caller's trace or a new one. Samplers that decide by anything else, other providers
than the SDK's own, and an SDK that counts its spans are left to decide for themselves.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    SpanContext,
    TraceFlags,
    get_current_span,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer, TracerProvider

_SAMPLING = "opentelemetry.sdk.trace.sampling"
_DROPS_ALL = ("AlwaysOffSampler", "TraceIdRatioBased{0.0}")
_PARENT_BASED = re.compile(
    r"ParentBased\{root:([^,]+),remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
    r"localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler\}"
)
_RANDOM_TRACE_ID = 0x02  # W3C Trace Context, level 2, section 3.2.2.5.2
_FLAGS = {0: TraceFlags(0), _RANDOM_TRACE_ID: TraceFlags(_RANDOM_TRACE_ID)}


class Dropper:
    """Answers with a dropped span where it is certain that the SDK would."""

    __slots__ = ("_drops_all", "_drops_roots", "_ids", "_kept_flags", "_root_flags")

    def __init__(self, ids: Any, *, drops_all: bool, drops_roots: bool) -> None:
        self._ids = ids
        self._drops_all = drops_all
        self._drops_roots = drops_roots
        is_random = getattr(ids, "is_trace_id_random", None)
        self._kept_flags = _RANDOM_TRACE_ID if is_random is not None else 0  # older versions of the SDK keep none
        self._root_flags = _FLAGS[_RANDOM_TRACE_ID if is_random is not None and is_random() else 0]

    def __call__(self, context: Context) -> Span | None:
        """Return the span if it is dropped, `None` if the SDK has to decide."""
        if context and (parent := get_current_span(context).get_span_context()).is_valid:
            flags = parent.trace_flags
            if flags & TraceFlags.SAMPLED and not self._drops_all:
                return None
            return NonRecordingSpan(
                SpanContext(
                    parent.trace_id,
                    self._ids.generate_span_id(),
                    False,
                    _FLAGS[flags & self._kept_flags],
                    parent.trace_state,
                )
            )
        if not self._drops_roots:
            return None
        ids = self._ids
        return NonRecordingSpan(
            SpanContext(ids.generate_trace_id(), ids.generate_span_id(), False, self._root_flags, None)
        )


def dropper(provider: TracerProvider, tracer: Tracer) -> Callable[[Context], Span | None] | None:
    """Return what drops spans in the name of a provider, or `None` where its sampler has to be asked each time."""
    if type(provider) in (ProxyTracerProvider, NoOpTracerProvider):
        return _callers  # without an SDK there is no span, and the caller's goes on
    sdk: Any = sys.modules.get("opentelemetry.sdk.trace")
    if sdk is None or type(provider) is not sdk.TracerProvider:
        return None
    if type(getattr(tracer, "_tracer_metrics", None)).__name__ == "TracerMetrics":
        return None
    sampler = provider.sampler  # type: ignore[attr-defined]
    parts = [sampler, *(part for part in vars(sampler).values() if hasattr(part, "should_sample"))]
    if any(type(part).__module__ != _SAMPLING for part in parts):  # it may say the same of itself, and do another thing
        return None
    description: str = sampler.get_description()
    if description in _DROPS_ALL:
        return Dropper(provider.id_generator, drops_all=True, drops_roots=True)  # type: ignore[attr-defined]
    parent_based = _PARENT_BASED.fullmatch(description)
    if parent_based is None:
        return None
    drops_roots = parent_based.group(1) in _DROPS_ALL
    return Dropper(provider.id_generator, drops_all=False, drops_roots=drops_roots)  # type: ignore[attr-defined]


def _callers(context: Context) -> Span:
    """Return the span that is current, in a form that we may end: it may be somebody else's, and record."""
    span = get_current_span(context)
    return NonRecordingSpan(span.get_span_context()) if span.is_recording() else span
