"""Engines from URLs, for every part of this package that speaks SQL."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from asgi_infra.database.errors import ConnectionFailedError, OutcomeUnknownError, SessionMisuseError
from asgi_infra.database.translation import COMMITTING, connection_refused, hide_values, says_goodbye, sqlstate_of
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from sqlalchemy import Connection
    from sqlalchemy.engine import AdaptedConnection, Dialect, ExceptionContext
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry

    from asgi_infra.database.options import EngineOptions
    from asgi_infra.database.urls import DatabaseURL

SQLITE_BEGIN = "sqlite_begin"
"""Execution option: `"IMMEDIATE"` lets a transaction on SQLite take the write lock when it begins."""

_FAILED = "asgi_infra_statement_failed"
_SQLITE_LOCK_SECONDS = 5.0


class ObservedPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool, which also counts who waits for it.

    Attributes:
        waiting: How many wait for a connection now.
        timeouts: How often one waited in vain.
        opened: How many connections were opened.
        closing: The tasks that close a connection right now (PostgreSQL).
    """

    # SQLAlchemy names a pool's logger after the module of its class; this keeps it below `sqlalchemy`.
    __module__ = AsyncAdaptedQueuePool.__module__

    waiting = 0
    timeouts = 0
    opened = 0
    closing: Collection[asyncio.Task[object]] = ()

    def _do_get(self) -> ConnectionPoolEntry:
        self.waiting += 1
        try:
            return super()._do_get()
        except PoolTimeoutError:
            self.timeouts += 1
            raise
        finally:
            self.waiting -= 1


def create_engine(url: DatabaseURL, options: EngineOptions) -> AsyncEngine:
    """Make an engine for an SQLite or a PostgreSQL database. Connects to nothing yet.

    On SQLite: foreign keys are enforced, a file uses write-ahead logging, transactions are real ones (reads
    included), and a database in memory has one connection, which sessions use one after the other.
    The pool is an `ObservedPool`.

    Args:
        url: Which database.
        options: How to connect and pool.

    Raises:
        ConfigurationError: An option does not exist for this database.
    """
    options.require_for(url.dialect)
    pool: dict[str, Any] = {"pool_size": options.pool_size, "max_overflow": options.max_overflow}
    if url.is_memory:
        pool = {"pool_size": 1, "max_overflow": 0, "pool_recycle": -1}
    else:
        pool |= {"pool_recycle": options.pool_recycle, "pool_pre_ping": options.pool_pre_ping}
    closing: set[asyncio.Task[object]] = set()
    engine = create_async_engine(
        make_url(url.secret),
        poolclass=ObservedPool,
        pool_timeout=options.pool_timeout,
        hide_parameters=options.hide_parameters,
        connect_args=_connect_arguments(url, options, closing),
        **pool,
    )
    cast("ObservedPool", engine.pool).closing = closing
    _listen(engine, url, options)
    if url.dialect == "sqlite" and options.hide_parameters:
        driver_logger = logging.getLogger("aiosqlite")
        if driver_logger.level == logging.NOTSET:  # at DEBUG it logs every statement with its parameters
            driver_logger.setLevel(logging.INFO)
    return engine


def _connect_arguments(url: DatabaseURL, options: EngineOptions, closing: set[asyncio.Task[object]]) -> dict[str, Any]:
    if url.dialect == "sqlite":
        return {"timeout": options.lock_timeout or _SQLITE_LOCK_SECONDS}
    from asgi_infra.database.closing import closing_connection

    settings = {
        name: str(max(1, round(seconds * 1000)))
        for name in ("statement_timeout", "lock_timeout")
        if (seconds := getattr(options, name)) is not None
    }
    return {
        "timeout": options.connect_timeout,
        "server_settings": settings,
        "connection_class": closing_connection(closing),
    }


def _listen(engine: AsyncEngine, url: DatabaseURL, options: EngineOptions) -> None:
    sync = engine.sync_engine
    home = os.getpid()

    @event.listens_for(sync, "do_connect")
    def connect(dialect: Dialect, _entry: object, arguments: list[Any], parameters: dict[str, Any]) -> DBAPIConnection:
        try:
            connection = dialect.connect(*arguments, **parameters)
        except OSError as exc:  # a TimeoutError is one
            raise connection_refused(url, exc) from exc
        except TypeError as exc:
            message = f"the query of database_url holds an option that {url.driver} does not know"
            raise ConfigurationError(message) from exc
        except Exception as exc:
            if sqlstate_of(exc) is None:
                raise
            raise connection_refused(url, exc) from exc
        cast("ObservedPool", sync.pool).opened += 1
        return connection

    @event.listens_for(sync, "begin")
    def begin(connection: Connection) -> None:
        connection.info[_FAILED] = connection.info[COMMITTING] = False
        if url.dialect == "sqlite":
            immediate = connection.get_execution_options().get(SQLITE_BEGIN) == "IMMEDIATE"
            connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    @event.listens_for(sync, "before_cursor_execute")
    def guard(*_: object) -> None:
        if os.getpid() != home:
            raise SessionMisuseError("the session was opened before a fork; open a new one in the child")

    @event.listens_for(sync, "commit")
    def commit(connection: Connection) -> None:
        # PostgreSQL answers COMMIT in a failed transaction with a rollback that looks like success; this raises instead
        if connection.info[_FAILED] and url.dialect == "postgresql":
            connection.exec_driver_sql("SELECT 1")
        connection.info[COMMITTING] = True

    @event.listens_for(sync, "handle_error")
    def failed(failure: ExceptionContext) -> Exception | None:
        original = failure.original_exception
        committing = False
        if failure.connection is not None and not failure.connection.invalidated:
            failure.connection.info[_FAILED] = True
            committing = failure.statement is None and failure.connection.info.get(COMMITTING, False)
        if says_goodbye(sqlstate_of(original)):
            failure.is_disconnect = True
        if options.hide_parameters and failure.sqlalchemy_exception is not None:
            hide_values(failure.sqlalchemy_exception, original)
        if committing:
            setattr(original, COMMITTING, True)
        if isinstance(original, OSError):
            # the transport's own error, which the dialect does not know
            failure.is_disconnect = True
            kind = OutcomeUnknownError if committing else ConnectionFailedError
            return kind(f"the connection to {url} was lost: {type(original).__name__}")
        return None

    if url.dialect == "sqlite":

        @event.listens_for(sync, "connect")
        def prepare(connection: DBAPIConnection, _entry: object) -> None:
            connection.isolation_level = None  # the driver's own BEGIN comes too late, see "begin" above
            cursor = connection.cursor()
            cursor.execute("PRAGMA foreign_keys = ON")
            if not url.is_memory:
                cursor.execute("PRAGMA journal_mode = WAL")
            cursor.close()

    else:

        @event.listens_for(sync, "checkout")
        def check(connection: AdaptedConnection, _entry: object, _proxy: object) -> None:
            # the loop has seen the server close the socket: known without the three round trips of a ping
            if connection.driver_connection.is_closed():
                raise InvalidatePoolError("the server has closed the connection")
