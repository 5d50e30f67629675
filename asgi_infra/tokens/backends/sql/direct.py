"""Single statements, past the layers of SQLAlchemy that cost more than the statement itself."""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from asgi_infra.database.translation import hide_values, says_goodbye, sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Engine, TextClause
    from sqlalchemy.engine.interfaces import DBAPICursor
    from sqlalchemy.pool import PoolProxiedConnection


class Answer:
    """The rows of a statement, with what `Operations` ask of SQLAlchemy's results."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        return self._rows

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        (row,) = self._rows
        return row

    def scalars(self) -> Answer:
        return Answer([row[0] for row in self._rows])

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        return self.one()[0]


class Plans:
    """How an engine writes statements, found out once for each."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._written: dict[TextClause, tuple[str, tuple[str, ...]]] = {}
        self._shapes: dict[str, Any] = {}

    def written(self, statement: TextClause) -> tuple[str, tuple[str, ...]]:
        """Return a statement as the driver takes it, and the names of its parameters in order."""
        known = self._written.get(statement)
        if known is None:
            compiled: Any = statement.compile(dialect=self.engine.dialect)
            known = self._written[statement] = (str(compiled), tuple(compiled.positiontup or ()))
        return known

    def rows(self, sql: str, cursor: DBAPICursor) -> list[Any]:
        """Return what a cursor has found, with names."""
        if not cursor.description:
            return []
        shape = self._shapes.get(sql)
        if shape is None:
            names = [column[0] for column in cursor.description]
            shape = self._shapes[sql] = _shape(names)
        return [shape._make(row) for row in cursor.fetchall()]


class DirectConnection:
    """A connection of the pool, outside of a transaction or in one that somebody else begins and ends.

    Stands in for SQLAlchemy's `Connection` where `Operations` are given one. Errors are the same.

    Args:
        plans: Of the engine.
        pooled: The connection.
        interruptible: Whether a statement may be cancelled, and leave the connection in an unknown state.
    """

    def __init__(self, plans: Plans, pooled: PoolProxiedConnection, *, interruptible: bool = True) -> None:
        self.dialect = plans.engine.dialect
        self._plans = plans
        self._pooled = pooled
        self._interruptible = interruptible

    def execute(self, statement: TextClause, values: Mapping[str, Any] | None = None) -> Answer:
        """Run a statement with named parameters."""
        sql, names = self._plans.written(statement)
        given = values or {}
        return self._run(sql, tuple([given[name] for name in names]))

    def exec_driver_sql(self, sql: str) -> Answer:
        """Run a statement without parameters."""
        return self._run(sql, ())

    def _run(self, sql: str, values: tuple[Any, ...]) -> Answer:
        errors = self.dialect.loaded_dbapi.Error
        cursor = self._pooled.cursor()
        try:
            cursor.execute(sql, values)
            return Answer(self._plans.rows(sql, cursor))
        except errors as exc:
            lost = self.dialect.is_disconnect(exc, self._pooled, cursor) or says_goodbye(sqlstate_of(exc))
            if lost:
                self._pooled.invalidate(exc)
            wrapped = DBAPIError.instance(
                sql, None, exc, errors, hide_parameters=True, connection_invalidated=lost, dialect=self.dialect
            )
            hide_values(wrapped, exc)
            raise wrapped from exc
        except BaseException as exc:
            # cancelled, or the transport's own error: what the connection is doing nobody knows
            if self._interruptible:
                self._pooled.invalidate(exc)
            raise
        finally:
            cursor.close()


def _shape(names: list[str]) -> Any:
    return namedtuple("Row", names, rename=True)
