"""The trace that a request comes with, and the one that it goes on in."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from tracing_driver import PARENT, Recorder, answer, drive, http

from asgi_infra.middleware.tracing import TracingMiddleware

# Context


def test_the_trace_of_the_caller_goes_on(recorder: Recorder) -> None:
    drive(
        TracingMiddleware(answer(), tracer_provider=recorder.provider),
        http(headers=[(b"traceparent", PARENT), (b"tracestate", b"vendor=1")]),
    )

    assert f"{recorder.span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{recorder.span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert recorder.span.context.trace_state.get("vendor") == "1"


def test_baggage_in_several_headers_arrives_whole(recorder: Recorder) -> None:
    seen: dict[str, object] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(baggage.get_all())
        await answer()(scope, receive, send)

    headers = [(b"baggage", b"tenant=acme"), (b"baggage", b"plan=gold")]
    drive(TracingMiddleware(app, tracer_provider=recorder.provider), http(headers=headers))

    assert seen == {"tenant": "acme", "plan": "gold"}


@given(st.one_of(st.binary(max_size=80), st.from_regex(rb"\A[0-9a-f]{2}-[0-9a-fg]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?\Z")))
@settings(max_examples=150, deadline=None)
def test_a_malformed_traceparent_starts_a_trace_and_nothing_else(value: bytes) -> None:
    recorder = Recorder(ALWAYS_ON)

    sent = drive(
        TracingMiddleware(answer(), tracer_provider=recorder.provider), http(headers=[(b"traceparent", value)])
    )

    assert sent[0]["status"] == 200
    assert recorder.span.context.is_valid


def test_the_span_is_current_inside_and_nothing_is_left_afterwards(recorder: Recorder) -> None:
    inside = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.append(trace.get_current_span().get_span_context().span_id)
        await answer()(scope, receive, send)

    async def main() -> None:
        middleware = TracingMiddleware(app, tracer_provider=recorder.provider)

        async def nothing(*_: Any) -> Any: ...

        await middleware(http(), nothing, nothing)
        assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(main())

    assert inside == [recorder.span.context.span_id]


def test_a_sampled_out_request_has_no_span_and_children_of_its_trace_have_none_either() -> None:
    recorder = Recorder(ParentBased(ALWAYS_OFF))
    valid = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        valid.append(trace.get_current_span().get_span_context().is_valid)
        with recorder.provider.get_tracer("shop").start_as_current_span("child"):
            await answer()(scope, receive, send)

    drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert valid == [True]
    assert recorder.spans == ()


def test_without_a_provider_the_application_is_served_and_the_callers_trace_is_passed_on() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        await answer()(scope, receive, send)

    provider = trace.NoOpTracerProvider()
    sent = drive(TracingMiddleware(app, tracer_provider=provider), http(headers=[(b"traceparent", PARENT)]))

    assert sent[0]["status"] == 200
    assert f"{seen[0]:032x}" == "0af7651916cd43dd8448eb211c80319c"
