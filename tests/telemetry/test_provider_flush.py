"""Flushing and shutting down within a deadline, whatever exporters do."""

from __future__ import annotations

import threading
import time

import anyio
import pytest
from exporting import Memory, MetricMemory, make_span, our_threads
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from asgi_infra.telemetry import (
    flush_telemetry,
    get_telemetry,
    init_telemetry,
    shutdown_telemetry,
)


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
