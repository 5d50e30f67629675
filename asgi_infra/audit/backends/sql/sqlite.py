"""SQLite: a file, one connection that writes, and some that read.

Write-ahead log with `synchronous=FULL`: a commit is on the disk when it returns. Other processes may write too; they
wait for each other. What is deleted is overwritten (`secure_delete`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from asgi_infra import forks
from asgi_infra.audit.backends.sql.database import Database, Link, MigrationLink
from asgi_infra.audit.errors import (
    AuditFullError,
    AuditIntegrityError,
    AuditOutcomeUnknownError,
    AuditStoreError,
    AuditUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence

    from asgi_infra.audit.backends.sql.database import Row

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_PUT_TILE: Final = (
    "INSERT INTO {} (level, n, hashes) VALUES (?, ?, ?) ON CONFLICT (level, n) DO UPDATE SET hashes = excluded.hashes"
)
_AT_ONCE: Final = (32, 8, 1)
_MINIMUM: Final = (3, 35)
_PAUSE: Final = 0.02
_left_behind: list[object] = []  # connections of a process before a fork: to close them would harm its locks


class SQLiteLink(Link):
    """A connection to a file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        return self.connection.execute(statement, values).fetchall()

    async def execute(self, statement: str, *values: object) -> int:
        return self.connection.execute(statement, values).rowcount

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        # Each call gives the interpreter's lock away and has to get it back: so many rows a call, in few sizes that
        # the connection keeps compiled.
        one = f"({', '.join('?' * len(columns))})"
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608
        at = 0
        for count in _AT_ONCE:
            statement = head + ", ".join([one] * count)
            while len(rows) - at >= count:
                values = [value for row in rows[at : at + count] for value in row]
                self.connection.execute(statement, values)
                at += count

    async def put_tiles(self, table: str, tiles: Sequence[tuple[int, int, bytes]]) -> None:
        self.connection.executemany(_PUT_TILE.format(table), tiles)


class SQLiteDatabase(Database):
    """One file.

    Args:
        path: The file; it is made if it isn't there, its directory is not.
        prefix: The beginning of every table's name.
        timeout: Seconds to wait for others that write.
        readers: Connections that are kept for reading.
    """

    dialect: ClassVar[str] = "sqlite"
    greatest: ClassVar[str] = "max"
    same_entry: ClassVar[str] = "p.seq = e.seq"
    ids: ClassVar[str] = "entries"
    entry_columns: ClassVar[tuple[str, ...]] = ("seq", "id", "time")
    private_columns: ClassVar[tuple[str, ...]] = ("seq", "private")

    def __init__(self, path: str, prefix: str, *, timeout: float, readers: int) -> None:
        super().__init__(prefix)
        self.path = path
        self._timeout = timeout
        self._kept = readers
        self._writing = Lock()
        self._pooling = Lock()
        self._writer: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._idle: list[sqlite3.Connection] = []
        self._forks = 0

    def open(self) -> None:
        if tuple(map(int, sqlite3.sqlite_version.split(".")[:2])) < _MINIMUM:
            raise AuditUnavailableError(f"SQLite 3.35 or later is needed, not {sqlite3.sqlite_version}")
        forks.watch()
        self._forks = forks.forks()
        with self._told("opened"), self._writing:
            self._open_writer()

    def inspect(self, look: Callable[[Any], T]) -> T:
        with self._told("read"), self._reader() as connection:
            return look(_migrating(connection))

    def change(self, change: Callable[[Any], T]) -> T:
        return self._transaction(lambda connection: change(_migrating(connection)))

    def run(self, work: Callable[[Link], Awaitable[T]], *, write: bool = False) -> T:
        if write:
            return self._transaction(lambda connection: _finish(work(SQLiteLink(connection))))
        with self._told("read"), self._reader() as connection:
            return _finish(work(SQLiteLink(connection)))

    def among(self, column: str, values: Iterable[object]) -> tuple[str, object]:
        return f"{column} IN (SELECT value FROM json_each(?))", json.dumps(list(values))  # noqa: S608

    def time(self, moment: datetime) -> int:
        return (moment - _EPOCH) // _MICROSECOND

    async def permit(self, link: Link) -> None:
        await link.execute(f"INSERT INTO {self.prefix}audit_permit (id) VALUES (1)")  # noqa: S608

    async def forbid(self, link: Link) -> None:
        await link.execute(f"DELETE FROM {self.prefix}audit_permit")  # noqa: S608

    def scrub(self) -> None:
        """Empty the write-ahead log, which still holds what was deleted from the file."""
        with self._told("rid of what was erased; erase again"), self._writing:
            deadline = monotonic() + self._timeout
            while self._open_writer().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if monotonic() > deadline:
                    raise AuditUnavailableError(
                        "the write-ahead log still holds what was erased, since somebody reads all the time; "
                        "erase again"
                    )
                sleep(_PAUSE)

    def close(self) -> None:
        with self._pooling:
            idle, self._idle = self._idle, []
        with self._writing:
            writer, self._writer = self._writer, None
        if self._forks == forks.forks():
            for connection in (*idle, *([writer] if writer is not None else [])):
                connection.close()

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._told("written to"), self._writing:
            connection = self._open_writer()
            committing = False
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = work(connection)
                committing = True
                connection.execute("COMMIT")
            except BaseException as exc:
                self._abandon(connection)
                if committing and isinstance(exc, sqlite3.Error) and _is_unsure(exc):
                    raise AuditOutcomeUnknownError(f"the commit failed with {exc.sqlite_errorname}") from exc
                raise
            return result

    def _abandon(self, connection: sqlite3.Connection) -> None:
        """Undo, on a connection that is never used again: whatever has happened to it, the next one begins afresh."""
        self._writer = None
        with suppress(sqlite3.Error):
            connection.rollback()
        with suppress(sqlite3.Error):
            connection.close()

    def _open_writer(self) -> sqlite3.Connection:
        self._look_for_fork()
        if self._writer is None:
            connection = self._connect()
            try:
                self._use_write_ahead_log(connection)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("PRAGMA cache_size = -16000")  # KiB, for the inner pages of all indexes
                found = os.stat(self.path)
            except BaseException:
                connection.close()
                raise
            if self._file not in (None, (found.st_dev, found.st_ino)):
                connection.close()
                raise AuditIntegrityError(f"the database {self.path} is not the file that it was")
            self._writer, self._file = connection, (found.st_dev, found.st_ino)
            return connection
        found = os.stat(self.path)
        if self._file != (found.st_dev, found.st_ino):
            raise AuditIntegrityError(f"the database {self.path} is not the file that it was")
        return self._writer

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        connection.text_factory = _text
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        return connection

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        """Switch; unlike anything else SQLite does not wait for this by itself."""
        deadline = monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorname != "SQLITE_BUSY" or monotonic() > deadline:
                    raise
                sleep(_PAUSE)
            else:
                return

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        self._look_for_fork()
        with self._pooling:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._pooling:
            if len(self._idle) < self._kept:
                self._idle.append(connection)
                return
        connection.close()

    def _look_for_fork(self) -> None:
        if self._forks != forks.forks():
            _left_behind.extend((self._writer, *self._idle))
            self._writer, self._idle, self._forks = None, [], forks.forks()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            raise self._translated(exc, what) from exc

    def _translated(self, exc: sqlite3.Error | OSError, what: str) -> AuditStoreError:
        name = getattr(exc, "sqlite_errorname", None) or type(exc).__name__
        message = f"the database {self.path} can't be {what}: {name}"
        if name == "SQLITE_FULL":
            return AuditFullError(message)
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CONSTRAINT")):
            # only this package writes: what meets a constraint was put there by somebody else
            return AuditIntegrityError(message)
        return AuditUnavailableError(message)


def _is_unsure(exc: sqlite3.Error) -> bool:
    """Return whether a commit that failed may have got to the disk all the same."""
    return getattr(exc, "sqlite_errorname", "").startswith("SQLITE_IOERR")


def _text(data: bytes) -> str:
    """Return a text, or what somebody made one by hand, so that `as_bytes` finds it again."""
    return data.decode("utf-8", "surrogateescape")


def _finish(work: Awaitable[T]) -> T:
    """Run to its end a coroutine that never waits."""
    coroutine: Coroutine[Any, Any, T] = work  # type: ignore[assignment]
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("work on SQLite must not wait")


def _migrating(connection: sqlite3.Connection) -> MigrationLink:
    return MigrationLink("sqlite", lambda statement: connection.execute(statement).fetchall())
