from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
import time

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from asgi_infra.errors import ConfigurationError, InfrastructureError, MissingExtraError, TelemetryError
from asgi_infra.telemetry import (
    flush_telemetry,
    get_telemetry,
    init_telemetry,
    reset_telemetry_for_tests,
    shutdown_telemetry,
    traced,
)


class Memory(InMemorySpanExporter):
    """Keeps spans, and knows whether it was closed."""

    closed = 0

    def shutdown(self):
        self.closed += 1
        super().shutdown()

    @property
    def names(self):
        return [span.name for span in self.get_finished_spans()]


class MetricMemory(MetricExporter):
    def __init__(self):
        super().__init__()
        self.exports = []
        self.closed = 0

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        self.exports.append(
            {
                metric.name: [getattr(point, "value", None) or point.sum for point in metric.data.data_points]
                for resource in metrics_data.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            }
        )
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.closed += 1


def make_span(name="span"):
    traced(name)(lambda: None)()


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("asgi-infra-")]


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


# ---- metrics ---------------------------------------------------------------------------------------------------


def test_metrics_are_exported_and_survive_a_replacement():
    first, second = MetricMemory(), MetricMemory()
    meter = metrics.get_meter("library")
    early = meter.create_counter("early")
    telemetry = init_telemetry(exporters="none", metric_exporters=[first])
    late = metrics.get_meter("library")
    instruments = {
        "counter": late.create_counter("counter").add,
        "up_down": late.create_up_down_counter("up_down").add,
        "histogram": late.create_histogram("histogram", explicit_bucket_boundaries_advisory=[1, 2]).record,
        "gauge": late.create_gauge("gauge").set,
    }
    late.create_observable_counter("seen", callbacks=[lambda _: [metrics.Observation(7)]])
    late.create_observable_up_down_counter("held", callbacks=[lambda _: [metrics.Observation(8)]])
    late.create_observable_gauge("level", callbacks=[lambda _: [metrics.Observation(9)]])
    early.add(1)
    for measure in instruments.values():
        measure(2, {"key": "value"})
    assert telemetry.flush()
    got = first.exports[-1]
    assert (got["early"], got["counter"], got["up_down"], got["gauge"]) == ([1], [2], [2], [2])
    assert got["histogram"] == [2]
    assert (got["seen"], got["held"], got["level"]) == ([7], [8], [9])

    init_telemetry(exporters="none", metric_exporters=[second], replace=True)
    instruments["counter"](5)
    assert late.create_counter("counter") is late.create_counter("counter")
    shutdown_telemetry()
    assert second.exports[-1]["counter"] == [5]
    assert second.exports[-1]["seen"] == [7]
    assert (first.closed, second.closed) == (1, 1)
    instruments["counter"](1)
    assert len(second.exports) == 1


def test_metrics_are_exported_in_intervals():
    memory = MetricMemory()
    init_telemetry(exporters="none", metric_exporters=[memory], metric_interval=0.01)
    metrics.get_meter("library").create_counter("counter").add(1)
    deadline = time.monotonic() + 20
    while not memory.exports and time.monotonic() < deadline:
        time.sleep(0.01)
    assert memory.exports[0]["counter"] == [1]


# ---- flush and shutdown ----------------------------------------------------------------------------------------


class Hanging(SpanExporter):
    """An exporter whose receiver takes the spans and never answers."""

    def __init__(self):
        self.release = threading.Event()
        self.entered = threading.Event()

    def export(self, spans):
        self.entered.set()
        self.release.wait(30)
        return SpanExportResult.SUCCESS


def test_one_deadline_holds_for_all_signals():
    hanging = [Hanging() for _ in range(3)]
    metric_memory = MetricMemory()
    telemetry = init_telemetry(exporters=hanging, metric_exporters=[metric_memory])
    metrics.get_meter("library").create_counter("counter").add(1)
    make_span()
    started = time.monotonic()
    assert telemetry.flush(0.1) is False
    assert metric_memory.exports, "the healthy signal went out while the others hung"
    assert shutdown_telemetry(0.1) is False
    assert time.monotonic() - started < 15
    for exporter in hanging:
        exporter.release.set()


def test_spans_that_are_left_after_the_deadline_count_as_dropped():
    hanging = Hanging()
    telemetry = init_telemetry(exporters=[hanging], max_batch_size=1, max_queue_size=10)
    for _ in range(3):
        make_span()
    assert hanging.entered.wait(20)
    assert shutdown_telemetry(0.05) is False
    hanging.release.set()
    for thread in our_threads():
        thread.join(20)
    stats = telemetry.stats()
    assert stats["spans_exported"] == 1
    assert stats["spans_dropped"] == 2


def test_a_full_queue_turns_spans_away_and_counts_them():
    hanging = Hanging()
    telemetry = init_telemetry(exporters=[hanging], max_queue_size=5, max_batch_size=5)
    for _ in range(5):
        make_span()
    assert hanging.entered.wait(20)
    for _ in range(9):
        make_span()
    assert telemetry.stats()["spans_dropped"] == 4
    hanging.release.set()
    assert shutdown_telemetry(20)
    assert telemetry.stats()["spans_exported"] == 10


def test_an_exporter_that_raises_or_refuses_is_counted_and_the_next_one_is_served(caplog):
    class Failing(SpanExporter):
        def export(self, spans):
            raise OSError("no route")

    class Refusing(SpanExporter):
        def export(self, spans):
            return SpanExportResult.FAILURE

    memory = Memory()
    telemetry = init_telemetry(exporters=[Failing(), Refusing(), memory])
    make_span()
    assert telemetry.flush()
    assert telemetry.stats()["spans_failed"] == 2
    assert memory.names == ["span"]
    make_span("again")
    shutdown_telemetry()
    assert memory.names == ["span", "again"]


def test_a_foreign_processor_that_hangs_keeps_nobody_waiting():
    release = threading.Event()

    class Stuck(SpanProcessor):
        def force_flush(self, timeout_millis=30_000):
            return release.wait(30)

        def shutdown(self):
            release.wait(30)

    telemetry = init_telemetry(exporters=[Stuck()])
    started = time.monotonic()
    assert telemetry.flush(0.05) is False
    assert shutdown_telemetry(0.05) is False
    assert time.monotonic() - started < 15
    release.set()


def test_after_the_shutdown_nothing_is_collected_and_a_new_start_works():
    memory = Memory()
    first = init_telemetry(exporters=[memory])
    tracer = trace.get_tracer("library")
    assert shutdown_telemetry()
    assert get_telemetry() is None
    assert first.status == "stopped"
    tracer.start_span("late").end()
    assert shutdown_telemetry()
    assert memory.names == []
    again = Memory()
    assert init_telemetry(exporters=[again]) is not first
    tracer.start_span("again").end()
    shutdown_telemetry()
    assert again.names == ["again"]
    assert our_threads() == []


def test_flushing_what_has_stopped_is_done_at_once():
    telemetry = init_telemetry(exporters=[Memory()], metric_exporters=[MetricMemory()])
    make_span()
    shutdown_telemetry()
    started = time.monotonic()
    assert telemetry.flush(60)
    assert time.monotonic() - started < 30


def test_a_span_that_outlives_its_telemetry_counts_as_dropped():
    telemetry = init_telemetry(exporters=[Memory()])
    span = trace.get_tracer("library").start_span("slow")
    shutdown_telemetry()
    span.end()
    assert telemetry.stats()["spans_dropped"] == 1


def test_unsampled_spans_are_not_exported():
    memory = Memory()
    init_telemetry(exporters=[memory], sampler=ALWAYS_OFF)
    make_span()
    shutdown_telemetry()
    assert memory.names == []


@pytest.mark.anyio
async def test_the_asynchronous_flush_does_not_block_the_loop():
    hanging = Hanging()
    init_telemetry(exporters=[hanging])
    make_span()
    results = []

    async def flush():
        results.append(await flush_telemetry(20))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(flush)
            while not hanging.entered.is_set():  # noqa: ASYNC110 - set by a thread
                await anyio.sleep(0.001)
            hanging.release.set()
    assert results == [True]


@pytest.mark.anyio
async def test_the_asynchronous_flush_can_be_cancelled_and_times_out():
    hanging = Hanging()
    init_telemetry(exporters=[hanging])
    make_span()
    assert await flush_telemetry(0.01) is False
    with anyio.move_on_after(0.01) as scope:
        await flush_telemetry(20)
    assert scope.cancelled_caught
    hanging.release.set()


@pytest.mark.anyio
async def test_the_asynchronous_flush_without_telemetry_is_done():
    assert await flush_telemetry()


def test_flushing_from_within_an_exporter_does_not_wait_for_itself():
    answers = []

    class Reentrant(Memory):
        def export(self, spans):
            answers.append(get_telemetry().flush(20))
            return super().export(spans)

    telemetry = init_telemetry(exporters=[Reentrant()])
    make_span()
    assert telemetry.flush(20)
    assert answers[0] is False


def test_exports_are_not_traced_themselves():
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

    class Asking(Memory):
        suppressed = None

        def export(self, spans):
            self.suppressed = get_value(_SUPPRESS_INSTRUMENTATION_KEY)
            return super().export(spans)

    exporter = Asking()
    init_telemetry(exporters=[exporter])
    make_span()
    shutdown_telemetry()
    assert exporter.suppressed is True


def test_a_shutdown_while_another_thread_starts_telemetry_gives_up_at_its_deadline(monkeypatch):
    from asgi_infra.telemetry import provider

    monkeypatch.setattr(provider, "_lock", threading.Lock())
    with provider._lock:
        assert shutdown_telemetry(0.01) is False


def test_where_no_thread_can_be_started_spans_are_kept_and_exported_at_the_end(monkeypatch):
    memory = Memory()
    init_telemetry(exporters=[memory])

    def refuse(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    make_span()
    assert shutdown_telemetry()
    assert memory.names == ["span"]


# ---- without the SDK, disabled, from the environment -----------------------------------------------------------


def test_without_the_sdk_everything_is_a_no_op_and_says_so_once():
    script = """
        import logging, sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Blocker())
        logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
        import asyncio
        from asgi_infra.telemetry import *
        telemetry = init_telemetry(service="shop")
        assert telemetry is init_telemetry(service="shop") is get_telemetry()
        assert telemetry.status == "unavailable"
        assert init_telemetry(service="other", replace=True).status == "unavailable"
        assert traced(lambda: 5)() == 5
        assert asyncio.run(flush_telemetry())
        assert telemetry.stats() == {}
        assert shutdown_telemetry()
        init_telemetry()
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(
        "asgi_infra.telemetry WARNING telemetry collects nothing: No module named 'opentelemetry.sdk"
    )
    assert "pip install 'asgi-infra[otel]'" in lines[0]


def test_importing_the_package_loads_no_sdk_and_starts_nothing():
    script = (
        "import sys, threading, asgi_infra.telemetry;"
        "assert not any(name.startswith('opentelemetry.sdk') for name in sys.modules);"
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_otel_sdk_disabled_disables_and_sets_nothing(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    memory = Memory()
    assert init_telemetry(exporters=[memory]).status == "disabled"
    make_span()
    assert shutdown_telemetry()
    assert memory.names == []
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_the_console_exporter_writes_spans_to_standard_output(capsys):
    init_telemetry(exporters="console", metric_exporters="console", service="shop")
    make_span("shown")
    metrics.get_meter("library").create_counter("counted").add(1)
    shutdown_telemetry()
    output = capsys.readouterr().out
    assert '"name": "shown"' in output
    assert '"name": "counted"' in output


def test_reset_for_tests_says_it_again(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "asgi_infra.telemetry.build", None)
    with caplog.at_level(logging.WARNING, "asgi_infra.telemetry"):
        init_telemetry()
        shutdown_telemetry()
        init_telemetry()
        assert len(caplog.records) == 1
        reset_telemetry_for_tests()
        init_telemetry()
    assert len(caplog.records) == 2
