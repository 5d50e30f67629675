"""Metrics collected in intervals and exported, with timeouts that hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import MetricExportResult, MetricReader

from asgi_infra.telemetry.worker import Worker

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData


class IntervalMetricReader(MetricReader):
    """Collects and exports every `interval` seconds, on request, and a last time at the end.

    It does the work of the SDK's periodic reader, but its flush and shutdown return by their timeout even when the
    receiver hangs. It is of no use after a fork: what it has counted is the parent's, so the child builds another one.

    Args:
        exporter: What sends the metrics; its preferences for temporality and aggregation are honoured.
        interval: Seconds between two exports.

    Attributes:
        exported: Exports that succeeded.
        failed: Exports that did not.
        keep_open: Whether the exporter is left open at the end, because somebody else goes on with it.
    """

    def __init__(self, exporter: MetricExporter, *, interval: float) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,
            preferred_aggregation=exporter._preferred_aggregation,
        )
        self.keep_open = False
        self._exporter = exporter
        self.exported = self.failed = 0
        self.worker = Worker("asgi-infra-metrics", self.collect, self.close, interval=interval)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: object) -> None:
        if self.worker.abandoned:
            return
        succeeded = False
        try:
            succeeded = self._exporter.export(metrics_data, timeout_millis) is MetricExportResult.SUCCESS
        finally:
            self.exported += succeeded
            self.failed += not succeeded

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Collect and export now; return `False` when the timeout, in milliseconds, came first."""
        return self.worker.wait(self.worker.request(), timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:
        """Collect and export for the last time, and close the exporter."""
        self.worker.stop(timeout_millis / 1000)

    def close(self) -> None:
        """Close the exporter, unless it goes on to be used."""
        if not self.keep_open:
            self._exporter.shutdown()
