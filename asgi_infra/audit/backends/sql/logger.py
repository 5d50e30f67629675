"""The audit log in an SQL database."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Self

from asgi_infra.audit.backends.sql.sequencing import Sequencer
from asgi_infra.audit.backends.sql.store import SQLStore
from asgi_infra.audit.contract import AuditLogger
from asgi_infra.database.migrations import DEFAULT_PREFIX, require_prefix
from asgi_infra.database.urls import DatabaseURL
from asgi_infra.errors import ConfigurationError, MissingExtraError
from asgi_infra.options import require_flag, require_integer, require_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

    from asgi_infra.audit.backends.sql.database import Database
    from asgi_infra.audit.entry import AuditEntry
    from asgi_infra.audit.proofs.signing import Signer
    from asgi_infra.audit.verification import VerificationReport


class SQLAuditLogger(AuditLogger):
    """Keeps the log in SQLite, for one machine, or in PostgreSQL, for many.

    Any number of processes may write to one log: a lock on one row puts their batches in a row. Acknowledged means
    durable: SQLite syncs each commit, and PostgreSQL is told to, unless it is set to even more. Tables are made when
    the logger is opened, by however many processes at once; triggers refuse to change or remove entries by hand.

    On PostgreSQL entries lie in partitions of a month, made two months ahead, or as entries need them; `purge` drops
    whole ones. What was erased is no longer in SQLite's files; PostgreSQL overwrites it when it needs the room, and
    keeps it in its write-ahead log and in backups as long as these are kept.

    Args:
        url: `sqlite:///audit.db` or `postgresql://user:password@host:5432/name`.
        timeout: Seconds that one call to the database may take, waiting for connection and locks included.
        pool_size: Connections to read with that are kept open.
        migrate: Whether the logger makes and changes its tables; otherwise it only checks them.
            `asgi_infra.database.migrations.sql_of("audit", "postgresql")` returns them as plain SQL.
        table_prefix: The beginning of the tables' names.
        sequence_every: Seconds between two looks for entries that were staged by `stage` and committed since.
        key: The file of the key that signs checkpoints, made on first use if it is missing. On SQLite by default the
            database's name with `.key` behind it.
        **options: As `AuditLogger` takes them.

    Raises:
        ConfigurationError: A parameter is wrong.
        MissingExtraError: The driver is not installed.

    Example:
        >>> async with SQLAuditLogger("sqlite:///audit.db") as logger:
        ...     await logger.log_action("order.refund", "order", resource_id="o-1")
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        pool_size: int = 4,
        migrate: bool = True,
        table_prefix: str = DEFAULT_PREFIX,
        sequence_every: float = 0.5,
        key: str | Path | None = None,
        **options: Any,
    ) -> None:
        require_seconds("timeout", timeout)
        require_integer("pool_size", pool_size, minimum=1)
        require_flag("migrate", migrate)
        require_prefix("table_prefix", table_prefix)
        require_seconds("sequence_every", sequence_every)
        parsed = DatabaseURL.parse(url, parameter="url")
        store = SQLStore(
            _database(parsed, url, table_prefix, timeout, pool_size, options.get("clock")), migrate=migrate
        )
        super().__init__(store, **options)
        self._check = store.check_columns
        if key is None and parsed.dialect == "sqlite":
            key = f"{parsed.database}.key"
        self._key = None if key is None else Path(key)
        self._sequencer = Sequencer(store, self._calls, sequence_every)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a logger for a URL.

        Raises:
            ConfigurationError: The URL or an option is wrong.
            MissingExtraError: The driver is not installed.
        """
        return cls(url, **options)

    async def stage(self, transaction: AsyncConnection | AsyncSession, entry: AuditEntry) -> None:
        """Log an entry as a part of a transaction of yours: it is in the log if you commit, and never if you don't.

        It gets its number soon after the commit: from a thread of this logger, or before anybody reads, signs or
        verifies. Staged entries keep the order in which they were staged. Open the logger (`async with`) before the
        transaction begins; on SQLite `log` must wait until it has ended, since there is one writer.

        Args:
            transaction: A connection or a session of SQLAlchemy on the log's database.
            entry: The entry.

        Raises:
            ConfigurationError: An argument is of the wrong type.
            AuditError: The logger can't be opened, or is closed. What your connection raises comes as it is.

        Example:
            >>> async with db.session() as session:
            ...     order.refund()
            ...     await logger.stage(session, AuditEntry(action="order.refund", ...))
        """
        await self._sequencer.stage(transaction, self._seal(entry))

    async def sequence(self) -> int:
        """Give all entries that are staged and committed their numbers now, and return how many they were.

        Raises:
            AuditError: They are still staged; it is done later.
        """
        return await self._sequencer.sequence()

    async def verify(self, *, progress: Callable[[int, int], object] | None = None) -> VerificationReport:
        """Check every entry, the columns that it is found by, the tree and the last checkpoint, as `AuditLogger` does.

        Raises:
            AuditError: The store can't be read.
        """
        report = await super().verify(progress=progress)
        return await self._calls.call(self._check, report) if report else report

    async def aclose(self) -> None:
        """Take nothing more, make durable what was accepted, and close. Twice is once."""
        await self._sequencer.aclose()
        await super().aclose()

    def _default_signer(self) -> Signer:
        if self._key is None:
            return super()._default_signer()
        from asgi_infra.audit.proofs.errors import KeyFileError
        from asgi_infra.audit.proofs.keys import create_key, load_key

        if not self._key.exists():
            try:
                return create_key(self._key, f"{token_hex(8)}.invalid/audit")
            except KeyFileError:
                if not self._key.exists():
                    raise
        return load_key(self._key)


def _database(
    parsed: DatabaseURL,
    url: str,
    prefix: str,
    timeout: float,
    pool_size: int,
    clock: Callable[[], datetime] | None,
) -> Database:
    if parsed.dialect == "sqlite":
        from asgi_infra.audit.backends.sql.sqlite import SQLiteDatabase

        if parsed.is_memory or "?" in url:
            raise ConfigurationError("url must be sqlite:/// and the path of a file, without a query")
        return SQLiteDatabase(parsed.database, prefix, timeout=timeout, readers=pool_size)
    if find_spec("asyncpg") is None:
        raise MissingExtraError("asyncpg", purpose="SQLAuditLogger on PostgreSQL", extra="postgres")
    from asgi_infra.audit.backends.sql.postgresql import PostgreSQLDatabase

    return PostgreSQLDatabase(parsed, prefix, timeout=timeout, readers=pool_size, clock=clock or _now)


def _now() -> datetime:
    return datetime.now(UTC)
