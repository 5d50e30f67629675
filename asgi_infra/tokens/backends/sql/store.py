"""Tokens in an SQL database: SQLite or PostgreSQL."""

from __future__ import annotations

import logging
from copy import copy
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from asgi_infra.database.errors import SessionMisuseError
from asgi_infra.database.migrations import DEFAULT_PREFIX, DIALECTS, require_prefix
from asgi_infra.database.options import EngineOptions
from asgi_infra.database.session import DatabaseSession
from asgi_infra.database.urls import DatabaseURL
from asgi_infra.errors import ConfigurationError, MissingExtraError
from asgi_infra.options import require_flag, require_seconds, shown
from asgi_infra.tokens.backends.sql.schema import MIGRATIONS
from asgi_infra.tokens.contract import TokenStore
from asgi_infra.tokens.errors import DuplicateTokenError, StoreClosedError, StoreError, StoreUnavailableError
from asgi_infra.tokens.records import Replaced
from asgi_infra.tokens.rotation import RotationStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Concatenate, ParamSpec, Unpack

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    from asgi_infra.tokens.backends.sql.executor import Executor
    from asgi_infra.tokens.options import StoreOptions
    from asgi_infra.tokens.records import Record

    P = ParamSpec("P")

T = TypeVar("T")

_logger = logging.getLogger("asgi_infra.tokens")

_RETURNING = (3, 35)
_TIDY_SECONDS = 30
_TIDY_ROWS = 200
_PURGE_ROWS = 1000


class SQLTokenStore(TokenStore):
    """Keeps tokens in SQLite, for one machine, or in PostgreSQL, for many.

    Acknowledged means durable, as far as the server is told so: on SQLite `synchronous` is `FULL`, PostgreSQL has its
    own `synchronous_commit`. Tables are made and changed when the store opens, by however many processes at once, and
    what has expired is removed in passing. Every operation is one transaction, and most on PostgreSQL one statement.
    What can't be serialised or finds no connection is tried again within the time-out.

    On SQLite a thread of the store writes and another one reads. What waits to be written is written in one
    transaction, so that many share the wait for the disk. Any number of event loops may use the store. On PostgreSQL
    the pool belongs to the event loop that uses the store first; in another one, while that one is open, every
    operation raises. After a fork every operation raises too; open one store for each process. Needs asyncio.

    Args:
        database: A URL, `sqlite:///tokens.db`, `sqlite://` (memory) or `postgresql://user:password@host:5432/name`; or
            an `AsyncEngine` of yours for one of the two, which stays open. Your engine's settings then hold, for
            example for `synchronous`, and for parameters in messages; SQLite is several times slower then.
        timeout: Seconds that an operation may take, waiting for a connection and for locks included; 5 by default.
            Closing a connection that hangs may take half a second more.
        pool_size: Connections to PostgreSQL that are kept open; 10 by default. For URLs, as the next two.
        max_overflow: Connections beyond those for a peak; 0 by default.
        pool_recycle: Seconds after which a connection is not used again; 1800 by default.
        migrate: Whether the store makes and changes its tables; otherwise it only checks them.
            `asgi_infra.database.migrations.sql_of("tokens", "postgresql")` returns them as plain SQL.
        table_prefix: The beginning of the tables' names.
        options: What every store can be told, see `TokenStore`.

    Raises:
        ConfigurationError: An option is wrong.
        MissingExtraError: SQLAlchemy or the driver is not installed.

    Example:
        >>> async with SQLTokenStore("sqlite:///tokens.db", grace=10) as store:
        ...     await store.save(StoredToken.issue("alice", lifetime=timedelta(days=30)))
    """

    def __init__(
        self,
        database: str | AsyncEngine,
        *,
        timeout: float = 5.0,
        pool_size: int | None = None,
        max_overflow: int | None = None,
        pool_recycle: float | None = None,
        migrate: bool = True,
        table_prefix: str = DEFAULT_PREFIX,
        **options: Unpack[StoreOptions],
    ) -> None:
        super().__init__(**options)
        require_seconds("timeout", timeout)
        require_flag("migrate", migrate)
        require_prefix("table_prefix", table_prefix)
        self._timeout = timeout
        self._migrate = migrate
        self._prefix = table_prefix
        self._database: DatabaseSession | None = None
        self._executor: Executor
        self._parent: SQLTokenStore | None = None
        self._tidies = True
        self._tidy_at: int | None = None
        pool = {"pool_size": pool_size, "max_overflow": max_overflow, "pool_recycle": pool_recycle}
        pool = {name: value for name, value in pool.items() if value is not None}
        if isinstance(database, str):
            url = DatabaseURL.parse(database, parameter="database")
            self._dialect = url.dialect
            self._executor = self._executor_of(url, database, pool)
        else:
            self._dialect = _dialect_of(database)
            if pool:
                raise ConfigurationError(f"{' and '.join(pool)} must be left out where an engine is given")
            from asgi_infra.tokens.backends.sql.engine import EngineExecutor

            self._executor = EngineExecutor(partial(_same, database), owned=False, timeout=timeout)
        from asgi_infra.tokens.backends.sql.executor import Mode
        from asgi_infra.tokens.backends.sql.operations import Operations, Rotating

        self._read, self._statement, self._transaction = Mode.READ, Mode.STATEMENT, Mode.TRANSACTION
        self._repeatable = Mode.REPEATABLE
        self._rotating = Rotating
        self._do = Operations(self._dialect, table_prefix, max(1, len(self._hashing.keys)), self._settings, self._codec)

    def bind(self, transaction: AsyncConnection | AsyncSession) -> SQLTokenStore:
        """Return a view of the store whose operations are part of a transaction of yours.

        It never commits, and never rolls back further than to where an operation began; what it has done is done when
        you commit. Its time-outs are those of your connection, and it repeats nothing. Locks are held until your
        transaction ends, so keep it short, and of two users begin with the one whose name comes first. On PostgreSQL
        `max_sessions` is exact at READ COMMITTED, the server's default.

        Caches above the store forget what they know when an operation that may end a token's life returns. One that
        asks again before you commit learns what holds until then, so commit soon.

        Args:
            transaction: A connection or a session on the store's database. On SQLite the first operation that writes
                takes the write lock.

        Raises:
            ConfigurationError: It is neither of the two.
            StoreClosedError: The store has not been opened, which may change tables, or has been closed.

        Example:
            >>> async with db.session() as session:
            ...     session.add(PasswordChange(user="alice"))
            ...     await store.bind(session).revoke_all_for_user("alice", reason="password changed")
        """
        from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

        from asgi_infra.tokens.backends.sql.bound import BoundExecutor

        if not isinstance(transaction, (AsyncConnection, AsyncSession)):
            raise ConfigurationError(
                f"transaction must be an AsyncConnection or an AsyncSession, not {type(transaction).__name__}"
            )
        if self._closed or self._opened_in is None:
            raise StoreClosedError("the token store must be open before it is bound: use `async with`, or call open()")
        view = copy(self)
        view._executor = BoundExecutor(transaction)
        view._database = None
        view._tidies = False
        view._parent = self
        return view

    # What backends implement

    async def _open(self) -> None:
        def look(connection: Connection) -> bool:
            if self._dialect == "sqlite":
                _require_returning(connection)
            return bool(MIGRATIONS.missing(connection, prefix=self._prefix))

        try:
            if await self._executor.run(look, self._read):
                change = MIGRATIONS.apply if self._migrate else MIGRATIONS.check
                await self._run(self._transaction, change, prefix=self._prefix)
        except BaseException:
            await self._close()  # nobody closes what was never open
            raise

    async def _close(self) -> None:
        await self._executor.close(self._timeout)
        if self._database is not None:
            await self._database.aclose()

    async def _insert(self, record: Record, others: tuple[bytes, ...], now: int) -> int:
        alone = self._settings.max_sessions is None
        evicted = await self._run(self._statement if alone else self._transaction, self._do.insert, record, others, now)
        await self._tidy(now)
        return evicted

    async def _find(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> Record | None:
        from asgi_infra.tokens.backends.sql.rows import record_of

        row = await self._run(self._read, self._do.find, digests, now)
        if row is None or row.used_at is not None or (user_id is not None and row.user_id != user_id):
            return None
        return record_of(row, self._codec, jti)

    async def _replace(
        self,
        digests: tuple[bytes, ...],
        jti: str,
        successor: Record | None,
        sealed: bytes,
        user_id: str | None,
        now: int,
    ) -> Replaced:
        asked = self._rotating(digests, jti, successor, sealed, user_id, now)
        record = None
        if self._do.rotates_alone:
            try:
                record = await self._run(self._repeatable, self._do.rotate, asked)
            except DuplicateTokenError:
                record = None  # perhaps of a token that has expired since: the long way removes it
        if record is None:
            replaced = await self._run(self._transaction, self._do.rotate_or_tell, asked)
        else:
            replaced = Replaced(RotationStatus.ROTATED, record)
        await self._tidy(now)
        return replaced

    async def _remove(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> int:
        removed = await self._run(self._statement, self._do.remove_live, digests, user_id, now)
        return removed or await self._run(self._transaction, self._do.remove, digests, user_id, now)

    async def _remove_family(self, family_id: str, user_id: str | None, now: int) -> int:
        return await self._run(self._transaction, self._do.remove_family, family_id, user_id, now)

    async def _remove_user(self, user_id: str, kept: tuple[bytes, ...], now: int) -> int:
        return await self._run(self._transaction, self._do.remove_user, user_id, kept, now)

    async def _list(self, user_id: str, now: int) -> list[Record]:
        return await self._run(self._read, self._do.listed, user_id, now)

    async def _touch(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, before: int, now: int) -> bool:
        row = await self._run(self._read, self._do.find, digests, now)
        if row is None or row.used_at is not None or (user_id is not None and row.user_id != user_id):
            return False
        if (row.issued_at if row.last_used_at is None else row.last_used_at) > before:
            return True
        if await self._run(self._repeatable, self._do.touch, digests, user_id, before, now):
            return True
        # another caller was faster, or the token is gone
        return await self._find(digests, jti, user_id, now) is not None

    async def _deny(self, digest: bytes, until: int, now: int) -> None:
        await self._run(self._repeatable, self._do.deny, digest, until)
        await self._tidy(now)

    async def _is_denied(self, digests: tuple[bytes, ...], now: int) -> bool:
        return await self._run(self._read, self._do.is_denied, digests, now)

    async def _set_generation(self, user_id: str, fresh: str, until: int, renew: bool, now: int) -> str:
        return await self._run(self._repeatable, self._do.set_generation, user_id, fresh, until, renew, now)

    async def _current_generation(self, user_id: str, now: int) -> str | None:
        return await self._run(self._read, self._do.generation, user_id, now)

    async def _purge(self, limit: int, now: int) -> int:
        purged = 0
        while purged < limit:
            most = min(_PURGE_ROWS, limit - purged)
            removed = await self._run(self._transaction, self._do.purge, most, now)
            purged += removed
            if removed < most:
                break
        return purged

    async def _sizes(self) -> tuple[int | None, int | None]:
        return await self._run(self._read, self._do.sizes)

    async def _ping(self) -> None:
        await self._run(self._read, self._do.ping)

    # How they do it

    async def _ending(self, operation: Coroutine[Any, Any, T]) -> T:
        try:
            return await super()._ending(operation)
        finally:
            if self._parent is not None:
                self._parent._revision = self._revision

    async def _run(
        self, mode: Any, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self._closed:
            raise StoreClosedError("the token store has been closed; open a new one")
        return await self._executor.run(lambda connection: work(connection, *args, **kwargs), mode)

    async def _tidy(self, now: int) -> None:
        """Remove a little of what is dead, now and then; what was asked for is done already, so nothing may fail."""
        due = self._tidy_at
        if not self._tidies:
            return
        if due is None or now < due - 2 * _TIDY_SECONDS * 1_000_000:
            self._tidy_at = now + _TIDY_SECONDS * 1_000_000
        elif now >= due:
            self._tidy_at = now + _TIDY_SECONDS * 1_000_000
            try:
                removed = await self._run(self._transaction, self._do.purge, _TIDY_ROWS, now)
            except StoreError as exc:
                _logger.info("Dead tokens could not be removed in passing: %s", exc)
                return
            if removed >= _TIDY_ROWS:
                self._tidy_at = now

    def _executor_of(self, url: DatabaseURL, database: str, pool: dict[str, Any]) -> Executor:
        settings: dict[str, Any] = {"pool_size": 10, "max_overflow": 0, **pool}
        if url.dialect == "sqlite":
            EngineOptions(**settings)
            if find_spec("sqlalchemy") is None:
                raise MissingExtraError("sqlalchemy", purpose="SQLTokenStore on sqlite", extra="sql")
            from asgi_infra.tokens.backends.sql.sqlite import SQLiteExecutor

            return SQLiteExecutor(url, timeout=self._timeout)
        url.require_driver("SQLTokenStore")
        self._database = DatabaseSession(
            database,
            **settings,
            pool_timeout=self._timeout / 2,
            connect_timeout=self._timeout,
            # a third of what a statement costs here
            tracing=False,
            slow_query_threshold=None,
        )
        from asgi_infra.tokens.backends.sql.engine import EngineExecutor

        return EngineExecutor(self._own_engine, owned=True, timeout=self._timeout)

    def _own_engine(self) -> AsyncEngine:
        assert self._database is not None  # noqa: S101 - for the type checker
        try:
            return self._database.engine
        except SessionMisuseError as exc:
            raise StoreUnavailableError(
                "the token store needs asyncio, and the event loop that used it first; open one store for each loop",
                retryable=False,
            ) from exc


def open_store(url: str, **options: Any) -> SQLTokenStore:
    """Return the store that a URL names; see `SQLTokenStore`."""
    DatabaseURL.parse(url, parameter="url")
    return SQLTokenStore(url, **options)


def _same(engine: AsyncEngine) -> AsyncEngine:
    return engine


def _dialect_of(engine: Any) -> str:
    from sqlalchemy.ext.asyncio import AsyncEngine

    if not isinstance(engine, AsyncEngine):
        raise ConfigurationError(f"database must be a URL or an AsyncEngine, not {type(engine).__name__}")
    if engine.dialect.name not in DIALECTS:
        raise ConfigurationError(
            f"database must be an engine for one of {', '.join(DIALECTS)}, not {shown(engine.dialect.name)}"
        )
    return str(engine.dialect.name)


def _require_returning(connection: Connection) -> None:
    version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one())
    if tuple(map(int, version.split(".")[:2])) < _RETURNING:
        raise StoreUnavailableError(f"SQLite 3.35 or later is needed, not {version}", retryable=False)
