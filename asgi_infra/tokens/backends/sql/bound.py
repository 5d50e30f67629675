"""Work of a store as part of somebody else's transaction."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from asgi_infra.tokens.backends.sql.executor import Executor, Mode
from asgi_infra.tokens.backends.sql.failures import Phase, raise_told

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")


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
