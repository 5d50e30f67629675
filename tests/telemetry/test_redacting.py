from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from asgi_infra.telemetry import traced
from asgi_infra.telemetry.redacting import RedactingSpanExporter
from asgi_infra.telemetry.scrub import MAX_TEXT, bounded, scrub_attributes, scrub_text

SECRETS = ("ada@example.org", "hunter2", "4111111111111111", "AKIAIOSFODNN7EXAMPLE")
OTHER = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))


@pytest.fixture
def export():
    return make_export()


def make_export(**options):
    """A function that exports one span through the redacting exporter, and returns the span and what came out."""
    memory = InMemorySpanExporter()
    resource = options.pop("resource", Resource({"service.name": "shop"}))
    limits = options.pop("limits", None)
    provider = TracerProvider(shutdown_on_exit=False, resource=resource, span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(RedactingSpanExporter(memory, **options)))

    def run(name="span", *, attributes=None, links=(), end=lambda span: None):
        span = provider.get_tracer("test").start_span(name, attributes=attributes, links=links, kind=SpanKind.SERVER)
        end(span)
        span.end()
        return span, memory.get_finished_spans()[-1]

    return run


def plant_everywhere(export, secret):
    def end(span):
        span.add_event(f"event {secret}", {"note": f"an event of {secret}", "password": secret})
        span.set_status(Status(StatusCode.ERROR, f"failed for {secret}"))
        span.record_exception(ValueError(f"wrong: {secret}"))

    return export(
        f"send to {secret}",
        attributes={"note": f"about {secret}", "list": ("a", f"b {secret}"), "password": secret, "count": 3},
        links=[Link(OTHER, {"note": f"linked with {secret}"})],
        end=end,
    )


@pytest.mark.parametrize("secret", ["ada@example.org", "4111111111111111", "AKIAIOSFODNN7EXAMPLE"])
def test_nothing_private_is_exported_wherever_it_stands(export, secret):
    live, exported = plant_everywhere(export, secret)
    assert secret not in exported.to_json()
    assert "[REDACTED:" in exported.name
    assert exported.attributes["count"] == 3
    assert exported.attributes["list"][0] == "a"
    assert [event.attributes is not None for event in exported.events] == [True, True]
    assert secret in live.to_json(), "the live span stays as it is"


def test_names_of_attributes_decide_too(export):
    _, exported = export(
        attributes={"password": "hunter2", "http.request.header.authorization": ("Basic aHVudGVyMg==",)}
    )
    assert "hunter2" not in exported.to_json()
    assert "aHVudGVyMg" not in exported.to_json()


def test_the_resource_is_redacted_once_and_not_for_every_span():
    seen = []

    def redact(value):
        seen.append(value)
        return value

    run = make_export(resource=Resource({"owner": "ada"}), redact=redact)
    first, second = run()[1], run()[1]
    assert first.resource is second.resource
    assert seen.count({"owner": "ada"}) == 1


def test_everything_else_is_kept():
    run = make_export(redact=lambda value: value, limits=SpanLimits(max_attributes=1, max_events=1, max_links=1))
    live, exported = run(
        "name",
        attributes={"a": 1, "b": 2},
        links=[Link(OTHER), Link(OTHER)],
        end=lambda span: [span.add_event("one", {"x": 1}), span.add_event("two", {"x": 2})],
    )
    for field in (
        "name",
        "context",
        "parent",
        "kind",
        "start_time",
        "end_time",
        "instrumentation_scope",
        "status",
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
    ):
        assert getattr(exported, field) == getattr(live, field), field
    assert dict(exported.attributes) == dict(live.attributes)
    assert exported.links[0].context == OTHER
    assert exported.links[0].dropped_attributes == 0
    assert [(event.name, event.timestamp, event.dropped_attributes) for event in exported.events] == [
        (event.name, event.timestamp, event.dropped_attributes) for event in live.events
    ]
    assert exported.resource.attributes == live.resource.attributes


def test_a_redactor_that_raises_withholds_everything_it_was_given():
    def redact(value):
        raise RuntimeError("broken")

    _, exported = plant_everywhere(make_export(redact=redact), "hunter2")
    assert "hunter2" not in exported.to_json()
    assert exported.name == "[REDACTED:error]"
    assert set(exported.attributes.values()) == {"[REDACTED:error]"}


def test_flush_and_shutdown_reach_the_exporter():
    class Inner(SpanExporter):
        calls = ()

        def export(self, spans):
            return SpanExportResult.FAILURE

        def force_flush(self, timeout_millis=30_000):
            self.calls += (timeout_millis,)
            return False

        def shutdown(self):
            self.calls += ("shutdown",)

    inner = Inner()
    exporter = RedactingSpanExporter(inner)
    assert exporter.export([]) is SpanExportResult.FAILURE
    assert exporter.force_flush(7) is False
    exporter.shutdown()
    assert inner.calls == (7, "shutdown")


def test_traced_redacts_messages_stacks_and_arguments_by_default(spans):
    @traced("login", record=("user", "password", "card"))
    def login(user, password, card):
        raise PermissionError(f"no {user} with card {card}")

    with pytest.raises(PermissionError, match=r"no ada@example\.org with card 4111111111111111"):
        login("ada@example.org", "hunter2", "4111111111111111")
    exported = spans.one.to_json()
    for secret in SECRETS:
        assert secret not in exported
    assert "[REDACTED:email]" in spans.one.status.description
    assert "[REDACTED:email]" in spans.one.events[0].attributes["exception.message"]
    assert "[REDACTED:email]" in spans.one.events[0].attributes["exception.stacktrace"]
    assert spans.one.attributes["argument.user"] == "[REDACTED:email]"


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=10,
)


@given(attributes=st.dictionaries(st.text(min_size=1, max_size=10), values, max_size=5))
def test_attributes_always_come_out_as_types_that_opentelemetry_takes(attributes):
    for redact in (None, lambda value: value):
        for value in scrub_attributes(attributes, redact).values():
            items = value if isinstance(value, tuple) else (value,)
            assert len({type(item) for item in items}) <= 1
            assert all(type(item) in {str, bool, int, float} for item in items)


def test_long_texts_keep_their_end_and_say_what_is_missing():
    text = "a" * MAX_TEXT + "the end"
    assert bounded(text).endswith("the end")
    assert bounded(text).startswith("[7 characters left out]")
    assert bounded("short") == "short"
    assert scrub_text("short", lambda value: 5) == "5"
