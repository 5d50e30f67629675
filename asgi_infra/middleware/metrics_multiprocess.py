"""The same metrics where several worker processes are one service: prometheus-client's own objects and files.

Chosen where `PROMETHEUS_MULTIPROC_DIR` is set. Exemplars are not kept in this mode, as prometheus-client has no place
for them in its files.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.metrics_spec import (
    CONNECTION_BUCKETS,
    FAULTS_NAME,
    HELP,
    MULTIPROCESS_VARIABLE,
    OVERFLOW_NAME,
)
from asgi_infra.middleware.series import SeriesMap, labels_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.middleware.metrics_families import Labels
    from asgi_infra.middleware.metrics_spec import Spec
    from asgi_infra.middleware.series import Key, RawExemplar

Children: TypeAlias = tuple[Any, ...]
"""The counter's `inc`, where there is one, and the `observe` of the four histograms, for one set of labels."""

_SYNC_INTERVAL = 1.0  # seconds
_LIVE_FILE = re.compile(r"gauge_live\w*?_(\d+)\.db")


class MultiprocessTable:
    """The metrics of one worker, in files that the workers share.

    Raises:
        ConfigurationError: The directory is missing, or prometheus-client was imported before the variable was set.
    """

    def __init__(self, spec: Spec) -> None:
        check_environment()
        self.spec = spec
        labels = spec.labels
        self._requests = (
            Counter(spec.name("requests"), HELP["requests"], labels, registry=None) if spec.names.requests else None
        )
        self._histograms = [
            _histogram(spec, "duration", spec.buckets),
            _histogram(spec, "first_byte", spec.buckets),
            _histogram(spec, "request_size", spec.size_buckets),
            _histogram(spec, "response_size", spec.size_buckets),
        ]
        self._connection_duration = _histogram(spec, "connection_duration", CONNECTION_BUCKETS)
        self._in_progress = _gauge(spec, "in_progress", spec.names.in_progress_labels)
        self._connections_now = _gauge(spec, "connections", ())
        self._errors_total = Counter(
            spec.name("background_errors"), HELP["background_errors"], spec.names.labels[:2], registry=None
        )
        self._exchanges: dict[Exchange, Labels] = {}
        self._gauges: dict[Labels, Gauge] = {(): self._connections_now}
        limit, labels_of = spec.max_series, labels_for(spec)
        self._http = SeriesMap(limit, len(labels), labels_of, self._children)
        self._connections = SeriesMap(limit, len(labels), labels_of, self._connection_duration.labels)
        self._errors = SeriesMap(limit, 2, labels_of, self._errors_total.labels)
        self._self = self_metrics()
        self._self.tables.append(self)

    @property
    def overflowed(self) -> int:
        """How many exchanges of this worker were counted in an overflow series."""
        return self._http.overflowed + self._connections.overflowed + self._errors.overflowed

    def _children(self, *labels: str) -> Children:
        return (
            self._requests.labels(*labels).inc if self._requests else None,
            *(family.labels(*labels).observe for family in self._histograms),
        )

    def began(self, exchange: Exchange, in_progress: Labels) -> None:
        """Count an exchange as in progress, under these labels; a WebSocket has none."""
        gauge = self._gauges.get(in_progress)
        if gauge is None:
            gauge = self._gauges[in_progress] = self._in_progress.labels(*in_progress)
        gauge.inc()
        self._exchanges[exchange] = in_progress

    def ended(self, exchange: Exchange, _default: None) -> Labels | None:
        """Count an exchange as in progress no longer, and return its labels; `None` where it was not in progress."""
        in_progress = self._exchanges.pop(exchange, None)
        if in_progress is not None:
            self._gauges[in_progress].dec()
        return in_progress

    def request(self, key: Key, exchange: Exchange, exemplar: RawExemplar | None) -> None:
        """Count a request that has ended; the exemplar is not kept."""
        del exemplar
        count, duration, first_byte, request_size, response_size = self._http.find(key)
        if count is not None:
            count()
        duration(exchange.duration)
        if exchange.first_byte is not None:
            first_byte(exchange.first_byte - exchange.started)
        request_size(exchange.bytes_in)
        response_size(exchange.bytes_out)
        self._self.sync_at(exchange.ended or 0)

    def connection(self, key: Key, exchange: Exchange) -> None:
        """Count a WebSocket connection that has ended."""
        self._connections.find(key).observe(exchange.duration)
        self._self.sync_at(exchange.ended or 0)

    def failed_late(self, key: Key) -> None:
        """Count an error that the application raised after the end."""
        self._errors.find(key).inc()

    def _families(self) -> Iterator[Counter | Gauge | Histogram]:
        if self._requests is not None:
            yield self._requests
        yield from self._histograms
        yield from (self._in_progress, self._connection_duration, self._connections_now, self._errors_total)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples; a registry takes their names from it."""
        return [metric for family in self._families() for metric in family.describe()]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this worker alone."""
        return [metric for family in self._families() for metric in family.collect()]


class MultiprocessSelfMetrics:
    """Overflows and faults of this worker, written to the files once a second while there are exchanges."""

    def __init__(self) -> None:
        self.tables: list[MultiprocessTable] = []
        self._overflow = Counter(OVERFLOW_NAME, HELP["overflow"], registry=None)
        self._faults = Counter(FAULTS_NAME, HELP["faults"], ("place", "error"), registry=None)
        self._written: dict[tuple[str, str], int] = {}
        self._overflow_written = 0
        self._next = 0.0
        self._lock = RLock()  # the garbage collector may end an abandoned exchange while it is held

    def sync_at(self, now: float) -> None:
        """Write what is new, unless the last time is less than a second ago; `now` is on the clock of exchanges."""
        if now >= self._next:
            self._next = now + _SYNC_INTERVAL
            self.sync()

    def sync(self) -> None:
        """Write what is new since the last time."""
        with self._lock:
            overflowed = sum(table.overflowed for table in self.tables)
            self._overflow.inc(overflowed - self._overflow_written)
            self._overflow_written = overflowed
            for kind, count in faults.counts().items():
                new = count - self._written.get(kind, 0)
                if new:
                    self._faults.labels(*kind).inc(new)
                    self._written[kind] = count

    def describe(self) -> Iterable[Metric]:
        return [*self._overflow.describe(), *self._faults.describe()]

    def collect(self) -> Iterable[Metric]:
        self.sync()
        return [*self._overflow.collect(), *self._faults.collect()]


@cache
def self_metrics() -> MultiprocessSelfMetrics:
    """Return the one of this process: two would overwrite each other's values in the files."""
    check_environment()
    return MultiprocessSelfMetrics()


def check_environment() -> str:
    """Return the directory that the workers share.

    Raises:
        ConfigurationError: It is missing, or prometheus-client was imported before the variable was set.
    """
    directory = os.environ[MULTIPROCESS_VARIABLE]
    if not os.path.isdir(directory):
        raise ConfigurationError(
            f"{MULTIPROCESS_VARIABLE} is {directory!r}, which is no directory; make it, empty, before the workers start"
        )
    if not getattr(values.ValueClass, "_multiprocess", False):
        raise ConfigurationError(
            f"{MULTIPROCESS_VARIABLE} was set after prometheus_client was imported; set it before the process starts"
        )
    return directory


def all_workers(directory: str) -> Collector:
    """Return a collector of what the living and the dead workers have written to the directory."""
    self_metrics().sync()
    _forget_dead(directory)
    collector: Collector = MultiProcessCollector(None, path=directory)  # type: ignore[no-untyped-call]
    return collector


def _forget_dead(directory: str) -> None:
    """Remove what workers that are gone had in progress; few servers have a hook that does it."""
    if os.name != "posix":  # elsewhere there is no harmless signal to ask with
        return
    for name in os.listdir(directory):
        found = _LIVE_FILE.fullmatch(name)
        if found is None:
            continue
        try:
            os.kill(int(found[1]), 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker was asked at the same time
                mark_process_dead(int(found[1]), directory)  # type: ignore[no-untyped-call]
        except OSError:  # it is alive, and not ours
            continue


def _histogram(spec: Spec, metric: str, bounds: tuple[float, ...]) -> Histogram:
    return Histogram(spec.name(metric), HELP[metric], spec.labels, buckets=bounds, registry=None)


def _gauge(spec: Spec, metric: str, labels: Labels) -> Gauge:
    return Gauge(spec.name(metric), HELP[metric], labels, registry=None, multiprocess_mode="livesum")
