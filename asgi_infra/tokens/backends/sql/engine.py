"""Work of a store on the connections of an asynchronous engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy.pool import StaticPool
from sqlalchemy.util import greenlet_spawn

from asgi_infra.database.engine import SQLITE_BEGIN
from asgi_infra.database.shield import run_to_end
from asgi_infra.tokens.backends.sql.bound import take_write_lock
from asgi_infra.tokens.backends.sql.direct import DirectConnection, Plans
from asgi_infra.tokens.backends.sql.executor import CLEANUP_SECONDS, Mode, OwnExecutor, conclude
from asgi_infra.tokens.backends.sql.failures import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")


class EngineExecutor(OwnExecutor):
    """Runs work on connections of an engine.

    Args:
        engine: Returns the engine, the same each time for one event loop.
        owned: Whether the engine is the store's own, so that nobody looks at what it does.
        timeout: Seconds that all of it may take.
    """

    def __init__(self, engine: Callable[[], AsyncEngine], *, owned: bool, timeout: float) -> None:
        super().__init__(timeout)
        self._source = engine
        self._owned = owned
        self._home: _Home | None = None
        self._running: set[asyncio.Future[None]] = set()

    async def close(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)

    async def _once(self, work: Callable[[Connection], T], mode: Mode, deadline: float) -> T:
        loop = asyncio.get_running_loop()
        home = self._here()
        transaction = _Transaction(home, work, mode)
        over = loop.create_future()
        self._running.add(over)
        try:
            # SQLite's own word on a lock comes at the time-out too, and is better than a connection that is cut off
            left = deadline - loop.time() + (CLEANUP_SECONDS if home.sqlite else 0.0)
            ended = await run_to_end(transaction.run(), grace=left, patient=False, stopping=CLEANUP_SECONDS)
        finally:
            self._running.discard(over)
            over.set_result(None)
        conclude(ended.error, ended.cancelled, transaction.phase)
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

    async def run(self) -> None:
        home = self._home
        single = self._mode is Mode.READ or (self._mode is not Mode.TRANSACTION and not home.sqlite)
        run = self._alone if single else self._whole
        if not home.sqlite or (self._mode is Mode.READ and not home.one_connection):
            await greenlet_spawn(run)
        else:
            async with home.writers:
                await greenlet_spawn(run)

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
