"""Telemetry of the process: started once, replaced as a whole, flushed and shut down by a deadline."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from functools import partial
from multiprocessing import util as multiprocessing_util
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
from opentelemetry import metrics, trace

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError, InfrastructureError, TelemetryError
from asgi_infra.shutdown import at_shutdown
from asgi_infra.telemetry.config import Exporters, TelemetryConfig, resolve
from asgi_infra.telemetry.proxy import MeterProviderProxy, TracerProviderProxy
from asgi_infra.telemetry.scrub import default_redactor
from asgi_infra.telemetry.worker import call_within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgi_infra.telemetry.build import Pipeline

_logger = logging.getLogger("asgi_infra.telemetry")

_LONGEST_TIMEOUT = 1e6

Status = Literal["running", "adopted", "disabled", "unavailable", "stopped"]


class Telemetry:
    """The telemetry of this process, as `init_telemetry` returns it.

    Attributes:
        config: The configuration it was made from.
        status: `running`; `adopted` when somebody else had set a tracer provider, which stays theirs to shut down;
            `disabled` by `OTEL_SDK_DISABLED`; `unavailable` without the SDK; `stopped` after its shutdown.
    """

    def __init__(
        self,
        config: TelemetryConfig,
        status: Status,
        *,
        pipeline: Pipeline | None = None,
        adopted: trace.TracerProvider | None = None,
    ) -> None:
        self.config = config
        self.status: Status = status
        self._pipeline = pipeline
        self._adopted = adopted

    def __repr__(self) -> str:
        return f"<Telemetry {self.status}, service {self.config.service!r}>"

    def flush(self, timeout: float = 5.0) -> bool:
        """Export what has ended so far. Blocks for at most `timeout` seconds, and says whether all of it went out.

        Whether the receiver took it is in `stats`.
        """
        deadline = _deadline(timeout)
        done = self._pipeline.flush(deadline) if self._pipeline else True
        return self._flush_adopted(deadline) and done

    def stats(self) -> dict[str, int]:
        """Return how many spans and metric exports went out, failed, or were dropped in this process."""
        return self._pipeline.stats() if self._pipeline else {}

    def _shutdown(self, deadline: float, keep: tuple[Any, ...] = ()) -> bool:
        self.status = "stopped"
        done = self._pipeline.shutdown(deadline, keep) if self._pipeline else True
        return self._flush_adopted(deadline) and done

    def _flush_adopted(self, deadline: float) -> bool:
        flush = getattr(self._adopted, "force_flush", None)  # the API's provider has none, the SDK's has
        if flush is None:
            return True
        left = max(deadline - time.monotonic(), 0.0)
        return call_within(left, partial(flush, int(left * 1000)))


_lock = threading.Lock()
_current: Telemetry | None = None
_tracers = TracerProviderProxy()
_meters = MeterProviderProxy()
_hooked = False
_said_unavailable = False


def init_telemetry(
    *,
    service: str | None = None,
    version: str | None = None,
    environment: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    exporters: Exporters = None,
    metric_exporters: Exporters = None,
    endpoint: str | None = None,
    headers: Mapping[str, str] | None = None,
    export_timeout: float | None = None,
    sampler: object = None,
    redact: bool | Callable[[Any], Any] = True,
    max_queue_size: int | None = None,
    max_batch_size: int | None = None,
    schedule_delay: float | None = None,
    metric_interval: float | None = None,
    shutdown_timeout: float = 5.0,
    replace: bool = False,
) -> Telemetry:
    """Start telemetry for this process: all of it, or, if anything is wrong, nothing.

    The same configuration again returns the same object; threads may race for it. A tracer provider that somebody
    else has set is adopted: it stays in place, and `exporters` and `sampler` are not used. Without the SDK
    (`pip install 'asgi-infra[otel]'`) everything that uses telemetry works and collects nothing, which is logged once.

    Args:
        service: `service.name`; else `OTEL_SERVICE_NAME`, else what `OTEL_RESOURCE_ATTRIBUTES` says.
        version: `service.version`.
        environment: `deployment.environment.name`, for example `"production"`.
        attributes: More attributes of the resource; they win over `OTEL_RESOURCE_ATTRIBUTES`.
        exporters: Where spans go: `"otlp"`, `"console"`, `"none"`, `SpanExporter` and `SpanProcessor` objects, one or
            several; else `OTEL_TRACES_EXPORTER`, else `"otlp"`.
        metric_exporters: Where metrics of the OpenTelemetry API go: the same names, and `MetricExporter` objects; else
            `OTEL_METRICS_EXPORTER`, else nowhere.
        endpoint: Base URL of the OTLP receiver, to which `/v1/traces` is added; else `OTEL_EXPORTER_OTLP_ENDPOINT` and
            its relatives, else `http://localhost:4318`.
        headers: Headers for the OTLP receiver, in addition to `OTEL_EXPORTER_OTLP_HEADERS`.
        export_timeout: Seconds for one OTLP export, retries included; else `OTEL_EXPORTER_OTLP_TIMEOUT`, else 10.
        sampler: A ratio from 0 to 1 (of the traces that begin here), the name of a standard sampler, or a `Sampler`;
            else `OTEL_TRACES_SAMPLER` with `OTEL_TRACES_SAMPLER_ARG`, else `"parentbased_always_on"`.
        redact: Whether exported spans are redacted, or what redacts them: any value in, a redacted copy out.
            `SpanProcessor` objects see the spans as they are.
        max_queue_size: Spans that wait for export at most; else `OTEL_BSP_MAX_QUEUE_SIZE`, else 2048. More are dropped
            and counted.
        max_batch_size: Spans in one export at most; else `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, else 512.
        schedule_delay: Seconds that a span waits at most; else `OTEL_BSP_SCHEDULE_DELAY` (milliseconds), else 5.
        metric_interval: Seconds between exports of metrics; else `OTEL_METRIC_EXPORT_INTERVAL` (milliseconds), else 60.
        shutdown_timeout: Seconds that the end of the process waits for telemetry at most.
        replace: Whether a different configuration replaces the present one. Tracers and instruments that were handed
            out go on with the new one; what the old one still holds is exported.

    Raises:
        ConfigurationError: An argument or an `OTEL_*` variable is wrong.
        MissingExtraError: An exporter needs a package that is not installed.
        TelemetryError: Telemetry runs with another configuration, or can't be built. The process is left as it was.

    Example:
        >>> telemetry = init_telemetry(service="shop", version="1.4.0", exporters="none")
        >>> telemetry is init_telemetry(service="shop", version="1.4.0", exporters="none")
        True
    """
    global _current
    config = resolve(
        service=service,
        version=version,
        environment=environment,
        attributes=attributes,
        exporters=exporters,
        metric_exporters=metric_exporters,
        endpoint=endpoint,
        headers=headers,
        export_timeout=export_timeout,
        sampler=sampler,
        redact=redact,
        max_queue_size=max_queue_size,
        max_batch_size=max_batch_size,
        schedule_delay=schedule_delay,
        metric_interval=metric_interval,
        shutdown_timeout=shutdown_timeout,
    )
    with _lock:
        previous = _current
        if previous is not None:
            if previous.config == config:
                return previous
            if not replace:
                raise TelemetryError(
                    "telemetry runs already, with other settings for "
                    f"{', '.join(config.differences(previous.config))}; "
                    "call init_telemetry once, or with replace=True to start it anew"
                )
        telemetry = _build(config)
        _publish(telemetry)
        _current = telemetry
        at_shutdown(flush_telemetry)
    if previous is not None:
        previous._shutdown(
            time.monotonic() + previous.config.shutdown_timeout, keep=(*config.exporters, *config.metric_exporters)
        )
    return telemetry


def get_telemetry() -> Telemetry | None:
    """Return what `init_telemetry` has started, or `None` before that and after the shutdown."""
    return _current


async def flush_telemetry(timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - the deadline holds for threads, too
    """Export what has ended so far, without blocking the event loop (asyncio or trio).

    This is for the `lifespan.shutdown` of an application: servers end on SIGTERM without running `atexit` handlers.

    Args:
        timeout: Seconds after which it returns in any case.

    Returns:
        Whether everything went out in time; `True` when no telemetry runs.
    """
    telemetry = _current
    if telemetry is None:
        return True
    limiter = anyio.CapacityLimiter(1)  # of its own, so that an application's busy threads don't hold it up
    return await anyio.to_thread.run_sync(telemetry.flush, timeout, abandon_on_cancel=True, limiter=limiter)


def shutdown_telemetry(timeout: float = 5.0) -> bool:
    """Export what there is and stop telemetry; afterwards everything that uses it collects nothing.

    One deadline holds for all signals, whatever exporters do. Calling it again does nothing; `init_telemetry` starts
    telemetry anew. At the end of the process it is called by itself.

    Args:
        timeout: Seconds after which it returns in any case.

    Returns:
        Whether everything went out in time.

    Raises:
        ConfigurationError: The timeout is no number; nothing has been stopped.
    """
    global _current
    deadline = _deadline(timeout)
    if not _lock.acquire(
        timeout=max(deadline - time.monotonic(), 0.0)
    ):  # held by a thread that is starting telemetry right now
        return False
    try:
        telemetry, _current = _current, None
        _tracers.point_at(trace.NoOpTracerProvider())
        _meters.point_at(metrics.NoOpMeterProvider())
    finally:
        _lock.release()
    return True if telemetry is None else telemetry._shutdown(deadline)


def reset_telemetry_for_tests(timeout: float = 1.0) -> None:
    """Shut telemetry down, and forget what is said once per process: a fresh start for the next test."""
    global _said_unavailable
    shutdown_telemetry(timeout)
    _said_unavailable = False


def _build(config: TelemetryConfig) -> Telemetry:
    global _said_unavailable
    if config.disabled:
        return Telemetry(config, "disabled")
    adopted = _foreign_tracer_provider()
    try:
        from asgi_infra.telemetry.build import Pipeline
    except ImportError as exc:
        if not _said_unavailable:
            _said_unavailable = True
            _logger.warning("telemetry collects nothing: %s; install it with: pip install 'asgi-infra[otel]'", exc.msg)
        return Telemetry(config, "unavailable", adopted=adopted)
    if adopted is not None:
        _logger.info("another tracer provider is set (%s): telemetry adopts it", type(adopted).__qualname__)
    try:
        default_redactor()  # a fork in the middle of its import would leave it half there
        pipeline = Pipeline(config, spans=adopted is None, metrics=not _meter_provider_is_foreign())
    except InfrastructureError:
        raise
    except Exception as exc:
        raise TelemetryError(
            f"telemetry could not be started, because an exporter or the SDK raised {type(exc).__qualname__}; "
            "nothing has been changed"
        ) from exc
    return Telemetry(config, "running" if adopted is None else "adopted", pipeline=pipeline, adopted=adopted)


def _publish(telemetry: Telemetry) -> None:
    global _hooked
    pipeline = telemetry._pipeline
    _tracers.point_at((pipeline and pipeline.tracer_provider) or trace.NoOpTracerProvider())
    _meters.point_at((pipeline and pipeline.meter_provider) or metrics.NoOpMeterProvider())
    if pipeline is None:
        return
    if pipeline.tracer_provider is not None:
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(_tracers)
        telemetry._adopted = _foreign_tracer_provider()
        if telemetry._adopted is not None:  # somebody was quicker
            telemetry.status = "adopted"
    if pipeline.meter_provider is not None and metrics.get_meter_provider() is not _meters:
        metrics.set_meter_provider(_meters)
    pipeline.start()
    if not _hooked:
        _hooked = True
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
        # Before Python 3.14, children of multiprocessing leave without running atexit handlers.
        multiprocessing_util.register_after_fork(_tracers, _flush_at_end_of_child)


def _deadline(timeout: float) -> float:
    """Return when, by the monotonic clock, a timeout has passed: at once if it is negative, some day in any case."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout:
        raise ConfigurationError("timeout must be a number of seconds")
    return time.monotonic() + min(max(timeout, 0.0), _LONGEST_TIMEOUT)


def _foreign_tracer_provider() -> trace.TracerProvider | None:
    provider = trace.get_tracer_provider()
    return None if provider is _tracers or isinstance(provider, trace.ProxyTracerProvider) else provider


def _meter_provider_is_foreign() -> bool:
    provider = metrics.get_meter_provider()
    # The API's stand-in until one is set has no public name.
    return provider is not _meters and type(provider).__name__ != "_ProxyMeterProvider"


def _at_exit() -> None:
    telemetry = _current
    if telemetry is not None:
        shutdown_telemetry(telemetry.config.shutdown_timeout)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _tracers.after_fork()
    _meters.after_fork()
    pipeline = _current._pipeline if _current is not None else None
    if pipeline is None:
        return
    try:
        pipeline.after_fork()
        _meters.point_at(pipeline.meter_provider or metrics.NoOpMeterProvider())
    except Exception as exc:  # noqa: BLE001 - the child runs on without what could not be made again
        faults.record("telemetry.fork", exc)


def _flush_at_end_of_child(_: object) -> None:
    multiprocessing_util.Finalize(None, _at_exit, exitpriority=0)
