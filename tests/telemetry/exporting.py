"""Exporters that remember what they were given."""

from __future__ import annotations

import threading

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asgi_infra.telemetry import (
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
