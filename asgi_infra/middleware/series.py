"""The numbers behind the HTTP metrics of one process: one plain record for each set of labels.

The records are what makes metrics cheap: a request costs one look-up and one append, where prometheus-client's own
objects take a lock for each number. To prometheus-client the table is a custom collector, so a registry shows it like
any other metric.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import suppress
from threading import Lock, RLock
from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from asgi_infra.middleware.metrics_families import Labels, clean, counter, gauge, histogram_family
from asgi_infra.middleware.metrics_spec import CONNECTION_BUCKETS, HELP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.middleware.metrics_spec import Spec

S = TypeVar("S")
Key: TypeAlias = tuple[Any, ...]
"""Method, route and status of an exchange, and what else the labels need; the first two for a late error."""
RawExemplar: TypeAlias = tuple[Any, str | None, float, float]
"""A span context or `None`, a request id or `None`, the value, and the Unix time."""

Row: TypeAlias = "tuple[Labels, list[Histogram], float, dict[int, RawExemplar]]"

OVERFLOW = "overflow"
INVALID = "invalid"
_MAX_PENDING = 256  # values, so 64 requests


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
        self._lock = RLock()  # an abandoned exchange may end inside of it, in the garbage collector

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
                    series = self._by_labels.setdefault(labels, self._make(*labels))
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
    """What a batch of values adds to: how many are at most each bound, how many there are, and their sum."""

    __slots__ = ("at_most", "bounds", "count", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.at_most = [0] * len(bounds)
        self.count = 0
        self.total: float = 0

    def observe(self, values: list[float | None]) -> None:
        """Add values, leaving out `None`."""
        numbers = [value for value in values if value is not None]
        numbers.sort()
        self.count += len(numbers)
        self.total += sum(numbers)
        for i, bound in enumerate(self.bounds):
            self.at_most[i] += bisect_right(numbers, bound)

    def copy(self) -> Histogram:
        twin = Histogram(self.bounds)
        twin.at_most = self.at_most.copy()
        twin.count = self.count
        twin.total = self.total
        return twin


class Series:
    """The histograms of one set of labels, and the values that are not in them yet.

    An exchange only appends its values, one for each histogram, which needs no lock; sorting them into buckets in
    batches costs a fraction of what one by one would.
    """

    __slots__ = ("add", "created", "exemplars", "histograms", "pending")

    def __init__(self, bounds: Sequence[tuple[float, ...]]) -> None:
        self.created = time()
        self.histograms = [Histogram(each) for each in bounds]
        self.pending: list[float | None] = []
        self.add = self.pending.extend
        self.exemplars: dict[int, RawExemplar] = {}

    def fold(self) -> None:
        """Move the pending values into the histograms; the caller holds the table's lock."""
        values = self.pending[:]
        del self.pending[: len(values)]  # never replaced: a thread may be about to append
        for i, histogram in enumerate(self.histograms):
            histogram.observe(values[i :: len(self.histograms)])


class ErrorSeries:
    """How often the application raised after the end."""

    __slots__ = ("_lock", "count", "created")

    def __init__(self) -> None:
        self.created = time()
        self.count = 0
        self._lock = RLock()

    def add(self) -> None:
        """Count one more."""
        with self._lock:
            self.count += 1


class SeriesTable:
    """The metrics of one process, as a collector of prometheus-client."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._lock = Lock()
        self._in_progress: dict[Exchange, Labels] = {}
        # Without Python code of ours in between, a start and an end cost one step of a dictionary each.
        self.began: Callable[[Exchange, Labels], None] = self._in_progress.__setitem__
        self.ended: Callable[[Exchange, None], Labels | None] = self._in_progress.pop
        limit, width, labels_of = spec.max_series, len(spec.labels), labels_for(spec)
        bounds = (spec.buckets, spec.buckets, spec.size_buckets, spec.size_buckets)
        self._http = SeriesMap(limit, width, labels_of, lambda *_: Series(bounds))
        self._connections = SeriesMap(limit, width, labels_of, lambda *_: Series([CONNECTION_BUCKETS]))
        self._errors = SeriesMap(limit, 2, labels_of, lambda *_: ErrorSeries())

    @property
    def overflowed(self) -> int:
        """How many exchanges were counted in an overflow series."""
        return self._http.overflowed + self._connections.overflowed + self._errors.overflowed

    def request(self, key: Key, exchange: Exchange, exemplar: RawExemplar | None) -> None:
        """Count a request that has ended."""
        try:
            series = self._http.by_key[key]
        except (KeyError, TypeError):
            series = self._http.resolve(key)
        started = exchange.started
        first_byte = exchange.first_byte
        series.add(
            (
                exchange.ended - started,  # type: ignore[operator]
                None if first_byte is None else first_byte - started,
                exchange.bytes_in,
                exchange.bytes_out,
            )
        )
        if exemplar is not None:
            series.exemplars[bisect_left(self.spec.buckets, exemplar[2])] = exemplar
        if len(series.pending) >= _MAX_PENDING:
            self._fold(series)

    def connection(self, key: Key, exchange: Exchange) -> None:
        """Count a WebSocket connection that has ended."""
        series = self._connections.find(key)
        series.add((exchange.duration,))
        if len(series.pending) >= _MAX_PENDING:
            self._fold(series)

    def _fold(self, series: Series) -> None:
        # Whoever holds the lock is folding, or about to. Waiting for it could last for ever: the garbage collector
        # may run inside of it, and end an abandoned exchange.
        if self._lock.acquire(blocking=False):
            try:
                series.fold()
            finally:
                self._lock.release()

    def failed_late(self, key: Key) -> None:
        """Count an error that the application raised after the end."""
        self._errors.find(key).add()

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples; a registry takes their names from it."""
        return self._families([], [], [], {})

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with their samples."""
        http = self._rows(self._http)
        shared = [self.spec.labels.index(name) for name in self.spec.names.in_progress_labels]
        in_progress: dict[Labels, int] = {(): 0}  # and zero for what has been in progress
        in_progress |= {tuple(row[0][i] for i in shared): 0 for row in http if row[0][0] != OVERFLOW}
        for labels in self._in_progress.copy().values():
            in_progress[labels] = in_progress.get(labels, 0) + 1
        return self._families(
            http,
            self._rows(self._connections),
            [(labels, series.count, series.created) for labels, series in self._errors.items()],
            in_progress,
        )

    def _rows(self, series_map: SeriesMap[Series]) -> list[Row]:
        rows = []
        for labels, series in series_map.items():
            with self._lock:
                series.fold()
                histograms = [histogram.copy() for histogram in series.histograms]
            rows.append((labels, histograms, series.created, series.exemplars.copy()))
        return rows

    def _families(
        self,
        http: list[Row],
        connections: list[Row],
        errors: list[tuple[Labels, float, float | None]],
        in_progress: dict[Labels, int],
    ) -> Iterator[Metric]:
        spec = self.spec
        if spec.names.requests is not None:
            requests = [(labels, histograms[0].count, created) for labels, histograms, created, _ in http]
            yield counter(spec.name("requests"), HELP["requests"], spec.labels, requests)
        for i, metric in enumerate(("duration", "first_byte", "request_size", "response_size")):
            yield histogram_family(
                spec, metric, [(labels, each[i], created, {} if i else found) for labels, each, created, found in http]
            )
        requests_now = [item for item in in_progress.items() if item[0]]
        yield gauge(spec, "in_progress", spec.names.in_progress_labels, requests_now)
        yield histogram_family(
            spec, "connection_duration", [(labels, each[0], created, {}) for labels, each, created, _ in connections]
        )
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
