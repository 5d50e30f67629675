from __future__ import annotations

import sys
import threading
import time

import pytest
from exporting import Memory, MetricMemory, make_span
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from asgi_infra.errors import ConfigurationError, InfrastructureError, MissingExtraError, TelemetryError
from asgi_infra.telemetry import (
    get_telemetry,
    init_telemetry,
    reset_telemetry_for_tests,
    shutdown_telemetry,
)

# ---- once ------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=20)
configurations = st.fixed_dictionaries(
    {},
    optional={
        "service": texts,
        "version": texts,
        "environment": st.sampled_from(["production", "test"]),
        "attributes": st.dictionaries(texts, st.one_of(texts, st.integers(0, 9), st.booleans()), max_size=3),
        "sampler": st.one_of(st.sampled_from(["always_on", "traceidratio"]), st.floats(0, 1)),
        "redact": st.booleans(),
        "max_queue_size": st.integers(512, 4096),
        "schedule_delay": st.floats(1, 100),
        "headers": st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.just("value")),
        "endpoint": st.just("http://collector.example.org:4318"),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=configurations, other=configurations, threads=st.integers(2, 8))
def test_property_11_initialisation_is_idempotent_whatever_races(arguments, other, threads):
    reset_telemetry_for_tests()
    arguments = {"exporters": "none", **arguments}
    barrier = threading.Barrier(threads)
    results = []

    def start():
        barrier.wait()
        results.append(init_telemetry(**arguments))

    racers = [threading.Thread(target=start) for _ in range(threads)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    first = get_telemetry()
    assert first is not None
    assert len(results) == threads
    assert all(result is first for result in results)
    assert init_telemetry(**arguments) is first
    assert init_telemetry(**arguments, replace=True) is first
    provider = trace.get_tracer_provider()

    different = {"exporters": "none", **other, "version": f"{arguments.get('version')}-other"}
    with pytest.raises(TelemetryError, match=r"other settings for .*version"):
        init_telemetry(**different)
    assert get_telemetry() is first
    second = init_telemetry(**different, replace=True)
    assert second is not first
    assert get_telemetry() is second is init_telemetry(**different)
    assert trace.get_tracer_provider() is provider
    assert (first.status, second.status) == ("stopped", "running")


def test_property_11_initialisation_is_idempotent_racing_configurations_have_one_winner():
    barrier = threading.Barrier(6)
    won, lost = [], []

    def start(number):
        barrier.wait()
        try:
            won.append(init_telemetry(service=f"service-{number % 2}", exporters="none"))
        except TelemetryError as exc:
            lost.append(exc)

    racers = [threading.Thread(target=start, args=(number,)) for number in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert (len(won), len(lost)) == (3, 3)
    assert set(won) == {get_telemetry()}


def test_spans_reach_the_exporter_with_the_resource():
    memory = Memory()
    telemetry = init_telemetry(
        service="shop", version="1.4.0", environment="test", attributes={"team": "checkout"}, exporters=[memory]
    )
    make_span("work")
    assert telemetry.flush()
    (span,) = memory.get_finished_spans()
    assert span.name == "work"
    expected = {
        "service.name": "shop",
        "service.version": "1.4.0",
        "deployment.environment.name": "test",
        "team": "checkout",
    }
    assert expected.items() <= span.resource.attributes.items()
    assert telemetry.stats()["spans_exported"] == 1
    assert telemetry.status == "running"
    assert "shop" in repr(telemetry)


def test_an_exporter_object_alone_needs_no_list():
    memory = Memory()
    init_telemetry(exporters=memory)
    make_span()
    shutdown_telemetry()
    assert memory.names == ["span"]


def test_tracers_from_before_the_start_come_to_life():
    tracer = trace.get_tracer("library")
    tracer.start_span("too early").end()
    memory = Memory()
    init_telemetry(exporters=[memory])
    with tracer.start_as_current_span("in time"):
        pass
    shutdown_telemetry()
    assert memory.names == ["in time"]


# ---- all or nothing --------------------------------------------------------------------------------------------


def failing_exporters():
    class NotAnExporter:
        pass

    return [
        ([NotAnExporter()], None, ConfigurationError),
        (["none"], [NotAnExporter()], ConfigurationError),
        ("otlp", [BrokenMetricExporter()], TelemetryError),
    ]


class BrokenMetricExporter(MetricMemory):
    @property
    def _preferred_temporality(self):
        raise RuntimeError("secret-in-a-message")

    @_preferred_temporality.setter
    def _preferred_temporality(self, value):
        pass


@pytest.mark.parametrize(("exporters", "metric_exporters", "error"), failing_exporters())
def test_a_start_that_fails_leaves_the_process_as_it_was(exporters, metric_exporters, error):
    before = set(threading.enumerate())
    with pytest.raises(error) as caught:
        init_telemetry(exporters=exporters, metric_exporters=metric_exporters)
    assert isinstance(caught.value, InfrastructureError)
    assert "secret-in-a-message" not in str(caught.value)
    assert get_telemetry() is None
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
    assert set(threading.enumerate()) == before


def test_what_an_exporter_raised_is_the_cause():
    with pytest.raises(TelemetryError, match="raised RuntimeError; nothing has been changed") as caught:
        init_telemetry(exporters="none", metric_exporters=[BrokenMetricExporter()])
    assert str(caught.value.__cause__) == "secret-in-a-message"


def test_a_replacement_that_fails_leaves_the_old_telemetry_running():
    memory = Memory()
    first = init_telemetry(exporters=[memory])
    with pytest.raises(TelemetryError):
        init_telemetry(exporters=[memory], metric_exporters=[BrokenMetricExporter()], replace=True)
    assert get_telemetry() is first
    make_span()
    assert first.flush()
    assert memory.names == ["span"]
    assert not memory.closed


def test_a_missing_exporter_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'asgi-infra\[otel\]'"):
        init_telemetry(exporters="otlp")
    assert get_telemetry() is None


# ---- replacing -------------------------------------------------------------------------------------------------


def test_replacing_flushes_the_old_and_moves_every_tracer_to_the_new():
    old, new = Memory(), Memory()
    init_telemetry(exporters=[old], service="old")
    tracer = trace.get_tracer("library")
    tracer.start_span("first").end()
    init_telemetry(exporters=[new], service="new", replace=True)
    assert old.names == ["first"]
    assert old.closed == 1
    tracer.start_span("second").end()
    make_span("third")
    shutdown_telemetry()
    assert old.names == ["first"]
    assert new.names == ["second", "third"]
    assert {span.resource.attributes["service.name"] for span in new.get_finished_spans()} == {"new"}


def test_an_exporter_that_both_configurations_use_stays_open():
    class Processor(SpanProcessor):
        ended = 0
        closed = 0

        def on_end(self, span):
            self.ended += 1

        def shutdown(self):
            self.closed += 1

    memory, metric_memory, processor = Memory(), MetricMemory(), Processor()
    shared = {"exporters": [memory, processor], "metric_exporters": [metric_memory]}
    init_telemetry(**shared, service="old")
    make_span("first")
    init_telemetry(**shared, service="new", replace=True)
    make_span("second")
    assert (memory.closed, metric_memory.closed, processor.closed) == (0, 0, 0)
    shutdown_telemetry()
    assert (memory.closed, metric_memory.closed, processor.closed) == (1, 1, 1)
    assert memory.names == ["first", "second"]
    assert processor.ended == 2


# ---- adopting --------------------------------------------------------------------------------------------------


def test_a_provider_of_somebody_else_is_adopted_and_not_shut_down(spans):
    foreign = trace.get_tracer_provider()
    ours = Memory()
    telemetry = init_telemetry(exporters=[ours])
    assert telemetry.status == "adopted"
    assert trace.get_tracer_provider() is foreign
    make_span("work")
    assert telemetry.flush()
    assert spans.names == ["work"]
    assert shutdown_telemetry()
    make_span("later")
    assert spans.names == ["work", "later"]
    assert ours.names == []


def test_a_provider_that_is_set_while_we_build_is_adopted_too(monkeypatch):
    from asgi_infra.telemetry.build import Pipeline

    foreign = TracerProvider(shutdown_on_exit=False)
    start = Pipeline.__init__

    def slow(self, *args, **kwargs):
        start(self, *args, **kwargs)
        trace.set_tracer_provider(foreign)

    monkeypatch.setattr(Pipeline, "__init__", slow)
    telemetry = init_telemetry(exporters="none")
    assert telemetry.status == "adopted"
    assert trace.get_tracer_provider() is foreign


def test_an_adopted_provider_that_hangs_keeps_nobody_waiting(spans):
    release = threading.Event()

    class Hanging(SpanProcessor):
        def force_flush(self, timeout_millis=30_000):
            return release.wait(30)

    trace.get_tracer_provider().add_span_processor(Hanging())
    telemetry = init_telemetry()
    started = time.monotonic()
    assert telemetry.flush(0.05) is False
    assert shutdown_telemetry(0.05) is False
    assert time.monotonic() - started < 20
    release.set()


def test_a_provider_of_the_bare_api_is_adopted():
    trace.set_tracer_provider(trace.NoOpTracerProvider())
    telemetry = init_telemetry(exporters="none")
    assert telemetry.status == "adopted"
    assert telemetry.flush()


def test_a_meter_provider_of_somebody_else_is_left_in_place():
    foreign = metrics.NoOpMeterProvider()
    metrics.set_meter_provider(foreign)
    memory = MetricMemory()
    init_telemetry(exporters="none", metric_exporters=[memory])
    assert metrics.get_meter_provider() is foreign
    shutdown_telemetry()
    assert memory.exports == []
