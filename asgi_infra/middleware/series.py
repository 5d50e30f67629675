"""The numbers behind the HTTP metrics of one process: one plain record for each set of labels.

The records are what makes metrics cheap: a request costs one look-up and a few additions under one lock, where
prometheus-client's own objects take a lock for each number. To prometheus-client the table is a custom collector, so
a registry shows it like any other metric.
"""

from __future__ import annotations

from bisect import bisect_left
from contextlib import suppress
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from asgi_infra.middleware.metrics_families import Labels, clean, counter, gauge, histogram
from asgi_infra.middleware.metrics_spec import CONNECTION_BUCKETS, HELP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.middleware.metrics_spec import Spec

S = TypeVar("S")
Key: TypeAlias = tuple[Any, ...]
"""Method, route and status of an exchange, and what else the labels need; the first two for a late error."""
RawExemplar: TypeAlias = tuple[Any, str | None, float, float]
"""A span context or `None`, a request id or `None`, the value, and the Unix time."""

OVERFLOW = "overflow"
INVALID = "invalid"


class SeriesMap(Generic[S]):
    """Series by what an exchange offers as a key; beyond `limit` series, all that is new shares one more."""

    def __init__(self, limit: int, width: int, labels_of: Callable[[Key], Labels], make: Callable[..., S]) -> None:
        self.by_key: dict[Key, S] = {}
        self.overflowed = 0
        self._by_labels: dict[Labels, S] = {}
        self._limit = limit
        self._overflow: Labels = (OVERFLOW,) * width
        self._labels_of = labels_of
        self._make = make
        self._lock = Lock()

    def find(self, key: Key) -> S:
        """Return the series for a key."""
        try:
            return self.by_key[key]
        except (KeyError, TypeError):
            return self.resolve(key)

    def resolve(self, key: Key) -> S:
        """Return the series for a key that `by_key` does not hold."""
        labels = self._labels_of(key)
        with self._lock:
            series = self._by_labels.get(labels)
            if series is None:
                overflows = len(self._by_labels) >= self._limit
                if overflows:
                    self.overflowed += 1
                    labels = self._overflow
                    series = self._by_labels.get(labels)
                if series is None:
                    series = self._by_labels[labels] = self._make(*labels)
                if overflows:
                    return series
            if len(self.by_key) < 4 * self._limit:
                with suppress(TypeError):  # the status is of some type that can't be in a key
                    self.by_key[key] = series
            return series

    def items(self) -> list[tuple[Labels, S]]:
        """Return the series with their labels."""
        with self._lock:
            return list(self._by_labels.items())


class Histogram:
    """Counts by bucket, not cumulated, with the sum of what was observed."""

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0
        self.exemplars: dict[int, RawExemplar] | None = None

    def copy(self) -> Histogram:
        twin = Histogram(())
        twin.counts = self.counts.copy()
        twin.total = self.total
        twin.exemplars = self.exemplars and self.exemplars.copy()
        return twin


class HTTPSeries:
    """What is known of the requests with one set of labels."""

    __slots__ = ("created", "duration", "first_byte", "request_size", "response_size")

    def __init__(self, spec: Spec) -> None:
        self.created = time()
        self.duration = Histogram(spec.buckets)
        self.first_byte = Histogram(spec.buckets)
        self.request_size = Histogram(spec.size_buckets)
        self.response_size = Histogram(spec.size_buckets)

    def copy(self) -> HTTPSeries:
        twin = object.__new__(HTTPSeries)
        twin.created = self.created
        twin.duration = self.duration.copy()
        twin.first_byte = self.first_byte.copy()
        twin.request_size = self.request_size.copy()
        twin.response_size = self.response_size.copy()
        return twin


class ConnectionSeries:
    """What is known of the WebSocket connections with one set of labels."""

    __slots__ = ("created", "duration")

    def __init__(self) -> None:
        self.created = time()
        self.duration = Histogram(CONNECTION_BUCKETS)

    def copy(self) -> ConnectionSeries:
        twin = object.__new__(ConnectionSeries)
        twin.created = self.created
        twin.duration = self.duration.copy()
        return twin


class ErrorSeries:
    """How often the application raised after the end."""

    __slots__ = ("count", "created")

    def __init__(self) -> None:
        self.created = time()
        self.count = 0


C = TypeVar("C", HTTPSeries, ConnectionSeries)


class SeriesTable:
    """The metrics of one process, as a collector of prometheus-client."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._lock = Lock()
        self._buckets = spec.buckets
        self._size_buckets = spec.size_buckets
        self._in_progress: dict[Labels, int] = {(): 0}
        limit, width, labels_of = spec.max_series, len(spec.labels), labels_for(spec)
        self._http = SeriesMap(limit, width, labels_of, lambda *_: HTTPSeries(spec))
        self._connections = SeriesMap(limit, width, labels_of, lambda *_: ConnectionSeries())
        self._errors = SeriesMap(limit, 2, labels_of, lambda *_: ErrorSeries())

    @property
    def overflowed(self) -> int:
        """How many exchanges were counted in an overflow series."""
        return self._http.overflowed + self._connections.overflowed + self._errors.overflowed

    def began(self, in_progress: Labels) -> None:
        """Count an exchange as in progress, under these labels; a WebSocket has none."""
        with self._lock:
            self._in_progress[in_progress] = self._in_progress.get(in_progress, 0) + 1

    def request_ended(self, in_progress: Labels, key: Key, exchange: Exchange, exemplar: RawExemplar | None) -> None:
        """Count a request that has ended, and is no longer in progress."""
        try:
            series = self._http.by_key[key]
        except (KeyError, TypeError):
            series = self._http.resolve(key)
        started = exchange.started
        duration = exchange.ended - started  # type: ignore[operator]
        first_byte = exchange.first_byte
        bytes_in = exchange.bytes_in
        bytes_out = exchange.bytes_out
        with self._lock:
            self._in_progress[in_progress] -= 1
            numbers = series.duration
            bucket = bisect_left(self._buckets, duration)
            numbers.counts[bucket] += 1
            numbers.total += duration
            if exemplar is not None:
                if numbers.exemplars is None:
                    numbers.exemplars = {}
                numbers.exemplars[bucket] = exemplar
            if first_byte is not None:
                first_byte -= started
                numbers = series.first_byte
                numbers.counts[bisect_left(self._buckets, first_byte)] += 1
                numbers.total += first_byte
            numbers = series.request_size
            numbers.counts[bisect_left(self._size_buckets, bytes_in) if bytes_in else 0] += 1
            numbers.total += bytes_in
            numbers = series.response_size
            numbers.counts[bisect_left(self._size_buckets, bytes_out)] += 1
            numbers.total += bytes_out

    def connection_ended(self, in_progress: Labels, key: Key, exchange: Exchange) -> None:
        """Count a WebSocket connection that has ended, and is no longer in progress."""
        series = self._connections.find(key)
        duration = exchange.duration
        with self._lock:
            self._in_progress[in_progress] -= 1
            series.duration.counts[bisect_left(CONNECTION_BUCKETS, duration)] += 1
            series.duration.total += duration

    def failed_late(self, key: Key) -> None:
        """Count an error that the application raised after the end."""
        series = self._errors.find(key)
        with self._lock:
            series.count += 1

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples; a registry takes their names from it."""
        return self._families([], [], [], {})

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with their samples."""
        with self._lock:
            in_progress = self._in_progress.copy()
        return self._families(
            self._copies(self._http),
            self._copies(self._connections),
            [(labels, series.count, series.created) for labels, series in self._errors.items()],
            in_progress,
        )

    def _copies(self, series_map: SeriesMap[C]) -> list[tuple[Labels, C]]:
        copies = []
        for labels, series in series_map.items():
            with self._lock:  # one series at a time, so that no request waits for a whole scrape
                copies.append((labels, series.copy()))
        return copies

    def _families(
        self,
        http: list[tuple[Labels, HTTPSeries]],
        connections: list[tuple[Labels, ConnectionSeries]],
        errors: list[tuple[Labels, float, float | None]],
        in_progress: dict[Labels, int],
    ) -> Iterator[Metric]:
        spec = self.spec
        if spec.names.requests is not None:
            requests = [(labels, sum(series.duration.counts), series.created) for labels, series in http]
            yield counter(spec.name("requests"), HELP["requests"], spec.labels, requests)
        for metric, bounds in (
            ("duration", spec.buckets),
            ("first_byte", spec.buckets),
            ("request_size", spec.size_buckets),
            ("response_size", spec.size_buckets),
        ):
            rows = [(labels, getattr(series, metric), series.created) for labels, series in http]
            yield histogram(spec, metric, bounds, rows)
        requests_now = [item for item in in_progress.items() if item[0]]
        yield gauge(spec, "in_progress", spec.names.in_progress_labels, requests_now)
        connection_rows = [(labels, series.duration, series.created) for labels, series in connections]
        yield histogram(spec, "connection_duration", CONNECTION_BUCKETS, connection_rows)
        yield gauge(spec, "connections", (), [item for item in in_progress.items() if not item[0]])
        yield counter(spec.name("background_errors"), HELP["background_errors"], spec.names.labels[:2], errors)


def labels_for(spec: Spec) -> Callable[[Key], Labels]:
    """Return the function that makes labels from a key: strings that can be encoded, whatever the key holds."""
    unmatched = spec.names.unmatched

    def labels_of(key: Key) -> Labels:
        method, route, *rest = key
        labels = [method, unmatched if route is None else clean(route)]
        if rest:
            labels += [_status_label(rest[0]), *rest[1:]]
        return tuple(labels)

    return labels_of


def _status_label(status: str | int) -> str:
    if status == "":  # none was sent, and the semantic conventions make nothing up
        return ""
    try:
        number = int(status)
    except (TypeError, ValueError, OverflowError):
        return INVALID
    return str(number) if 100 <= number <= 999 else INVALID
