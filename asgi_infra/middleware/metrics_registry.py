"""One table of metrics for each registry and set of names, however many middlewares feed it."""

from __future__ import annotations

import os
from dataclasses import fields
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.metrics_families import counter
from asgi_infra.middleware.metrics_spec import FAULTS_NAME, HELP, MULTIPROCESS_VARIABLE, OVERFLOW_NAME, Spec
from asgi_infra.middleware.series import SeriesTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.middleware.metrics_families import Labels
    from asgi_infra.middleware.series import Key, RawExemplar


class Table(Protocol):
    """What an observer of metrics feeds, and a registry collects."""

    spec: Spec

    @property
    def began(self) -> Callable[[Exchange, Labels], None]:
        """Counts an exchange as in progress, under these labels; a WebSocket has none."""
        ...

    @property
    def ended(self) -> Callable[[Exchange, None], Labels | None]:
        """Counts it as in progress no longer, and returns the labels; `None` where it was not in progress."""
        ...

    def request(self, key: Key, exchange: Exchange, exemplar: RawExemplar | None) -> None: ...
    def connection(self, key: Key, exchange: Exchange) -> None: ...
    def failed_late(self, key: Key) -> None: ...
    def collect(self) -> Iterable[Metric]: ...


Tables: TypeAlias = dict[tuple[str, str], Table]

_lock = Lock()
_tables: WeakKeyDictionary[CollectorRegistry, Tables] = WeakKeyDictionary()
_process_tables: Tables = {}  # the files of multiprocess mode know no registries


class SelfMetrics:
    """What the metrics say of this package: overflows of the tables of one registry, and all faults of the process."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def describe(self) -> Iterable[Metric]:
        yield counter(OVERFLOW_NAME, HELP["overflow"], (), ())
        yield counter(FAULTS_NAME, HELP["faults"], ("place", "error"), ())

    def collect(self) -> Iterable[Metric]:
        overflowed = sum(table.overflowed for table in self._tables.values() if isinstance(table, SeriesTable))
        yield counter(OVERFLOW_NAME, HELP["overflow"], (), [((), overflowed, None)])
        rows = [(kind, count, None) for kind, count in faults.counts().items()]
        yield counter(FAULTS_NAME, HELP["faults"], ("place", "error"), rows)


def table_for(registry: CollectorRegistry | None, spec: Spec) -> Table:
    """Return the table that a registry shows for a specification, registering it where it is the first.

    Raises:
        ConfigurationError: Metrics of the same names are there already, with other options or from elsewhere.
    """
    from prometheus_client import REGISTRY

    if registry is None:
        registry = REGISTRY
    multiprocess = bool(os.environ.get(MULTIPROCESS_VARIABLE))
    names = spec.naming, spec.prefix
    with _lock:
        try:
            tables = _process_tables if multiprocess else _tables.setdefault(registry, {})
        except TypeError as exc:
            raise ConfigurationError(
                f"registry must be a prometheus_client.CollectorRegistry, not of type {type(registry).__name__}"
            ) from exc
        table = tables.get(names)
        if table is not None and table.spec != spec:
            raise ConfigurationError(_difference(table.spec, spec))
        if multiprocess:
            from asgi_infra.middleware.metrics_multiprocess import MultiprocessTable, self_metrics

            of_self: Collector = self_metrics()
            made: Table = table or MultiprocessTable(spec)
        else:
            of_self = SelfMetrics(tables)
            made = table or SeriesTable(spec)
        _register(registry, made, known=table is not None)
        _register(registry, of_self, known=True)
        tables[names] = made
    return made


def _register(registry: CollectorRegistry, collector: Collector, *, known: bool) -> None:
    try:
        registry.register(collector)
    except AttributeError as exc:
        raise ConfigurationError(
            f"registry must be a prometheus_client.CollectorRegistry, not of type {type(registry).__name__}"
        ) from exc
    except ValueError as exc:  # the registry has these names; with `known` they are ours, from an earlier time
        if not known:
            raise ConfigurationError(
                "registry has other metrics with the names of these; remove what else measures requests under them, "
                "or give this one a prefix= or a registry= of its own"
            ) from exc


def _difference(there: Spec, wanted: Spec) -> str:
    differing = [
        "labels" if field.name == "custom_labels" else field.name
        for field in fields(Spec)
        if getattr(there, field.name) != getattr(wanted, field.name)
    ]
    return (
        f"registry has these metrics already, from a middleware with other values of {', '.join(differing)}; give both "
        "the same options, or give this one a prefix= or a registry= of its own"
    )
