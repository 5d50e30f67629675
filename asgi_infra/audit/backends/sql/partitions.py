"""Partitions of a month each, made before they are needed, and dropped when all that they hold is purged.

A partition is made as a table of its own and then attached, which keeps nobody from reading meanwhile. Whoever makes or
drops one holds the lock of the head row. Times before 2000 and after 2099 have one partition each: there are never more
than 1202.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg  # type: ignore[import-untyped]

from asgi_infra.audit.errors import AuditUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from asgi_infra.audit.backends.sql.database import Link

AHEAD: Final = 2
"""How many months ahead of the present one have partitions."""

_FIRST, _LAST = 2000, 2099


class Partition(NamedTuple):
    """What covers a range of times.

    Attributes:
        suffix: How its tables' names end.
        start: The first time, as SQL writes it.
        stop: The first time after it.
    """

    suffix: str
    start: str
    stop: str


def partition_of(moment: datetime, ahead: int = 0) -> Partition:
    """Return the partition that covers a time, or one some months later.

    Example:
        >>> partition_of(datetime(2026, 12, 24, tzinfo=UTC)).stop
        "'2027-01-01 00:00+00'"
    """
    month = moment.year * 12 + moment.month - 1 + ahead
    if month < _FIRST * 12:
        return Partition("early", "MINVALUE", _month(_FIRST * 12))
    if month >= (_LAST + 1) * 12:
        return Partition("late", _month((_LAST + 1) * 12), "MAXVALUE")
    return Partition(f"y{month // 12}m{month % 12 + 1:02}", _month(month), _month(month + 1))


class Partitions:
    """The partitions of the entries and of the private parts.

    Args:
        prefix: The beginning of every table's name.
        clock: Gives the present time, for those that are made ahead.

    Attributes:
        made: How many were made.
        dropped: How many were dropped.
        refused: How often one could not be made ahead of its time.
    """

    def __init__(self, prefix: str, clock: Callable[[], datetime]) -> None:
        self._prefix = prefix
        self._clock = clock
        self._parents = (f"{prefix}audit_entries", f"{prefix}audit_private")
        self._known: frozenset[str] = frozenset()
        self._tried: Partition | None = None
        self.made = self.dropped = self.refused = 0

    def forget(self) -> None:
        """Look again which ones there are, before the next one is needed."""
        self._known, self._tried = frozenset(), None

    async def make_ahead(self, link: Link) -> None:
        """Make those of this month and the next two."""
        await link.execute(f"SELECT 1 FROM {self._prefix}audit_head FOR UPDATE")  # noqa: S608
        await self.make(link, ())

    async def make(self, link: Link, moments: Iterable[datetime]) -> None:
        """Make those that entries of these times need, and those ahead.

        Raises:
            AuditUnavailableError: One that is needed can't be made.
        """
        needed = {partition_of(moment) for moment in moments}
        now = self._clock()
        newest = partition_of(now, AHEAD)
        ahead = () if newest == self._tried else tuple(partition_of(now, months) for months in range(AHEAD + 1))
        if all(each.suffix in self._known for each in needed) and not ahead:
            return
        self._known = frozenset(await self._existing(link))
        for partition in dict.fromkeys((*needed, *ahead)):
            if partition.suffix in self._known:
                continue
            error = await self._make(link, partition)
            if error is None:
                self._known |= {partition.suffix}
                self.made += 1
            elif partition in needed:
                raise AuditUnavailableError(
                    f"the partition {partition.suffix} is missing, and can't be made (SQLSTATE {_sqlstate(error)})"
                ) from error
            else:
                self.refused += 1
        self._tried = newest

    async def drop_before(self, link: Link, seq: int) -> None:
        """Drop those that hold entries with lower numbers alone."""
        for suffix in await self._existing(link):
            newest = (await link.fetch(f"SELECT max(seq) FROM {self._parents[0]}_{suffix}"))[0][0]  # noqa: S608
            if newest is not None and newest < seq:
                for parent in self._parents:
                    await link.execute(f"DROP TABLE {parent}_{suffix}")
                self.dropped += 1
        self.forget()

    async def _existing(self, link: Link) -> list[str]:
        rows = await link.fetch(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = ?::regclass ORDER BY 1",
            self._parents[0],
        )
        return [str(row[0]).removeprefix(f"{self._parents[0]}_") for row in rows]

    async def _make(self, link: Link, partition: Partition) -> asyncpg.PostgresError | None:
        await link.execute("SAVEPOINT asgi_infra_partition")
        try:
            for parent in self._parents:
                name = f"{parent}_{partition.suffix}"
                await link.execute(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL)")
                await link.execute(
                    f"ALTER TABLE {parent} ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ({partition.start}) TO ({partition.stop})"
                )
                await link.execute(  # this kind of trigger is not inherited
                    f"CREATE TRIGGER {self._prefix}audit_truncate BEFORE TRUNCATE ON {name} "
                    f"FOR EACH STATEMENT EXECUTE FUNCTION {self._prefix}audit_refuse()"
                )
        except asyncpg.PostgresError as exc:
            if not _sqlstate(exc).startswith(("42", "55", "53400")):
                raise
            await link.execute("ROLLBACK TO SAVEPOINT asgi_infra_partition")
            return exc
        await link.execute("RELEASE SAVEPOINT asgi_infra_partition")
        return None


def _month(month: int) -> str:
    return f"'{month // 12}-{month % 12 + 1:02}-01 00:00+00'"


def _sqlstate(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""
