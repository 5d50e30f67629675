"""A thread with the only connection that it uses, and the work that waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.exc import DBAPIError

from asgi_infra.database.translation import connection_refused
from asgi_infra.tokens.backends.sql.direct import DirectConnection, Plans
from asgi_infra.tokens.backends.sql.failures import Phase
from asgi_infra.tokens.errors import StoreClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.pool import PoolProxiedConnection

_AT_ONCE = 32
_open: set[object] = set()  # a fork must not close them, for that would harm the locks of its parent


class Job:
    """A piece of work.

    Args:
        work: What is to be done.
        writes: Whether it needs a transaction that writes.
        deadline: When it must have begun, as `time.monotonic` tells the time.

    Attributes:
        over: Is done, in the event loop where the job was made, once the job is.
        phase: How far it has come.
        result: What the work returned.
        error: What it raised.
    """

    result: Any = None
    error: BaseException | None = None

    def __init__(self, work: Callable[[Connection], object], *, writes: bool, deadline: float) -> None:
        self.work = work
        self.writes = writes
        self.deadline = deadline
        self.phase = Phase.CONNECTING
        self.loop = asyncio.get_running_loop()
        self.over = self.loop.create_future()
        self._claimed = Lock()

    def claim(self) -> bool:
        """Return whether nobody has begun it or given it up before; from now on somebody has."""
        return self._claimed.acquire(blocking=False)

    def is_late(self) -> bool:
        """Return whether the deadline has passed, which is an error then."""
        if monotonic() < self.deadline:
            return False
        self.error = TimeoutError("it was late")
        return True


class Worker:
    """Does jobs one after the other, and those that write and wait together in one transaction.

    Its thread begins with the first job.

    Args:
        engine: A synchronous engine for SQLite, of which it uses one connection.
        name: The database's, for messages.
        lock_seconds: How long to wait for a lock that another process holds.
        memory: Whether the database ends with its connection.
    """

    def __init__(self, engine: Engine, name: str, *, lock_seconds: float, memory: bool) -> None:
        self._plans = Plans(engine)
        self._name = name
        self._memory = memory
        self._lock_seconds = self._waits = lock_seconds
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._starting = Lock()
        self._thread: Thread | None = None
        self._ended = False
        self._pooled: PoolProxiedConnection | None = None
        self._connection: DirectConnection | None = None

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue.

        Raises:
            StoreClosedError: The worker has been ended.
        """
        with self._starting:
            if self._ended:
                raise StoreClosedError("the token store has been closed; open a new one")
            self._jobs.put(job)
            if self._thread is None:
                # a daemon: a program whose store nobody closes can end, and what was acknowledged is on the disk
                self._thread = Thread(target=self._live, name="asgi_infra-tokens-sqlite", daemon=True)
                self._thread.start()

    def end(self, seconds: float = 0.0) -> None:
        """Let the worker do what it has been given, close its connection and end.

        Args:
            seconds: How long to wait for that.
        """
        with self._starting:
            self._ended = True
            self._jobs.put(None)
        if self._thread is not None and seconds:
            self._thread.join(seconds)

    def _live(self) -> None:
        while self._serve(self._jobs.get()):
            pass  # and nothing here remembers a job, which may know the store
        self._disconnect()

    def _serve(self, first: Job | None) -> bool:
        given = [first]
        with suppress(Empty):
            while len(given) < _AT_ONCE:
                given.append(self._jobs.get_nowait())
        jobs = [job for job in given if job is not None]
        begun = [job for job in jobs if job.claim() and not job.is_late()]
        if writing := [job for job in begun if job.writes]:
            self._write(writing)
        for job in begun:
            if not job.writes:
                self._read(job)
        _deliver(jobs)
        return None not in given

    def _read(self, job: Job) -> None:
        try:
            connection = self._connected([job])
            job.phase = Phase.WORKING
            job.result = job.work(connection)
        except BaseException as exc:  # noqa: BLE001 - the caller's
            job.error = exc

    def _write(self, jobs: list[Job]) -> None:
        try:
            connection = self._connected(jobs)
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for job in jobs:
                job.phase = Phase.WORKING
            for job in jobs:
                job.result = job.work(connection)
            for job in jobs:
                job.phase = Phase.COMMITTING
            connection.exec_driver_sql("COMMIT")
        except BaseException as exc:  # noqa: BLE001 - the callers'
            self._roll_back()
            if len(jobs) > 1 and jobs[0].phase is Phase.WORKING:
                for job in jobs:  # it is the fault of one of them
                    job.phase = Phase.CONNECTING
                    self._write([job])
                return
            for job in jobs:
                job.error = exc

    def _connected(self, jobs: list[Job]) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        left = min(job.deadline for job in jobs) - monotonic()
        waits = max(0.0, min(self._lock_seconds, left))
        if waits != self._waits:
            self._connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(waits * 1000)}")
            self._waits = waits
        return cast("Connection", self._connection)

    def _connect(self) -> DirectConnection:
        try:
            pooled = self._plans.engine.raw_connection()
        except sqlite3.Error as exc:
            raise connection_refused(self._name, exc) from exc
        connection = DirectConnection(self._plans, pooled, interruptible=False)
        try:
            if not self._memory:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                # acknowledged is durable: a revocation that a power failure undoes lets a thief in again
                connection.exec_driver_sql("PRAGMA synchronous = FULL")
        except BaseException:
            pooled.close()
            raise
        self._pooled, self._waits = pooled, self._lock_seconds
        _open.add(pooled)
        return connection

    def _roll_back(self) -> None:
        driver: Any = None if self._pooled is None else self._pooled.driver_connection
        if driver is not None and driver.in_transaction:
            with suppress(sqlite3.Error):
                driver.execute("ROLLBACK")

    def _disconnect(self) -> None:
        pooled, self._pooled, self._connection = self._pooled, None, None
        if pooled is not None:
            with suppress(DBAPIError):
                pooled.close()
            _open.discard(pooled)


def _deliver(jobs: list[Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, theirs in by_loop.items():
        with suppress(RuntimeError):  # the loop has been closed, and nobody waits
            loop.call_soon_threadsafe(_end, theirs)


def _end(jobs: list[Job]) -> None:
    for job in jobs:
        if not job.over.done():
            job.over.set_result(None)
