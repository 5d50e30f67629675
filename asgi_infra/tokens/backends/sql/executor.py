"""How the work of a store comes to a connection, and what becomes of it when something goes wrong."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import greenlet_spawn

from asgi_infra.database.engine import SQLITE_BEGIN
from asgi_infra.database.retry import Backoff
from asgi_infra.database.shield import run_to_end
from asgi_infra.tokens.backends.sql.direct import DirectConnection, Plans
from asgi_infra.tokens.backends.sql.failures import Phase, is_passing, raise_told
from asgi_infra.tokens.errors import OutcomeUnknownError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

T = TypeVar("T")

_BACKOFF = Backoff(attempts=8, base=0.02, longest=0.5)
_CLEANUP_SECONDS = 0.5


class Mode(Enum):
    """What a piece of work does, and so what has to be around it."""

    READ = auto()
    STATEMENT = auto()
    """One statement that writes: on PostgreSQL a transaction of its own, without the round trips of a BEGIN."""
    REPEATABLE = auto()
    """The same, and repeated also when the answer was lost: doing it twice is doing it once, and tells the same."""
    TRANSACTION = auto()


class Executor(ABC):
    """Runs work; raises the errors of token stores."""

    @abstractmethod
    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        """Run work in a transaction and return its result."""

    @abstractmethod
    async def close(self, seconds: float) -> None:
        """Wait for what runs, at most so many seconds."""


class EngineExecutor(Executor):
    """Runs work on connections of an engine, each in a transaction of its own, and again where that can help.

    Work that has begun goes on when its caller is cancelled, and the cancellation is raised at its end: a connection
    is in no unknown state, an SQLite database in memory is not lost with its only connection, and clients that hang up
    cost no new connections.

    Args:
        engine: Returns the engine, the same each time for one event loop.
        owned: Whether the engine is the store's own, so that SQLite may be told to write durably.
        timeout: Seconds that all of it may take.
    """

    def __init__(self, engine: Callable[[], AsyncEngine], *, owned: bool, timeout: float) -> None:
        self._source = engine
        self._owned = owned
        self._timeout = timeout
        self._home: _Home | None = None
        self._running: set[asyncio.Future[None]] = set()

    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        home, loop = self._here(), asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        attempt = 0
        while True:
            try:
                return await self._once(home, work, mode, deadline)
            except (StoreUnavailableError, OutcomeUnknownError) as exc:
                if isinstance(exc, OutcomeUnknownError) and mode is not Mode.REPEATABLE:
                    raise
                attempt += 1
                pause = random.uniform(0.0, _BACKOFF.ceiling(attempt))  # noqa: S311 - jitter
                late = attempt >= _BACKOFF.attempts or loop.time() + pause >= deadline
                if late or not is_passing(exc.__cause__):
                    raise
            await asyncio.sleep(pause)

    async def close(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)

    async def _once(self, home: _Home, work: Callable[[Connection], T], mode: Mode, deadline: float) -> T:
        transaction = _Transaction(home, work, mode)
        over = asyncio.get_running_loop().create_future()
        self._running.add(over)
        try:
            ended = await run_to_end(transaction.run(deadline), grace=self._timeout + _CLEANUP_SECONDS, patient=False)
        finally:
            self._running.discard(over)
            over.set_result(None)
        if ended.cancelled is not None:
            if ended.error is None:
                ended.cancelled.add_note("The cancellation came while the operation was ending; it was done.")
            raise ended.cancelled
        if ended.error is not None:
            raise_told(ended.error, transaction.phase)
        result: T = transaction.result
        return result

    def _here(self) -> _Home:
        engine = self._source()
        if self._home is None or self._home.engine is not engine:
            self._home = _Home(engine, owned=self._owned)
        return self._home


class _Home:
    """An engine, as work needs it."""

    def __init__(self, engine: AsyncEngine, *, owned: bool) -> None:
        self.engine = engine
        self.sync: Engine = engine.sync_engine
        self.sqlite = engine.dialect.name == "sqlite"
        self.single = self.sync
        self.one_connection = isinstance(engine.pool, StaticPool)
        # SQLite lets waiting writers sleep; in one process they can wait for each other in order
        self.writers = asyncio.Lock()
        self.plans = Plans(self.sync) if owned and not self.sqlite else None
        if not self.sqlite:
            self.single = self.sync.execution_options(isolation_level="AUTOCOMMIT")
        elif owned:
            event.listen(self.sync, "connect", _write_durably)


class _Transaction:
    """One attempt.

    Attributes:
        phase: How far it has come.
        result: What the work returned, once it is done.
    """

    result: Any

    def __init__(self, home: _Home, work: Callable[[Connection], T], mode: Mode) -> None:
        self.phase = Phase.CONNECTING
        self._home = home
        self._work = work
        self._mode = mode

    async def run(self, deadline: float) -> None:
        home = self._home
        if not home.sqlite:
            async with asyncio.timeout_at(deadline):
                await greenlet_spawn(self._alone if self._mode is not Mode.TRANSACTION else self._whole)
        elif self._mode is Mode.READ and not home.one_connection:
            await greenlet_spawn(self._alone)
        else:
            async with asyncio.timeout_at(deadline):
                await home.writers.acquire()
            try:
                await greenlet_spawn(self._alone if self._mode is Mode.READ else self._whole)
            finally:
                home.writers.release()

    def _alone(self) -> None:
        if self._home.plans is not None:
            self._directly(self._home.plans)
            return
        with self._home.single.connect() as connection:
            self.phase = Phase.WORKING if self._mode is Mode.READ else Phase.COMMITTING
            self.result = self._work(connection)

    def _directly(self, plans: Plans) -> None:
        pooled = self._home.sync.raw_connection()
        connection: Any = pooled.dbapi_connection
        try:
            connection.autocommit = True
            self.phase = Phase.WORKING if self._mode is Mode.READ else Phase.COMMITTING
            self.result = self._work(cast("Connection", DirectConnection(plans, pooled)))
        finally:
            connection.autocommit = False
            pooled.close()

    def _whole(self) -> None:
        with self._home.sync.connect() as connection:
            connection.execution_options(**{SQLITE_BEGIN: "IMMEDIATE"})
            with connection.begin():
                self.phase = Phase.WORKING
                take_write_lock(connection)
                self.result = self._work(connection)
                self.phase = Phase.COMMITTING


class BoundExecutor(Executor):
    """Runs work in somebody else's transaction, which it neither commits nor rolls back, as far as that goes.

    Args:
        bound: The connection or the session.
    """

    def __init__(self, bound: AsyncConnection | AsyncSession) -> None:
        self._bound = bound

    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        def run(connection: Connection) -> T:
            around: AbstractContextManager[object] = nullcontext()
            if mode is not Mode.READ:
                take_write_lock(connection)
                # PostgreSQL ends a transaction with the first error; a savepoint keeps the caller's out of ours
                around = connection.begin_nested()
            with around:
                return work(connection)

        try:
            if isinstance(self._bound, AsyncSession):
                return await (await self._bound.connection()).run_sync(run)
            return await self._bound.run_sync(run)
        except Exception as exc:  # noqa: BLE001 - raised again
            raise_told(exc, Phase.WORKING)

    async def close(self, seconds: float) -> None:
        """Do nothing: the transaction is the caller's."""


def take_write_lock(connection: Connection) -> None:
    """Begin the transaction on SQLite now, as one that writes, unless that has happened."""
    if connection.dialect.name == "sqlite":
        if not connection.in_transaction():
            connection.begin()  # an engine may have its own way to begin, which this package's has
        driver = connection.connection.driver_connection
        if driver is not None and not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _write_durably(connection: DBAPIConnection, _entry: object) -> None:
    # acknowledged is durable: a revocation that a power failure undoes lets a thief in again
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
