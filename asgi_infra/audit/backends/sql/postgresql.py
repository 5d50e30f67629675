"""PostgreSQL: an event loop in a thread of its own, a few connections, and each write in one transaction."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import asyncpg  # type: ignore[import-untyped]

from asgi_infra import forks
from asgi_infra.audit.backends.sql.database import Database, Link, MigrationLink
from asgi_infra.audit.backends.sql.failures import Again, Phase, told
from asgi_infra.audit.backends.sql.partitions import Partitions
from asgi_infra.audit.backends.sql.schema import CHANGE
from asgi_infra.audit.errors import (
    AuditClosedError,
    AuditIntegrityError,
    AuditOutcomeUnknownError,
    AuditStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
    from datetime import datetime

    from asgi_infra.audit.backends.sql.database import Row
    from asgi_infra.database.urls import DatabaseURL

T = TypeVar("T")

_CLOSE_SECONDS: Final = 1.0
_left_behind: list[object] = []  # connections and loops of a process before a fork


class PostgreSQLLink(Link):
    """A connection to a server."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        return [tuple(row) for row in await self._connection.fetch(_numbered(statement), *values)]

    async def execute(self, statement: str, *values: object) -> int:
        status = str(await self._connection.execute(_numbered(statement), *values))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        await self._connection.copy_records_to_table(table, columns=columns, records=rows)

    async def put_tiles(self, table: str, tiles: Sequence[tuple[int, int, bytes]]) -> None:
        await self._connection.execute(
            f"INSERT INTO {table} (level, n, hashes) "  # noqa: S608
            "SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bytea[]) "
            "ON CONFLICT (level, n) DO UPDATE SET hashes = excluded.hashes",
            *zip(*tiles, strict=True),
        )


class PostgreSQLDatabase(Database):
    """One database on a server.

    Args:
        url: Which one.
        prefix: The beginning of every table's name.
        timeout: Seconds that one piece of work may take.
        readers: Connections that may read at the same time, and stay open.
        clock: Gives the present time, aware.
    """

    dialect: ClassVar[str] = "postgresql"
    lock: ClassVar[str] = " FOR UPDATE"
    greatest: ClassVar[str] = "greatest"
    same_entry: ClassVar[str] = "p.seq = e.seq AND p.time = e.time"
    ids: ClassVar[str] = "ids"
    entry_columns: ClassVar[tuple[str, ...]] = ("seq", "time")
    private_columns: ClassVar[tuple[str, ...]] = ("seq", "time", "private")

    def __init__(
        self, url: DatabaseURL, prefix: str, *, timeout: float, readers: int, clock: Callable[[], datetime]
    ) -> None:
        super().__init__(prefix)
        self._url = url
        # SQLAlchemy's form of the URL, in the driver's own
        self._address = re.sub(r"([?&])ssl=", r"\1sslmode=", url.secret.replace("+asyncpg", "", 1))
        self._timeout = timeout
        self._readers = readers
        self._partitions = Partitions(prefix, clock)
        self._begin = (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
            f"SET LOCAL lock_timeout = {max(1, round(timeout * 800))}"  # so that the server gives up first
        )
        self._starting = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._reading = asyncio.Semaphore(readers)
        self._idle: list[Any] = []
        self._forks = 0
        self._closed = False
        self._repeated = 0

    def open(self) -> None:
        forks.watch()
        self.run(lambda link: link.fetch("SELECT 1"))

    def inspect(self, look: Callable[[Any], T]) -> T:
        return self._migrating(look, write=False)

    def change(self, change: Callable[[Any], T]) -> T:
        return self._migrating(change, write=True)

    def prepare(self) -> None:
        self.run(self._partitions.make_ahead, write=True)

    def run(self, work: Callable[[Link], Awaitable[T]], *, write: bool = False) -> T:
        return self._wait(self._run(work, write=write))

    def among(self, column: str, values: Iterable[object]) -> tuple[str, object]:
        return f"{column} = ANY(?)", list(values)

    def time(self, moment: datetime) -> datetime:
        return moment

    async def permit(self, link: Link) -> None:
        await link.execute(f"SET LOCAL {CHANGE} = 'on'")

    async def forbid(self, link: Link) -> None:
        await link.execute(f"SET LOCAL {CHANGE} = 'off'")

    async def make_room(self, link: Link, moments: Iterable[datetime]) -> None:
        await self._partitions.make(link, moments)

    async def drop_before(self, link: Link, seq: int) -> None:
        await self._partitions.drop_before(link, seq)

    def scrub(self) -> None:
        """Let the server use the room of what was deleted again, so that it is overwritten."""
        tables = ", ".join(f"{self.prefix}audit_{name}" for name in ("private", "staged", "entries"))
        self._wait(self._attempt(lambda link: link.execute(f"VACUUM {tables}"), write=False, timeout=None))

    def stats(self) -> dict[str, int]:
        made = self._partitions
        return {
            "repeated": self._repeated,
            "partitions_made": made.made,
            "partitions_dropped": made.dropped,
            "partitions_refused": made.refused,
        }

    def close(self) -> None:
        with self._starting:
            self._closed = True
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is not None and thread is not None and self._forks == forks.forks():
            asyncio.run_coroutine_threadsafe(self._disconnect(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        with self._starting:
            if self._closed:
                work.close()
                raise AuditClosedError("the audit logger is closed")
            if self._loop is None or self._forks != forks.forks():
                self._start()
            loop = self._loop
        assert loop is not None  # noqa: S101 - for the type checker
        try:
            return asyncio.run_coroutine_threadsafe(work, loop).result()
        except Again as exc:
            raise exc.error from exc.__cause__

    def _start(self) -> None:
        _left_behind.extend((self._loop, *self._idle))
        self._idle, self._forks = [], forks.forks()
        self._reading = asyncio.Semaphore(self._readers)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="asgi_infra-audit-postgresql", daemon=True)
        self._thread.start()

    def _migrating(self, function: Callable[[Any], T], *, write: bool) -> T:
        """Call a function that waits for each statement, in this thread."""

        def fetch(statement: str) -> list[Row]:
            return [tuple(row) for row in self._wait(connection.fetch(statement))]

        connection = self._wait(self._migration_begin(write=write))
        try:
            result = function(MigrationLink("postgresql", fetch))
            if write:
                self._wait(connection.execute("COMMIT"))
        except BaseException as exc:
            self._wait(self._give_up(connection))
            error = told(exc, self._url, Phase.WORKING)
            if error is exc:
                raise
            raise error from exc
        self._idle.append(connection)
        return result

    # In the thread of the loop

    async def _migration_begin(self, *, write: bool) -> Any:
        connection = await self._connection()
        if write:
            await connection.execute(self._begin)
        return connection

    async def _run(self, work: Callable[[Link], Awaitable[T]], *, write: bool) -> T:
        """Run work, and once more if the connection was lost: all that the store does may be done twice."""
        try:
            return await self._attempt(work, write=write, timeout=self._timeout)
        except Again as exc:
            first = exc
        self._repeated += 1
        self._partitions.forget()
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()
        try:
            return await self._attempt(work, write=write, timeout=self._timeout)
        except AuditIntegrityError:
            raise
        except (Again, AuditStoreError) as exc:
            if isinstance(first.error, AuditOutcomeUnknownError):
                raise first.error from exc
            raise

    async def _attempt(
        self,
        work: Callable[[Link], Awaitable[T]],
        *,
        write: bool,
        timeout: float | None,  # noqa: ASYNC109
    ) -> T:
        phase, connection = Phase.CONNECTING, None
        try:
            async with asyncio.timeout(timeout):
                if write:
                    connection = await self._connection()
                    phase = Phase.WORKING
                    await connection.execute(self._begin)
                    result = await work(PostgreSQLLink(connection))
                    phase = Phase.COMMITTING
                    await connection.execute("COMMIT")
                else:
                    async with self._reading:
                        connection = await self._connection()
                        phase = Phase.WORKING
                        result = await work(PostgreSQLLink(connection))
        except BaseException as exc:
            if connection is not None:
                await self._give_up(connection)
            error = told(exc, self._url, phase)
            if error is exc:
                raise
            raise error from exc
        self._idle.append(connection)
        return result

    async def _connection(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        connect: Any = asyncpg.connect  # its stub wants whole seconds
        connection = await connect(self._address, timeout=self._timeout)
        if await connection.fetchval("SELECT current_setting('synchronous_commit')") in ("off", "local"):
            await connection.execute("SET synchronous_commit = on")
        return connection

    async def _give_up(self, connection: Any) -> None:
        """Close a connection after a failure; the server then undoes what was not committed."""
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()

    async def _disconnect(self) -> None:
        for connection in self._idle:
            await self._give_up(connection)
        self._idle.clear()


@lru_cache(maxsize=512)
def _numbered(statement: str) -> str:
    """Return a statement with `$1`, `$2`, ... for its question marks."""
    head, *rest = statement.split("?")
    return head + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
