"""Entries that commit together with somebody's own transaction, and get their numbers afterwards."""

from __future__ import annotations

from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from anyio import to_thread

from asgi_infra import faults, forks
from asgi_infra.audit.errors import AuditClosedError
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

    from asgi_infra.audit.backends.sql.store import SQLStore
    from asgi_infra.audit.calls import StoreCalls
    from asgi_infra.audit.record import Record


class Sequencer:
    """Stages records, and moves them into the log from time to time, in a thread that begins with the first one.

    Args:
        store: The log.
        calls: How it is called.
        every: Seconds between two looks.
    """

    def __init__(self, store: SQLStore, calls: StoreCalls, every: float) -> None:
        self._store = store
        self._calls = calls
        self._every = every
        self._starting = Lock()
        self._ending = Event()
        self._thread: Thread | None = None
        self._forks = 0

    async def stage(self, transaction: AsyncConnection | AsyncSession, record: Record) -> None:
        """Put a record into the staging table, in a transaction of the caller's."""
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

        if not isinstance(transaction, (AsyncConnection, AsyncSession)):
            raise ConfigurationError(
                f"transaction must be an AsyncConnection or an AsyncSession, not {type(transaction).__name__}"
            )
        await self._calls.call(self._start)
        statement = f"INSERT INTO {self._store.tables.staged} (leaf, private) VALUES (:leaf, :private)"  # noqa: S608
        await transaction.execute(text(statement), {"leaf": record.leaf, "private": record.private})

    async def sequence(self) -> int:
        """Move what is committed."""
        return await self._calls.call(self._store.sequence)

    async def aclose(self) -> None:
        """End the thread, after a last look."""
        self._ending.set()
        thread = self._thread
        if thread is not None and self._forks == forks.forks():
            await to_thread.run_sync(thread.join)

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None and self._forks == forks.forks():
                return
            self._forks = forks.forks()
            self._thread = Thread(target=self._run, name="asgi_infra-audit-sequencer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(self._every)
            try:
                self._calls.run(self._store.sequence)
            except AuditClosedError:
                return
            except Exception as exc:  # noqa: BLE001 - tried again; whoever reads meanwhile hears of it
                faults.record("audit.sequence", exc, consequence="staged entries wait for their numbers")
