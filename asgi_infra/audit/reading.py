"""Reading: pages, single entries, counts, exports, and what comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from anyio import sleep

from asgi_infra.audit.cursor import Cursor
from asgi_infra.audit.export import exporter
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.record import LoggedEntry, Stored, unseal
from asgi_infra.audit.writing import AuditWriter
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_flag, require_integer, require_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from asgi_infra.audit.entry import AuditEntry
    from asgi_infra.audit.store import AuditStore

MAX_PAGE: Final = 10_000
"""The most entries of a page."""

CHUNK: Final = 1_000
"""Entries that are read at once where many are read."""

EVERYTHING: Final = AuditFilter()


@dataclass(frozen=True, slots=True)
class Page:
    """Entries that a query found.

    Attributes:
        logged: The entries with their numbers, in the order of the query.
        next: Where the next page begins, for `after`; `None` after the last page.
    """

    logged: tuple[LoggedEntry, ...]
    next: str | None

    @property
    def entries(self) -> tuple[AuditEntry, ...]:
        """The entries alone."""
        return tuple(each.entry for each in self.logged)

    def __len__(self) -> int:
        return len(self.logged)

    def __iter__(self) -> Iterator[LoggedEntry]:
        return iter(self.logged)


class AuditReader(AuditWriter):
    """The reading half of `AuditLogger`, which documents the parameters."""

    def __init__(self, store: AuditStore, *, audit_reads: bool = True, **options: Any) -> None:
        require_flag("audit_reads", audit_reads)
        super().__init__(store, **options)
        self._audit_reads = audit_reads

    async def query(
        self,
        wanted: AuditFilter | None = None,
        *,
        limit: int = 100,
        after: str | None = None,
        newest_first: bool = False,
    ) -> Page:
        """Return a page of entries, in the order in which they were logged.

        The first page fixes where the last one ends, so pages neither skip nor repeat anything while others write.
        Every page is itself an entry, `audit.read`, if reads are audited.

        Args:
            wanted: Which entries; default all.
            limit: How many at most, up to 10 000.
            after: `next` of the page before; the filter and the direction must be the same.
            newest_first: The other direction.

        Raises:
            ConfigurationError: A parameter is wrong, or `after` is not a cursor of this query.
            AuditError: The store can't be read, or the read can't be recorded.

        Example:
            >>> page = await logger.query(AuditFilter(user_id="u-1", action="order.*"), limit=50)
            >>> more = await logger.query(AuditFilter(user_id="u-1", action="order.*"), limit=50, after=page.next)
        """
        wanted = _filter(wanted)
        require_flag("newest_first", newest_first)
        require_integer("limit", limit, minimum=1)
        if limit > MAX_PAGE:
            raise ConfigurationError(f"limit must be at most {MAX_PAGE}, not {limit}")
        cursor = None if after is None else Cursor.parse(after, wanted, newest_first=newest_first)
        rows, place = await self._calls.call(self._page, wanted, limit + 1, cursor, newest_first=newest_first)
        more = len(rows) > limit
        found = tuple(map(unseal, rows[:limit]))
        await self._audit_read("query", wanted, entries=len(found), first_page=after is None)
        return Page(found, place.after(found[-1].seq).text(wanted) if more else None)

    async def count(self, wanted: AuditFilter | None = None) -> int:
        """Return how many entries there are.

        Raises:
            AuditError: The store can't be read, or the read can't be recorded.
        """
        wanted = _filter(wanted)
        number = await self._calls.call(lambda: self._store.count(wanted, 0, self._store.head().size))
        await self._audit_read("count", wanted, entries=number)
        return number

    async def get(self, key: str | int) -> LoggedEntry | None:
        """Return one entry by its `id` or its number, or `None` if it isn't there.

        Raises:
            ConfigurationError: `key` is neither a str nor an int.
            AuditError: The store can't be read, or the read can't be recorded.
        """
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise ConfigurationError(f"key must be an id (str) or a number (int), not {type(key).__name__}")
        rows = await self._calls.call(self._by_key, key)
        found = unseal(rows[0]) if rows else None
        if self._audit_reads:
            details = {"operation": "get", "key": key, "entries": len(rows)}
            await self._log_access("audit.read", "success", details)
        return found

    async def export(
        self,
        format: str = "jsonl",  # noqa: A002 - what everybody calls it
        wanted: AuditFilter | None = None,
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the entries that there are now as a file, in pieces of whole lines.

        The export is itself an entry, `audit.export`, before the first byte.

        Args:
            format: `"jsonl"` (JSON Lines: all fields, number and leaf hash), `"csv"` (RFC 4180; texts that a
                spreadsheet would take for a formula get an apostrophe) or `"ocsf"` (JSON Lines of OCSF events, class
                API Activity).
            wanted: Which entries; default all.
            progress: Called after each piece with the number of entries so far, and of all.

        Raises:
            ConfigurationError: A parameter is wrong.
            AuditError: The store can't be read, or the export can't be recorded.

        Example:
            >>> async for piece in logger.export("csv", AuditFilter(tenant="acme")):
            ...     file.write(piece)
        """
        write = exporter(format)
        wanted = _filter(wanted)
        stop, total = await self._calls.call(self._extent, wanted)
        details = {"format": format, "filter": self._told(wanted), "entries": total}
        await self._log_access("audit.export", "success", details)
        start = done = 0
        header = write.header()
        if header:
            yield header
        while rows := await self._calls.call(self._store.select, wanted, start, stop, CHUNK):
            start = rows[-1].seq + 1
            done += len(rows)
            yield b"".join(write.line(unseal(row)) for row in rows)
            if progress is not None:
                progress(done, max(total, done))

    async def tail(
        self, wanted: AuditFilter | None = None, *, start: int | None = None, every: float = 0.5
    ) -> AsyncGenerator[LoggedEntry, None]:
        """Yield entries as they come in, without end; what is stored first comes first, whoever wrote it.

        Args:
            wanted: Which entries; default all.
            start: The number to begin at; default the next one that will be given.
            every: Seconds between two looks at the store.

        Raises:
            ConfigurationError: A parameter is wrong.
            AuditError: The store can't be read, or the read can't be recorded; `AuditClosedError` after `aclose`.

        Example:
            >>> async with aclosing(logger.tail(AuditFilter(result="denied"))) as tail:
            ...     async for logged in tail:
            ...         alert(logged.entry)
        """
        wanted = _filter(wanted)
        require_seconds("every", every)
        if start is not None:
            require_integer("start", start, minimum=0)
        at = (await self._calls.call(self._store.head)).size if start is None else start
        await self._audit_read("tail", wanted, start=at)
        while True:
            size = (await self._calls.call(self._store.head)).size
            while rows := await self._calls.call(self._store.select, wanted, at, size, CHUNK):
                for row in rows:
                    yield unseal(row)
                at = rows[-1].seq + 1
            at = max(at, size)
            await sleep(every)

    def _page(
        self, wanted: AuditFilter, limit: int, cursor: Cursor | None, *, newest_first: bool
    ) -> tuple[list[Stored], Cursor]:
        cursor = cursor or Cursor(0, self._store.head().size, newest_first)
        return self._store.select(wanted, cursor.start, cursor.stop, limit, newest_first=newest_first), cursor

    def _by_key(self, key: str | int) -> list[Stored]:
        seq = self._store.find(key) if isinstance(key, str) else key
        return [] if seq is None or seq < 0 else self._store.select(EVERYTHING, seq, seq + 1, 1)

    def _extent(self, wanted: AuditFilter) -> tuple[int, int]:
        stop = self._store.head().size
        return stop, self._store.count(wanted, 0, stop)

    async def _audit_read(self, operation: str, wanted: AuditFilter, **more: int) -> None:
        if self._audit_reads:
            details = {"operation": operation, "filter": self._told(wanted), **more}
            await self._log_access("audit.read", "success", details)

    def _told(self, wanted: AuditFilter) -> dict[str, Any]:
        """Return a filter as an entry tells it: without the user where users may have to be erased."""
        told = wanted.to_dict()
        if "user_id" in told and "user_id" in self._sealer.private_fields:
            told["user_id"] = "[private]"
        return told


def _filter(wanted: AuditFilter | None) -> AuditFilter:
    if wanted is None:
        return EVERYTHING
    if not isinstance(wanted, AuditFilter):
        raise ConfigurationError(f"wanted must be an AuditFilter or None, not {type(wanted).__name__}")
    return wanted
