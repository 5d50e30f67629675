"""The figures of database pools for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from asgi_infra.database.session import DatabaseSession

_OUTCOMES = ("committed", "rolled_back", "commit_failed", "outcome_unknown")


class DatabaseCollector(Collector):
    """A collector for a Prometheus registry, read when it is scraped.

    Names follow OpenTelemetry's database conventions.

    | series | labels |
    |---|---|
    | `db_client_connection_count` | `pool`, `state` (`idle`, `used`) |
    | `db_client_connection_max` | `pool` |
    | `db_client_connection_pending_requests` | `pool` |
    | `db_client_connection_timeouts_total` | `pool` |
    | `db_client_connection_opened_total` | `pool` |
    | `db_client_sessions_total` | `pool`, `outcome` |

    A collector reads its own process; Prometheus' multiprocess mode leaves collectors out.

    Args:
        databases: Names, the values of the label `pool`, and what they stand for.

    Raises:
        ConfigurationError: There is no database, or a name is empty or no string.

    Example:
        >>> REGISTRY.register(DatabaseCollector({"shop": db}))
    """

    def __init__(self, databases: Mapping[str, DatabaseSession]) -> None:
        if not databases:
            raise ConfigurationError("databases must not be empty; give at least one name and its DatabaseSession")
        for name in databases:
            if not isinstance(name, str) or not name.strip():
                raise ConfigurationError(f"databases holds a name that is empty or no str ({type(name).__name__})")
        self._databases = dict(databases)

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        count = GaugeMetricFamily("db_client_connection_count", "Connections of the pool.", labels=["pool", "state"])
        limit = GaugeMetricFamily("db_client_connection_max", "Connections that the pool may open.", labels=["pool"])
        pending = GaugeMetricFamily(
            "db_client_connection_pending_requests", "Sessions that wait for a connection.", labels=["pool"]
        )
        timeouts = CounterMetricFamily(
            "db_client_connection_timeouts", "Waits for a connection that ended in vain.", labels=["pool"]
        )
        opened = CounterMetricFamily("db_client_connection_opened", "Connections opened.", labels=["pool"])
        sessions = CounterMetricFamily("db_client_sessions", "Sessions that ended.", labels=["pool", "outcome"])
        for name, database in self._databases.items():
            state = database.pool()
            count.add_metric([name, "idle"], state.idle)
            count.add_metric([name, "used"], state.used)
            limit.add_metric([name], state.limit)
            pending.add_metric([name], state.waiting)
            timeouts.add_metric([name], state.timeouts)
            opened.add_metric([name], state.opened)
            for outcome in _OUTCOMES:
                sessions.add_metric([name, outcome], getattr(state, outcome))
        yield from (count, limit, pending, timeouts, opened, sessions)
