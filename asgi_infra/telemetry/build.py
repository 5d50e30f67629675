"""The parts of the SDK, put together from a configuration; imported only once the SDK is wanted."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from asgi_infra.errors import ConfigurationError, MissingExtraError
from asgi_infra.telemetry.batch import BatchSpanProcessor
from asgi_infra.telemetry.frames import FrameSecretsProcessor
from asgi_infra.telemetry.metrics import IntervalMetricReader
from asgi_infra.telemetry.redacting import RedactingSpanExporter
from asgi_infra.telemetry.worker import call_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.telemetry.config import TelemetryConfig

_CONSOLE_DELAY = 0.5
# What the first export imports. A fork in the middle of an import leaves the module locked in the child for ever.
_EXPORT_IMPORTS = ("encodings.idna", "netrc")
_OTLP_PACKAGE = "opentelemetry.exporter.otlp.proto.http"
_SAMPLERS: dict[str, sampling.Sampler] = {
    "always_on": sampling.ALWAYS_ON,
    "always_off": sampling.ALWAYS_OFF,
    "parentbased_always_on": sampling.DEFAULT_ON,
    "parentbased_always_off": sampling.DEFAULT_OFF,
}


class Pipeline:
    """The signals of one configuration. Building one starts no thread and changes nothing outside of it.

    Args:
        config: What to build.
        spans: Whether to build the span part.
        metrics: Whether to build the metrics part.
    """

    def __init__(self, config: TelemetryConfig, *, spans: bool, metrics: bool) -> None:
        self._config = config
        self._exporters = config.exporters if spans else ()
        self._metric_exporters = config.metric_exporters if metrics else ()
        self.tracer_provider: TracerProvider | None = None
        self.meter_provider: MeterProvider | None = None
        with ExitStack() as undo:
            sampler, resource = _sampler(config.sampler), _resource(config)
            self._resource = resource
            self._processors = [_processor(exporter, config, undo) for exporter in self._exporters]
            self._build_metrics(undo)
            if spans:
                self.tracer_provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
                if self._processors and config.redact is not False:
                    redact = None if config.redact is True else config.redact
                    self.tracer_provider.add_span_processor(FrameSecretsProcessor(redact))
                for processor in self._processors:
                    self.tracer_provider.add_span_processor(processor)
            undo.pop_all()

    def _build_metrics(self, undo: ExitStack) -> None:
        self._readers = [_reader(exporter, self._config, undo) for exporter in self._metric_exporters]
        if self._readers:
            self.meter_provider = MeterProvider(self._readers, resource=self._resource, shutdown_on_exit=False)

    @property
    def _batches(self) -> list[BatchSpanProcessor]:
        return [processor for processor in self._processors if isinstance(processor, BatchSpanProcessor)]

    @property
    def _own(self) -> list[BatchSpanProcessor | IntervalMetricReader]:
        return [*self._batches, *self._readers]

    @property
    def _foreign(self) -> list[SpanProcessor]:
        return [processor for processor in self._processors if not isinstance(processor, BatchSpanProcessor)]

    def start(self) -> None:
        """Begin to collect metrics; spans need no start."""
        for reader in self._readers:
            reader.worker.ensure()

    def after_fork(self) -> None:
        """Give a forked child its own queues and, because what was measured is the parent's, its own meters."""
        for batch in self._batches:
            batch.after_fork()
        if self.tracer_provider is not None:
            self._resource = self.tracer_provider.resource  # the SDK has adapted it to the new process
        with ExitStack() as undo:
            self._build_metrics(undo)
            undo.pop_all()
        self.start()

    def flush(self, deadline: float) -> bool:
        """Export what there is, all signals at once, by a deadline of the monotonic clock; say whether that was all."""
        tickets = [(part.worker, part.worker.request()) for part in self._own]
        done = [worker.wait(ticket, deadline - time.monotonic()) for worker, ticket in tickets]
        done += [
            call_within(deadline - time.monotonic(), partial(processor.force_flush, milliseconds(deadline)))
            for processor in self._foreign
        ]
        return all(done)

    def shutdown(self, deadline: float, keep: tuple[Any, ...] = ()) -> bool:
        """Export what there is and close everything, all signals at once, by the same deadline.

        What is in `keep`, because the next pipeline goes on with it, is flushed and left open.
        """
        kept = {id(exporter) for exporter in keep if not isinstance(exporter, str)}
        given = zip((*self._exporters, *self._metric_exporters), (*self._processors, *self._readers), strict=True)
        for exporter, part in given:
            if id(exporter) in kept and isinstance(part, (BatchSpanProcessor, IntervalMetricReader)):
                part.keep_open = True
        for part in self._own:
            part.worker.request_stop()
        done = [part.worker.stop(deadline - time.monotonic()) for part in self._own]
        done += [
            call_within(
                deadline - time.monotonic(), processor.force_flush if id(processor) in kept else processor.shutdown
            )
            for processor in self._foreign
        ]
        return all(done)

    def stats(self) -> dict[str, int]:
        """Return how many spans and metric exports went out, failed, or were dropped."""
        return {
            "spans_exported": sum(batch.exported for batch in self._batches),
            "spans_failed": sum(batch.failed for batch in self._batches),
            "spans_dropped": sum(batch.dropped for batch in self._batches),
            "metric_exports": sum(reader.exported for reader in self._readers),
            "metric_exports_failed": sum(reader.failed for reader in self._readers),
        }


def milliseconds(deadline: float) -> int:
    """Return how long it is until a deadline of the monotonic clock."""
    return max(int((deadline - time.monotonic()) * 1000), 0)


def _resource(config: TelemetryConfig) -> Resource:
    own = {
        "service.name": config.service,
        "service.version": config.version,
        "deployment.environment.name": config.environment,
    }
    return Resource.create(dict(config.attributes) | {key: value for key, value in own.items() if value is not None})


def _sampler(value: Any) -> sampling.Sampler:
    if isinstance(value, str):
        return _SAMPLERS[value]
    if isinstance(value, float):
        return sampling.ParentBasedTraceIdRatio(value)
    if isinstance(value, tuple):
        name, ratio = value
        return sampling.TraceIdRatioBased(ratio) if name == "traceidratio" else sampling.ParentBasedTraceIdRatio(ratio)
    if isinstance(value, sampling.Sampler):
        return value
    raise ConfigurationError(
        f"sampler must be a ratio, a sampler's name or a Sampler, got an object of type {type(value).__name__}"
    )


def _processor(exporter: Any, config: TelemetryConfig, undo: ExitStack) -> SpanProcessor:
    if isinstance(exporter, SpanProcessor):
        return exporter
    make: Callable[[], SpanExporter]
    delay = config.schedule_delay
    if exporter == "otlp":
        make = partial(_otlp, "trace_exporter", "OTLPSpanExporter", "TRACES", config)
    elif exporter == "console":
        make = partial(ConsoleSpanExporter, out=sys.stdout)
        delay = min(delay, _CONSOLE_DELAY)
    elif isinstance(exporter, SpanExporter):
        make = partial(_same, exporter)
    else:
        raise ConfigurationError(
            "exporters takes names, SpanExporter and SpanProcessor objects; "
            f"got an object of type {type(exporter).__name__}"
        )
    batch = BatchSpanProcessor(
        partial(_redacting, make, config),
        max_queue_size=config.max_queue_size,
        max_batch_size=config.max_batch_size,
        schedule_delay=delay,
    )
    if isinstance(exporter, str):
        undo.callback(batch.close)
    return batch


def _same(exporter: SpanExporter) -> SpanExporter:
    return exporter


def _redacting(make: Callable[[], SpanExporter], config: TelemetryConfig) -> SpanExporter:
    exporter = make()
    if config.redact is False:
        return exporter
    return RedactingSpanExporter(exporter, None if config.redact is True else config.redact)


def _reader(exporter: Any, config: TelemetryConfig, undo: ExitStack) -> IntervalMetricReader:
    if exporter == "otlp":
        exporter = _otlp("metric_exporter", "OTLPMetricExporter", "METRICS", config)
        undo.callback(exporter.shutdown)
    elif exporter == "console":
        exporter = ConsoleMetricExporter(out=sys.stdout)
    elif not isinstance(exporter, MetricExporter):
        raise ConfigurationError(
            f"metric_exporters takes names and MetricExporter objects; got an object of type {type(exporter).__name__}"
        )
    return IntervalMetricReader(exporter, interval=config.metric_interval)


def _otlp(module: str, name: str, signal: str, config: TelemetryConfig) -> Any:
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(variable, "").strip()
        if protocol not in {"", "http/protobuf"}:
            raise ConfigurationError(
                f"{variable} must be 'http/protobuf', got {protocol[:40]!r}; for another protocol, "
                "give init_telemetry its exporter object"
            )
    try:
        exporter_class = getattr(import_module(f"{_OTLP_PACKAGE}.{module}"), name)
        for imported in _EXPORT_IMPORTS:
            import_module(imported)
    except ImportError as exc:
        raise MissingExtraError(_OTLP_PACKAGE, purpose="the otlp exporter", extra="otel") from exc
    return exporter_class(
        endpoint=None if config.endpoint is None else f"{config.endpoint}/v1/{signal.lower()}",
        headers=dict(config.headers) or None,
        timeout=config.export_timeout,
    )
