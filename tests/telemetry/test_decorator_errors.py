"""How the spans of `traced` nest, and what they say of exceptions."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, StatusCode
from traced_subjects import current_name, make_generator

from asgi_infra.errors import ConfigurationError
from asgi_infra.telemetry import traced


def test_spans_nest_and_the_context_is_restored(spans):
    @traced("inner")
    def inner():
        return current_name()

    @traced("outer")
    def outer():
        return (inner(), current_name())

    assert outer() == ("inner", "outer")
    assert trace.get_current_span() is INVALID_SPAN
    assert spans.names == ["inner", "outer"]
    assert spans.named("inner").parent.span_id == spans.named("outer").context.span_id


def test_an_exception_is_recorded_once_in_the_trace_and_marks_every_span_it_leaves(spans):
    @traced("inner")
    def inner():
        raise KeyError("gone")

    @traced("outer")
    def outer():
        inner()

    with pytest.raises(KeyError) as caught:
        outer()
    assert caught.value.args == ("gone",)
    for name in ("inner", "outer"):
        span = spans.named(name)
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "KeyError: 'gone'"
        assert span.attributes["error.type"] == "KeyError"
    assert [event.name for event in spans.named("inner").events] == ["exception"]
    assert spans.named("outer").events == ()
    event = spans.named("inner").events[0]
    assert event.attributes["exception.type"] == "KeyError"
    assert event.attributes["exception.message"] == "'gone'"
    assert 'raise KeyError("gone")' in event.attributes["exception.stacktrace"]


def test_an_exception_that_is_raised_again_in_another_trace_is_recorded_there_too(spans):
    error = ValueError("again")

    @traced("subject")
    def subject():
        raise error

    for _ in range(2):
        with pytest.raises(ValueError, match="again"):
            subject()
    assert [len(span.events) for span in spans.all] == [1, 1]


def test_exceptions_of_other_modules_carry_their_module(spans):
    with pytest.raises(ConfigurationError):
        traced(lambda: (_ for _ in ()).throw(ConfigurationError("wrong")).__next__())()
    assert spans.one.attributes["error.type"] == "asgi_infra.errors.ConfigurationError"


def test_exceptions_that_cannot_be_shown_or_marked_are_recorded_all_the_same(spans):
    class Stubborn(Exception):
        def __str__(self):
            raise RuntimeError("no text")

        def __setattr__(self, name, value):
            raise AttributeError(name)

    with pytest.raises(Stubborn):
        traced("subject")(lambda: (_ for _ in ()).throw(Stubborn()).__next__())()
    assert spans.one.status.description == "Stubborn: <message not available>"
    assert len(spans.one.events) == 1


@pytest.mark.parametrize(
    "leaving", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, StopIteration]
)
def test_leaving_by_control_flow_is_no_error(spans, leaving):
    def subject():
        raise leaving

    with pytest.raises(leaving):
        traced(subject)()
    assert spans.one.status.status_code is StatusCode.UNSET
    assert spans.one.events == ()


def test_a_provider_that_fails_does_not_fail_the_function():
    class Broken(trace.TracerProvider):
        def get_tracer(self, *args, **kwargs):
            raise RuntimeError("no tracer")

    trace.set_tracer_provider(Broken())
    assert traced(lambda: 5)() == 5
    assert list(traced(make_generator())(1)) == [(1, 2, None)]


def test_should_the_api_rename_its_global_tracing_works_on(monkeypatch, spans):
    provider = trace.get_tracer_provider()
    monkeypatch.delattr(trace, "_TRACER_PROVIDER")
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    assert traced("subject")(lambda: current_name())() == "subject"
    assert spans.names == ["subject"]


def test_a_secret_of_a_frame_is_not_in_the_span_that_records_its_error(spans):
    @traced("login")
    def login():
        password = "correct horse battery staple"
        raise ValueError(f"no login with {password}")

    with pytest.raises(ValueError, match="no login"):
        login()
    assert "correct horse" not in spans.named("login").to_json()


def test_functions_without_a_module_are_traced_too(spans):
    assert traced(str.upper)("lamp") == "LAMP"
    assert spans.names
