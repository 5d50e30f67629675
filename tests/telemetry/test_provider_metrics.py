"""The meter provider that telemetry starts."""

from __future__ import annotations

import time

from exporting import MetricMemory
from opentelemetry import metrics

from asgi_infra.telemetry import (
    init_telemetry,
    shutdown_telemetry,
)


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
