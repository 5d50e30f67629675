"""Work of a store on an SQLite database of its own."""

from __future__ import annotations

import asyncio
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, TypeVar
from weakref import finalize

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from asgi_infra.database.shield import run_to_end
from asgi_infra.tokens.backends.sql.executor import CLEANUP_SECONDS, Mode, OwnExecutor, conclude
from asgi_infra.tokens.backends.sql.failures import Phase
from asgi_infra.tokens.backends.sql.worker import Job, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from asgi_infra.database.urls import DatabaseURL

T = TypeVar("T")


class SQLiteExecutor(OwnExecutor):
    """Runs work in two threads, one that writes and one that reads; a database in memory has one for both.

    Every operation goes there and comes back once, whatever it consists of, and from any event loop.

    Args:
        url: The database's.
        timeout: Seconds that an operation may take; half of it one wait for a lock.
    """

    def __init__(self, url: DatabaseURL, *, timeout: float) -> None:
        super().__init__(timeout)
        self._name = str(url)
        self._memory = url.is_memory
        self._engine = create_engine(
            make_url(url.secret).set(drivername="sqlite"),
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={"timeout": timeout / 2, "isolation_level": None},
        )
        self._starting = Lock()
        self._workers: tuple[Worker, Worker] | None = None

    async def close(self, seconds: float) -> None:
        with self._starting:
            workers, self._workers = self._workers, None
        for worker in dict.fromkeys(workers or ()):
            await run_to_end(asyncio.to_thread(worker.end, seconds), grace=seconds, patient=False)

    async def _once(self, work: Callable[[Connection], T], mode: Mode, deadline: float) -> T:
        left = deadline - asyncio.get_running_loop().time()
        job = Job(work, writes=mode is not Mode.READ, deadline=monotonic() + left)
        writer, reader = self._workers or self._start()
        (writer if job.writes else reader).submit(job)
        ended = await run_to_end(job.over, grace=left + CLEANUP_SECONDS, patient=False)
        error, phase = job.error, job.phase
        if ended.gave_up:
            error = ended.error
            # what has begun goes on, and who writes will not be asked whether to commit
            phase = Phase.COMMITTING if job.writes and not job.claim() else Phase.CONNECTING
        conclude(error, ended.cancelled, phase)
        result: T = job.result
        return result

    def _start(self) -> tuple[Worker, Worker]:
        with self._starting:
            if self._workers is None:
                writer = self._worker()
                self._workers = (writer, writer if self._memory else self._worker())
            return self._workers

    def _worker(self) -> Worker:
        worker = Worker(self._engine, self._name, lock_seconds=self._timeout / 2, memory=self._memory)
        finalize(self, worker.end).atexit = False
        return worker
