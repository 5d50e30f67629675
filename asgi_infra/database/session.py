"""`DatabaseSession`: the database of an application, one transaction a session."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from asgi_infra.database.figures import DatabaseHealth, PoolState
from asgi_infra.database.options import EngineOptions
from asgi_infra.database.urls import DatabaseURL
from asgi_infra.options import require_flag, require_seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from opentelemetry.trace import TracerProvider
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

    from asgi_infra.database.binding import Binding
    from asgi_infra.database.retry import Backoff
    from asgi_infra.database.transaction import Transaction

_logger = logging.getLogger("asgi_infra.database")
_T = TypeVar("_T")


class DatabaseSession:
    """Sessions on an SQLite or a PostgreSQL database, each of them one transaction.

    A session commits when its block ends and rolls back when the block raises, cancellation included; either is
    finished before the exception goes on. Database errors leave the block as `DatabaseError` children
    (`asgi_infra.database.errors`) whose `__cause__` is the original; other exceptions pass unchanged. A commit that
    fails is always raised.

    Nothing is opened before the first session. The pool belongs to the process and the event loop of that first
    session: in a forked child a new one is opened, and in another event loop a session raises `SessionMisuseError`,
    unless the first loop is closed. Needs asyncio, as SQLAlchemy's asynchronous engines do; trio won't do.

    Args:
        database_url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://` (memory) or
            `postgresql://user:password@host:5432/name`. Its user, password and query are never shown.
        pool_size: Connections that are kept open. A database in memory has one, whatever is said here.
        max_overflow: Connections beyond those for a peak; closed when they come back.
        pool_timeout: Seconds to wait for a connection of the pool.
        pool_recycle: Seconds after which a connection is not used again.
        pool_pre_ping: Ask every connection for a sign of life before use, which costs round trips. A server that
            closes its connections is noticed without that; needed where a firewall drops idle ones silently.
        connect_timeout: Seconds that connecting may take (PostgreSQL).
        statement_timeout: Seconds after which the server cancels a statement; `None` for the server's setting. Does
            not exist on SQLite.
        lock_timeout: Seconds to wait for a lock; `None` for 5 on SQLite and for the server's setting on PostgreSQL.
        cleanup_timeout: Seconds that a rollback may take, or a commit once its task is cancelled; after that the
            connection is closed.
        slow_query_threshold: Seconds from which on a statement is logged as slow, without parameters; `None` for
            never.
        hide_parameters: Keep the values of parameters and rows out of SQLAlchemy's and the drivers' messages.
        tracing: Make a client span for each statement.
        tracer_provider: Where spans go; `None` for the global provider.

    Raises:
        ConfigurationError: An argument is wrong; raised before a driver is looked for. Also a `ValueError`.
        MissingExtraError: SQLAlchemy or the driver is not installed.

    Example:
        >>> db = DatabaseSession("sqlite:///shop.db")
        >>> async with db.session() as session:
        ...     session.add(Order(item="tea", count=2))
    """

    def __init__(
        self,
        database_url: str,
        *,
        pool_size: int = 5,
        max_overflow: int = 10,
        pool_timeout: float = 10.0,
        pool_recycle: float = 1800.0,
        pool_pre_ping: bool = False,
        connect_timeout: float = 10.0,
        statement_timeout: float | None = None,
        lock_timeout: float | None = None,
        cleanup_timeout: float = 5.0,
        slow_query_threshold: float | None = 1.0,
        hide_parameters: bool = True,
        tracing: bool = True,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._url = DatabaseURL.parse(database_url)
        self._options = EngineOptions(
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_recycle=pool_recycle,
            pool_pre_ping=pool_pre_ping,
            connect_timeout=connect_timeout,
            statement_timeout=statement_timeout,
            lock_timeout=lock_timeout,
            hide_parameters=hide_parameters,
        )
        self._options.require_for(self._url.dialect)
        require_seconds("cleanup_timeout", cleanup_timeout)
        require_seconds("slow_query_threshold", slow_query_threshold, optional=True)
        require_flag("tracing", tracing)
        self._url.require_driver("DatabaseSession")
        self._cleanup_timeout = cleanup_timeout
        self._slow_query_threshold = slow_query_threshold
        self._tracing = tracing
        self._tracer_provider = tracer_provider
        # by process id: a forked child finds neither its parent's connections nor a lock that its parent held
        self._bindings: dict[int, Binding] = {}
        self._locks: dict[int, threading.Lock] = {}

    def __repr__(self) -> str:
        options = self._options
        return (
            f"DatabaseSession({str(self._url)!r}, pool_size={options.pool_size}, max_overflow={options.max_overflow})"
        )

    @property
    def engine(self) -> AsyncEngine:
        """The engine, opened when need be: for migrations and for what needs a connection without a session.

        Raises:
            SessionMisuseError: No asyncio loop runs, or another one than the engine's.
        """
        return self._bind().engine

    def session(self) -> Transaction:
        """Return an asynchronous context manager that gives an `AsyncSession`, and commits or rolls back at its end.

        The session connects with its first statement. It is for one task, and of no use after its block. Objects
        stay readable after the commit (`expire_on_commit=False`).

        Raises:
            SessionMisuseError: No asyncio loop runs, or another one than the engine's.
            DatabaseError: From the block: what the database refused; see `asgi_infra.database.errors`.

        Example:
            >>> async with db.session() as session:
            ...     await session.execute(text("UPDATE stock SET count = count - 1 WHERE item = :i"), {"i": "tea"})
        """
        from asgi_infra.database.transaction import Transaction

        return Transaction(self._bind(), str(self._url), self._cleanup_timeout)

    async def run(self, work: Callable[[AsyncSession], Awaitable[_T]], *, backoff: Backoff | None = None) -> _T:
        """Run `work` in a session, and again in a new one when it failed in a way that a retry can mend.

        That is: `OperationError.retryable`, so lost connections, serialisation failures and deadlocks. An unknown
        outcome is not retried. `work` may run several times: its effects outside of the database should not matter.

        Args:
            work: Called with the session; its result is returned once the commit has succeeded.
            backoff: How often and how long to wait between; `None` for `Backoff()`.

        Raises:
            DatabaseError: The last failure, when the attempts are used up, or the first that no retry can mend.

        Example:
            >>> async def transfer(session: AsyncSession) -> None: ...
            >>> await db.run(transfer)
        """
        from asgi_infra.database.retry import Backoff, retry

        async def attempt() -> _T:
            async with self.session() as session:
                return await work(session)

        return await retry(attempt, backoff or Backoff())

    async def health(self, timeout: float = 2.0) -> DatabaseHealth:  # noqa: ASYNC109 - part of what it answers
        """Ask the database for an answer, through the pool as any session would. Never raises for its faults.

        Args:
            timeout: Seconds to wait.

        Raises:
            ConfigurationError: The timeout is no positive number of seconds.
            SessionMisuseError: See `session`.
        """
        from asgi_infra.database.probe import probe

        require_seconds("timeout", timeout)
        engine, started = self.engine, time.perf_counter()
        error = await probe(engine, timeout)
        return DatabaseHealth(error is None, time.perf_counter() - started, error)

    def pool(self) -> PoolState:
        """Return the pool's figures in this process; zero as long as nothing was opened. For any thread."""
        limit = 1 if self._url.is_memory else self._options.pool_size + self._options.max_overflow
        binding = self._bindings.get(os.getpid())
        return PoolState(limit) if binding is None else binding.state(limit)

    async def aclose(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - for the sessions, not for the call
        """Close the pool: wait for open sessions, then close the connections. May be called twice.

        Sessions that outlast the wait keep their connection, which is closed when they end. A session that is
        begun afterwards opens a new pool, in whichever loop it is.

        Args:
            timeout: Seconds to wait for open sessions.

        Raises:
            ConfigurationError: The timeout is no positive number of seconds.
            SessionMisuseError: Called in another event loop than the pool's.
        """
        require_seconds("timeout", timeout)
        with self._lock():
            binding = self._bindings.get(os.getpid())
            if binding is None:
                return
            if not binding.loop.is_closed():
                binding.require_here()
            del self._bindings[os.getpid()]
        if binding.loop.is_closed():
            return
        left = await binding.close(timeout)
        if left:
            _logger.warning("%d database sessions were still open when the pool was closed", left)

    async def __aenter__(self) -> DatabaseSession:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _lock(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def _bind(self) -> Binding:
        from asgi_infra.database.binding import running_loop

        loop = running_loop()
        binding = self._bindings.get(os.getpid())
        if binding is None or binding.loop is not loop:
            with self._lock():
                binding = self._bindings.get(os.getpid())
                if binding is not None and binding.loop.is_closed():
                    _logger.warning("the event loop of %r ended without aclose(); a new pool is opened", self)
                    binding = None
                if binding is None:
                    binding = self._bindings[os.getpid()] = self._open(loop)
        binding.require_here()
        return binding

    def _open(self, loop: asyncio.AbstractEventLoop) -> Binding:
        from opentelemetry.trace import get_tracer

        from asgi_infra._version import __version__
        from asgi_infra.database.binding import Binding
        from asgi_infra.database.engine import create_engine
        from asgi_infra.database.statements import StatementObserver

        engine = create_engine(self._url, self._options)
        tracer = get_tracer("asgi_infra.database", __version__, self._tracer_provider) if self._tracing else None
        StatementObserver(self._url, tracer=tracer, slow_after=self._slow_query_threshold).watch(engine.sync_engine)
        return Binding(engine, loop)
