"""Ended spans, queued and exported in batches by a background thread."""

from __future__ import annotations

import os
import threading
from collections import deque
from time import time_ns
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult

from asgi_infra import faults
from asgi_infra.telemetry.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter


class BatchSpanProcessor(SpanProcessor):
    """A span processor whose queue is bounded and counted, and whose timeouts hold.

    It does the work of the SDK's processor of that name, and differs where that one lets a process down: `force_flush`
    and `shutdown` return by their timeout even when the receiver hangs, what was turned away is counted, and a forked
    child neither repeats its parent's spans nor shares its connection.

    Args:
        make_exporter: Makes the exporter: now, and again in a forked child before its first export.
        max_queue_size: Spans that wait at most; those that end while the queue is full are dropped and counted.
        max_batch_size: Spans in one export at most.
        schedule_delay: Seconds that a span waits at most, unless a full batch is there earlier.

    Attributes:
        exported: Spans that the exporter has taken, in this process.
        failed: Spans that it has not.
        dropped: Spans that were never given to it: the queue was full, or it was too late.
        keep_open: Whether the exporter is left open at the end, because somebody else goes on with it.
    """

    def __init__(
        self,
        make_exporter: Callable[[], SpanExporter],
        *,
        max_queue_size: int = 2048,
        max_batch_size: int = 512,
        schedule_delay: float = 5.0,
    ) -> None:
        self.keep_open = False
        self._make_exporter = make_exporter
        self._exporter = make_exporter()
        self._exporter_pid = os.getpid()
        self._max_queue_size = max_queue_size
        self._max_batch_size = max_batch_size
        self.worker = Worker("asgi-infra-spans", self._drain, self.close, interval=schedule_delay)
        self._since = 0
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._queue: deque[ReadableSpan] = deque()
        # Reentrant, because a garbage collection or a signal handler may end a span while it is held.
        self._counting = threading.RLock()
        self.exported = self.failed = self.dropped = 0

    def after_fork(self) -> None:
        """Start afresh in a forked child: the parent exports what it had queued."""
        self.worker.reset()
        self._reset()
        self._since = time_ns()

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span; never blocks."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        if self._pid != os.getpid():  # servers that fork in C run no fork hooks
            self.after_fork()
        if span.start_time is not None and span.start_time < self._since:
            return  # it began before the fork, and ends in the parent, too
        worker, queue = self.worker, self._queue
        if worker.stopping or len(queue) >= self._max_queue_size:
            with self._counting:
                self.dropped += 1
            return
        queue.append(span)
        if not worker.started:
            worker.ensure()
        if len(queue) >= self._max_batch_size:
            worker.wake()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what is queued; return `False` when the timeout, in milliseconds, came first."""
        return self.worker.wait(self.worker.request(), timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Export what is queued and close the exporter; spans that end later, or are left over, count as dropped."""
        self.worker.stop(timeout_millis / 1000)

    def close(self) -> None:
        """Close the exporter, unless it is the parent's or goes on to be used."""
        if self._exporter_pid == os.getpid() and not self.keep_open:
            self._exporter.shutdown()

    def _drain(self) -> None:
        if self._pid != os.getpid():
            self._reset()
        queue = self._queue
        waiting = len(queue)
        while waiting > 0:
            batch = [queue.popleft() for _ in range(min(waiting, self._max_batch_size))]
            waiting -= len(batch)
            outcome = "dropped" if self.worker.abandoned else self._export(batch)
            with self._counting:
                setattr(self, outcome, getattr(self, outcome) + len(batch))

    def _export(self, batch: list[ReadableSpan]) -> str:
        try:
            if self._exporter_pid != os.getpid():
                self._exporter = self._make_exporter()
                self._exporter_pid = os.getpid()
            result = self._exporter.export(batch)
        except Exception as exc:  # noqa: BLE001 - telemetry never breaks the application
            faults.record("telemetry.export", exc)
            return "failed"
        return "exported" if result is SpanExportResult.SUCCESS else "failed"
