"""What the store needs of a database: transactions on it, and the few words that are other ones in each.

Work is written once, as coroutines over a `Link`. PostgreSQL runs them in an event loop of its own; on SQLite nothing
ever waits for anything but a call, so they are simply run to their end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime

T = TypeVar("T")

Row = tuple[Any, ...]


class Link(ABC):
    """One connection, as the store's work sees it. Statements have `?` for each value, in order."""

    @abstractmethod
    async def fetch(self, statement: str, *values: object) -> list[Row]:
        """Return the rows of a statement."""

    @abstractmethod
    async def execute(self, statement: str, *values: object) -> int:
        """Run a statement and return how many rows it touched."""

    @abstractmethod
    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add many rows to a table."""

    @abstractmethod
    async def put_tiles(self, table: str, tiles: Sequence[tuple[int, int, bytes]]) -> None:
        """Add tiles, or put wider ones in their place."""


class Database(ABC):
    """One database.

    Attributes:
        dialect: As `asgi_infra.database.migrations` calls it.
        lock: What follows a `SELECT` whose rows nobody else may change until the end of the transaction.
        greatest: The function that returns the larger of two values.
        same_entry: The condition that joins an entry `e` to its private part `p`.
        ids: The table that tells an entry's number by its id; without the prefix.
        entry_columns: What a row of an entry begins with.
        private_columns: What is stored of a private part.
    """

    dialect: ClassVar[str]
    lock: ClassVar[str] = ""
    greatest: ClassVar[str]
    same_entry: ClassVar[str]
    ids: ClassVar[str]
    entry_columns: ClassVar[tuple[str, ...]]
    private_columns: ClassVar[tuple[str, ...]]

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    @abstractmethod
    def open(self) -> None:
        """Connect, and fail if that is impossible."""

    @abstractmethod
    def inspect(self, look: Callable[[Any], T]) -> T:
        """Call a function that asks `Migrations` something, with a connection to read from."""

    @abstractmethod
    def change(self, change: Callable[[Any], T]) -> T:
        """Call a function of `Migrations` that changes tables, with a connection in a transaction; commit that."""

    def prepare(self) -> None:  # noqa: B027
        """Make ready what goes beyond the tables themselves."""

    @abstractmethod
    def run(self, work: Callable[[Link], Awaitable[T]], *, write: bool = False) -> T:
        """Run work; what writes, in a transaction that is durable when this returns, else statement by statement.

        Raises:
            AuditStoreError: Whatever went wrong, told as what it means.
        """

    @abstractmethod
    def among(self, column: str, values: Iterable[object]) -> tuple[str, object]:
        """Return the condition that a column has one of some values, and the one value of its `?`."""

    @abstractmethod
    def time(self, moment: datetime) -> Any:
        """Return a time as it is stored."""

    @abstractmethod
    async def permit(self, link: Link) -> None:
        """Let this transaction change and remove entries."""

    @abstractmethod
    async def forbid(self, link: Link) -> None:
        """Take back what `permit` allowed."""

    async def make_room(self, link: Link, moments: Iterable[datetime]) -> None:  # noqa: B027
        """Prepare for entries of these times."""

    async def drop_before(self, link: Link, seq: int) -> None:  # noqa: B027
        """Remove what can be removed at once of the entries with lower numbers."""

    @abstractmethod
    def scrub(self) -> None:
        """Let the files forget what was deleted, as far as the database can do that."""

    def stats(self) -> dict[str, int]:
        """Return counters."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""


class MigrationResult(list[Row]):
    """Rows, with what `Migrations` asks of them."""

    def scalar(self) -> Any:
        """Return the first value of the first row."""
        return self[0][0] if self else None


class MigrationLink:
    """A connection for `Migrations`.

    Args:
        dialect: The database's.
        fetch: Runs a statement and returns its rows.
    """

    def __init__(self, dialect: str, fetch: Callable[[str], Sequence[Row]]) -> None:
        self.dialect = _Dialect(dialect)
        self._fetch = fetch

    def exec_driver_sql(self, statement: str) -> MigrationResult:
        """Run a statement."""
        return MigrationResult(self._fetch(statement))


class _Dialect:
    def __init__(self, name: str) -> None:
        self.name = name
