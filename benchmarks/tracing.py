"""The three conditions that traces are measured under, with the same provider for every variant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

Condition: TypeAlias = Literal["sampled", "sampled out", "no SDK"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)

_QUEUE = 1 << 16
_NEVER_MS = 24 * 3600 * 1000


class DropExporter(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Tracing:
    """One variant's tracer provider; `provider` is `None` where no SDK is set up.

    The batch processor's thread sleeps while requests are measured: its queue holds a whole batch of them, and
    `flush` empties it between batches. In `serve`, for a real server, it works as users have it.
    """

    def __init__(self, condition: Condition) -> None:
        self.provider = None if condition == "no SDK" else _provider(condition, _sleeping_processor())

    @classmethod
    def serve(cls) -> Tracing:
        tracing = cls("no SDK")
        tracing.provider = _provider("sampled", BatchSpanProcessor(DropExporter()))
        return tracing

    def flush(self) -> None:
        if self.provider is not None:
            self.provider.force_flush()

    def close(self) -> None:
        if self.provider is not None:
            self.provider.shutdown()


def _sleeping_processor() -> SpanProcessor:
    return BatchSpanProcessor(
        DropExporter(), max_queue_size=_QUEUE, max_export_batch_size=_QUEUE, schedule_delay_millis=_NEVER_MS
    )


def _provider(condition: Condition, processor: SpanProcessor) -> TracerProvider:
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON if condition == "sampled" else TraceIdRatioBased(0)),
        resource=Resource({"service.name": "shop"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return provider
