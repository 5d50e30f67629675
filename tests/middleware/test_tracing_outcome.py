"""What the span says of how an exchange ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import Status, StatusCode
from tracing_driver import Recorder, answer, drive, http

from asgi_infra import faults
from asgi_infra.middleware.tracing import TracingMiddleware

# Status


@given(status=st.integers(100, 599))
@settings(max_examples=60, deadline=None)
def test_property_16_status_mapping_5xx_is_error_with_a_description_and_below_is_ok(status: int) -> None:
    recorder = Recorder()

    drive(TracingMiddleware(answer(status), tracer_provider=recorder.provider))

    if status >= 500:
        assert recorder.span.status.status_code is StatusCode.ERROR
        assert str(status) in recorder.span.status.description
        assert recorder.span.attributes["error.type"] == str(status)
    else:
        assert recorder.span.status.status_code is StatusCode.OK
        assert recorder.span.status.description is None
        assert "error.type" not in recorder.span.attributes


@given(status=st.integers(100, 599))
@settings(max_examples=60, deadline=None)
def test_property_16_status_mapping_by_the_conventions_leaves_everything_below_500_unset(status: int) -> None:
    recorder = Recorder()

    drive(TracingMiddleware(answer(status), tracer_provider=recorder.provider, status="semconv"))

    expected = StatusCode.ERROR if status >= 500 else StatusCode.UNSET
    assert recorder.span.status.status_code is expected
    assert recorder.span.status.description is None


def test_a_callable_decides_the_status(recorder: Recorder) -> None:
    def policy(code: int) -> Status | None:
        return Status(StatusCode.ERROR, "teapot") if code == 418 else None

    drive(TracingMiddleware(answer(418), tracer_provider=recorder.provider, status=policy))

    assert recorder.span.status.description == "teapot"


def test_a_status_policy_that_raises_is_a_fault_and_the_span_still_ends(recorder: Recorder) -> None:
    before = sum(faults.counts().values())

    def policy(code: int) -> Status:
        raise RuntimeError("policy")

    sent = drive(TracingMiddleware(answer(), tracer_provider=recorder.provider, status=policy))

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert recorder.span.name == "GET /items/{id}"
    assert sum(faults.counts().values()) > before


# Errors


def test_an_exception_is_recorded_once_with_its_type(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("no such item")

    with pytest.raises(KeyError):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.status.status_code is StatusCode.ERROR
    assert recorder.span.attributes["error.type"] == "KeyError"
    assert [event.name for event in recorder.span.events] == ["exception"]
    assert "http.response.status_code" not in recorder.span.attributes


def test_an_exception_behind_a_500_is_on_the_span_that_reports_the_500(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(500)(scope, receive, send)
        raise ValueError("what the framework raises again")

    with pytest.raises(ValueError, match="raises again"):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.attributes["http.response.status_code"] == 500
    assert recorder.span.attributes["error.type"] == "ValueError"
    assert [event.name for event in recorder.span.events] == ["exception"]


def test_an_exception_that_can_not_be_told_still_ends_the_span(recorder: Recorder) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise Mute

    with pytest.raises(Mute):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.attributes["error.type"].endswith("Mute")


def test_a_disconnect_is_no_error_of_the_server(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        while (await receive())["type"] != "http.disconnect":
            pass

    drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.status.status_code is StatusCode.UNSET
    assert recorder.span.attributes["error.type"] == "client_disconnected"
    assert recorder.span.attributes["http.response.status_code"] == 200


def test_a_cancellation_is_an_outcome_of_its_own(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def cancel() -> None:
        async def nothing(*_: Any) -> None: ...

        task = asyncio.create_task(TracingMiddleware(app, tracer_provider=recorder.provider)(http(), nothing, nothing))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())

    assert recorder.span.attributes["error.type"] == "cancelled"
    assert recorder.span.events == ()


def test_an_application_that_does_not_answer_is_an_error(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Returns."""

    drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.status.status_code is StatusCode.ERROR
    assert recorder.span.attributes["error.type"] == "incomplete_response"


def test_background_work_is_not_in_the_span_and_its_error_is_a_child_of_it(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer()(scope, receive, send)
        assert len(recorder.spans) == 1
        raise OSError("mail server")

    with pytest.raises(OSError, match="mail server"):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    server, background = recorder.spans
    assert server.status.status_code is StatusCode.OK
    assert server.events == ()
    assert background.parent.span_id == server.context.span_id
    assert background.status.status_code is StatusCode.ERROR
    assert background.start_time == server.end_time
