"""What the audit loggers in SQL databases do, beside the plainest way to write the same rows."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

import asyncpg

from asgi_infra.audit.backends.sql import SQLAuditLogger
from asgi_infra.audit.record import Sealer
from benchmarks.audit_load import durable_rate, entry_of, fill, page_times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.audit import Report, Scale

_COLUMNS = "seq, id, user_id, action, resource_type, resource_id, leaf"
_BATCH = 48
"""About what 64 writers come to."""


def _rows(count: int) -> list[tuple[object, ...]]:
    seal = Sealer().seal
    records = [seal(entry_of(number)) for number in range(count)]
    return [
        (seq, entry.id, entry.user_id, entry.action, entry.resource_type, entry.resource_id, leaf + (private or b""))
        for seq, (entry, leaf, private, _) in enumerate(records)
    ]


def executemany_rate(path: Path, count: int) -> float:
    """Return rows a second by `executemany`, a batch a commit: a table with an id and four indexes, no tree."""
    rows = _rows(count)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"CREATE TABLE plain ({_COLUMNS}, PRIMARY KEY (seq), UNIQUE (id))")
    for name in ("user_id", "action", "resource_type", "resource_id"):
        connection.execute(f"CREATE INDEX plain_{name} ON plain ({name})")
    started = perf_counter()
    for at in range(0, count, _BATCH):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO plain VALUES (?, ?, ?, ?, ?, ?, ?)", rows[at : at + _BATCH])
        connection.execute("COMMIT")
    elapsed = perf_counter() - started
    connection.close()
    return count / elapsed


async def copy_rate(url: str, count: int) -> float:
    """Return rows a second by `COPY`, a batch a commit: a table with an id and four indexes, no order, no tree."""
    rows = _rows(count)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE plain (seq bigint PRIMARY KEY, id text UNIQUE, user_id text, action text, "
        "resource_type text, resource_id text, leaf bytea)"
    )
    for name in ("user_id", "action", "resource_type", "resource_id"):
        await connection.execute(f"CREATE INDEX ON plain ({name}, seq)")
    columns = _COLUMNS.split(", ")
    started = perf_counter()
    for at in range(0, count, _BATCH):
        await connection.copy_records_to_table("plain", columns=columns, records=rows[at : at + _BATCH])
    elapsed = perf_counter() - started
    await connection.close()
    return count / elapsed


async def sqlite(report: Report, scale: Scale) -> None:
    """Measure SQLite."""
    with TemporaryDirectory(dir=".") as folder:
        place = Path(folder)
        await _measure(report, scale, "sqlite", f"sqlite:///{place / 'audit.db'}", "15 000/s")
        plain = executemany_rate(place / "plain.db", max(2_000, int(scale.seconds * 5_000)))
        report.add("sqlite", f"plain executemany, {_BATCH} rows a commit", f"{plain:.0f}/s")


async def postgresql(report: Report, scale: Scale) -> None:
    """Measure PostgreSQL, with every commit synced."""
    with _server() as url:
        await _measure(report, scale, "postgresql", url, "8 000/s")
        plain = await copy_rate(url, max(2_000, int(scale.seconds * 5_000)))
        report.add("postgresql", f"plain COPY, {_BATCH} rows a commit", f"{plain:.0f}/s")


async def _measure(report: Report, scale: Scale, name: str, url: str, goal: str) -> None:
    for writers in (1, 64, 256):
        prefix = f"w{writers}_"
        async with SQLAuditLogger(url, audit_reads=False, table_prefix=prefix, timeout=60) as logger:
            rate = await durable_rate(logger, writers=writers, seconds=scale.seconds)
        report.add(
            name,
            f"durable entries, {writers} writers",
            f"{rate.a_second:.0f}/s, p50 {rate.p50:.1f} ms, p99 {rate.p99:.1f} ms",
            f"at least {goal}" if writers == 64 else "",
        )
    async with SQLAuditLogger(url, audit_reads=False, table_prefix="pages_", timeout=60) as logger:
        await fill(logger, scale.entries)
        first, last, slowest = await page_times(logger)
        report.add(
            name,
            f"page of 100 of {scale.entries} entries by user: first, last, slowest of 100",
            f"{first:.1f} ms, {last:.1f} ms, {slowest:.1f} ms",
            "below 20 ms",
        )


@contextmanager
def _server() -> Iterator[str]:
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from servers import PostgresServer

    with PostgresServer(fsync="on", synchronous_commit="on", full_page_writes="on", shared_buffers="256MB") as server:
        yield server.url()
