from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asgi_infra.redaction import Redactor
from asgi_infra.telemetry import init_telemetry
from asgi_infra.telemetry.frames import FrameSecretsProcessor, secrets_near
from asgi_infra.telemetry.redacting import RedactingSpanExporter

SECRET = "Zq7-hunter-X9w"


def failing_span(tracer):
    def login(password):
        raise ValueError(f"no login with {password}")

    with suppress(ValueError), tracer.start_as_current_span("login") as span:
        span.set_attribute("note", "as usual")
        span.add_event("attempt", {"with": SECRET, "all": [SECRET, "x"]})
        login(SECRET)


def of_init_telemetry(memory, **options):
    telemetry = init_telemetry(exporters=memory, **options)
    return trace.get_tracer("test"), telemetry.flush


def of_a_batch(memory):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(FrameSecretsProcessor())
    provider.add_span_processor(BatchSpanProcessor(RedactingSpanExporter(memory)))
    return provider.get_tracer("test"), provider.shutdown


def of_a_simple_processor(memory):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(RedactingSpanExporter(memory)))
    return provider.get_tracer("test"), lambda: None


@pytest.mark.parametrize("make", [of_init_telemetry, of_a_batch, of_a_simple_processor])
def test_what_the_sdk_records_of_an_exception_shows_nothing_that_its_frames_know_as_private(make):
    memory = InMemorySpanExporter()
    tracer, finish = make(memory)
    failing_span(tracer)
    finish()
    (span,) = memory.get_finished_spans()
    assert SECRET not in span.to_json()
    (attempt, event) = span.events
    assert event.attributes["exception.message"] == "no login with [REDACTED:password]"
    assert "no login with [REDACTED:password]" in event.attributes["exception.stacktrace"]
    assert span.status.description == "ValueError: no login with [REDACTED:password]"
    assert attempt.attributes["all"] == ("[REDACTED:password]", "x")
    assert span.attributes["note"] == "as usual"


def test_the_spans_around_it_and_coroutines_are_covered():
    memory = InMemorySpanExporter()
    tracer, finish = of_init_telemetry(memory)

    async def work():
        with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
            await asyncio.sleep(0)
            settings = {"api_key": SECRET}
            raise LookupError(f"not {settings['api_key']}")

    with pytest.raises(LookupError):
        asyncio.run(work())
    finish()
    assert [span.name for span in memory.get_finished_spans()] == ["inner", "outer"]
    assert SECRET not in "".join(span.to_json() for span in memory.get_finished_spans())


def test_names_of_a_redactor_of_ones_own_count():
    memory = InMemorySpanExporter()
    tracer, finish = of_init_telemetry(memory, redact=Redactor(keys={"membership": "member"}))
    with suppress(ValueError), tracer.start_as_current_span("span"):
        membership = "gold-4711"
        raise ValueError(f"of {membership}")
    finish()
    assert memory.get_finished_spans()[0].events[0].attributes["exception.message"] == "of [REDACTED:member]"


@pytest.mark.parametrize("redact", [False, lambda value: value])
def test_without_a_redactor_nothing_is_noted(redact):
    memory = InMemorySpanExporter()
    tracer, finish = of_init_telemetry(memory, redact=redact)
    failing_span(tracer)
    finish()
    assert SECRET in memory.get_finished_spans()[0].to_json()


def test_a_search_that_fails_loses_no_span():
    class Broken(Redactor):
        def secrets(self, exc):
            raise RuntimeError("broken")

    memory = InMemorySpanExporter()
    tracer, finish = of_init_telemetry(memory, redact=Broken())
    failing_span(tracer)
    finish()
    assert memory.get_finished_spans()[0].name == "login"


def test_a_span_without_events_or_exceptions_is_not_searched():
    searched = []

    class Watched(Redactor):
        def secrets(self, exc):
            searched.append(exc)
            return {}

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(FrameSecretsProcessor(Watched()))
    tracer = provider.get_tracer("test")
    tracer.start_span("plain").end()
    span = tracer.start_span("with an event")
    span.add_event("event")
    span.end()
    try:
        raise ValueError
    except ValueError:
        tracer.start_span("without an event").end()
    assert searched == []
    assert secrets_near(span, Watched()) == {}
