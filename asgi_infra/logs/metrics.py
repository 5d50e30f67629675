"""What became of log lines, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from asgi_infra.logs.setup import get_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric


class LoggingCollector(Collector):
    """Shows `asgi_infra_log_lines_lost_total`, by `reason` (`queue_full`, `write_failed`), and the bytes that wait.

    The figures are those of the present set-up; a new one starts at zero, as a new process would.

    Example:
        >>> prometheus_client.REGISTRY.register(LoggingCollector())
    """

    def collect(self) -> Iterator[Metric]:
        """Yield the families as they are now."""
        setup = get_logging()
        stats = {} if setup is None else setup.stats()
        lost = CounterMetricFamily("asgi_infra_log_lines_lost", "Log lines that were not written.", labels=["reason"])
        for reason in ("queue_full", "write_failed"):
            lost.add_metric([reason], stats.get(f"lost_{reason}", 0))
        yield lost
        queued = GaugeMetricFamily("asgi_infra_log_queue_bytes", "Bytes of log lines that wait to be written.")
        queued.add_metric([], stats.get("queued_bytes", 0))
        yield queued
