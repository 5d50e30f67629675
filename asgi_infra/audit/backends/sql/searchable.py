"""Checking the columns that entries are found by: the tree covers the leaf, and not what stands beside it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.audit.backends.sql.rows import COLUMNS, as_bytes
from asgi_infra.audit.record import Stored, unseal

if TYPE_CHECKING:
    from asgi_infra.audit.backends.sql.database import Database, Link, Row
    from asgi_infra.audit.backends.sql.tables import Tables
    from asgi_infra.audit.verification import VerificationReport

_CHUNK: Final = 1_000
_values = attrgetter("id", *COLUMNS)


def check_columns(database: Database, tables: Tables, report: VerificationReport) -> VerificationReport:
    """Return what checking a log found, after a look at the columns of the entries whose leaves were right.

    Who changes only these changes no entry, but hides it from those who look for it.
    """
    columns = ", ".join(f"e.{name}" for name in COLUMNS)
    statement = (
        f"SELECT e.seq, e.leaf, p.private, e.time, i.id, {columns} FROM {tables.entries} e "  # noqa: S608
        f"LEFT JOIN {tables.private} p ON {database.same_entry} LEFT JOIN {tables.ids} i ON i.seq = e.seq "
        f"WHERE e.seq >= {database.greatest}(?, (SELECT first FROM {tables.head})) AND e.seq < ? "
        "ORDER BY e.seq LIMIT ?"
    )
    start = report.first

    async def more(link: Link) -> list[Row]:
        return await link.fetch(statement, start, report.size, _CHUNK)

    while rows := database.run(more):
        for seq, leaf, private, time, *found in rows:
            entry = unseal(Stored(seq, as_bytes(leaf), None if private is None else as_bytes(private))).entry
            if _aware(time) != database.time(entry.timestamp) or tuple(found) != _values(entry):
                problem = f"entry {seq}: the columns that it is found by are not those of the entry"
                return replace(report, ok=False, checked=seq - report.first, bad_seq=seq, problem=problem)
        start = rows[-1][0] + 1
    return report


def _aware(time: Any) -> Any:
    """Return a time as it was stored: the first and the last of the calendar come back from asyncpg without a zone."""
    return time.replace(tzinfo=UTC) if isinstance(time, datetime) and time.tzinfo is None else time
