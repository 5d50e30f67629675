"""A dropped span is what the SDK would have made."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from asgi_infra.middleware.dropped import dropper


class Custom(Sampler):
    """Says of itself what the SDK's own sampler says, and decides otherwise."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "AlwaysOffSampler"


SAMPLERS = {
    "off": ALWAYS_OFF,
    "on": ALWAYS_ON,
    "parent, off": DEFAULT_OFF,
    "parent, on": DEFAULT_ON,
    "none of them": TraceIdRatioBased(0.0),
    "some of them": TraceIdRatioBased(0.5),
    "parent, none of them": ParentBased(TraceIdRatioBased(0.0)),
    "parent, some of them": ParentBased(TraceIdRatioBased(0.5)),
    "other delegates": ParentBased(ALWAYS_OFF, remote_parent_not_sampled=ALWAYS_ON),
    "custom": Custom(),
    "parent, custom": ParentBased(Custom()),
}


def contexts() -> st.SearchStrategy[Context]:
    parents = st.builds(
        SpanContext,
        st.integers(0, 2**128 - 1),
        st.integers(0, 2**64 - 1),
        st.booleans(),
        st.integers(0, 255).map(TraceFlags),
        st.sampled_from([None, TraceState([("vendor", "1")])]),
    )
    return st.one_of(
        st.just(Context()), parents.map(lambda parent: set_span_in_context(NonRecordingSpan(parent), Context()))
    )


@given(sampler=st.sampled_from(sorted(SAMPLERS)), context=contexts())
def test_what_is_dropped_here_is_dropped_by_the_sdk_and_looks_the_same(sampler: str, context: Context) -> None:
    provider = TracerProvider(sampler=SAMPLERS[sampler], shutdown_on_exit=False)
    tracer = provider.get_tracer("test")
    drop = dropper(provider, tracer)
    dropped = drop(context) if drop is not None else None

    if dropped is None:
        return
    theirs = tracer.start_span("GET", context, SpanKind.SERVER)
    ours, expected = dropped.get_span_context(), theirs.get_span_context()
    assert not dropped.is_recording()
    assert not theirs.is_recording()
    assert ours.trace_flags == expected.trace_flags
    assert ours.trace_state == expected.trace_state
    assert ours.is_remote == expected.is_remote
    assert ours.is_valid
    parent = next(iter(context.values())).get_span_context() if context else None
    if parent is not None and parent.is_valid:
        assert ours.trace_id == expected.trace_id == parent.trace_id
        assert ours.span_id != parent.span_id


@pytest.mark.parametrize("name", ["off", "parent, off", "none of them", "parent, none of them"])
def test_roots_are_dropped_where_the_sampler_takes_none(name: str) -> None:
    provider = TracerProvider(sampler=SAMPLERS[name], shutdown_on_exit=False)
    drop = dropper(provider, provider.get_tracer("test"))

    assert drop is not None
    assert drop(Context()) is not None


@pytest.mark.parametrize("name", ["on", "some of them", "other delegates", "custom", "parent, custom"])
def test_samplers_that_have_to_be_asked_are_asked(name: str) -> None:
    provider = TracerProvider(sampler=SAMPLERS[name], shutdown_on_exit=False)

    assert dropper(provider, provider.get_tracer("test")) is None


def test_a_provider_that_is_not_the_sdks_own_is_left_alone() -> None:
    class Other(TracerProvider):
        pass

    other = Other(sampler=ALWAYS_OFF, shutdown_on_exit=False)

    assert dropper(other, other.get_tracer("test")) is None


@given(contexts())
def test_without_an_sdk_the_callers_span_goes_on(context: Context) -> None:
    provider = NoOpTracerProvider()
    drop = dropper(provider, provider.get_tracer("test"))

    assert drop is not None
    assert drop(context) is get_current_span(context)
