"""What is asked of an audit logger, the same for every backend."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING

from asgi_infra.audit.entry import AuditEntry
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.ids import uuid7

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_infra.audit.contract import AuditLogger

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
USERS = 1000


def entry_of(number: int) -> AuditEntry:
    """Return an entry of about 390 bytes of JSON."""
    return AuditEntry(
        id=uuid7(),
        timestamp=NOON + timedelta(milliseconds=number),
        action="order.refund",
        resource_type="order",
        result="success",
        user_id=f"user-{number % USERS}",
        resource_id=f"order-{number}",
        details={"total": "9.90"},
        ip_address="203.0.113.7",
        request_id=f"request-{number}",
        tenant="acme",
    )


@dataclass(frozen=True)
class Rate:
    """What concurrent writers got."""

    a_second: float
    p50: float
    p99: float
    """Milliseconds that an entry took."""


async def durable_rate(logger: AuditLogger, *, writers: int, seconds: float) -> Rate:
    """Let writers log one entry after the other, and return how many became durable a second."""
    took: list[float] = []
    entries = iter([entry_of(number) for number in range(int(seconds * 30_000))])  # making them is not measured
    await logger.log(entry_of(0))  # opens it
    end = perf_counter() + seconds

    async def write() -> None:
        for entry in entries:
            started = perf_counter()
            if started >= end:
                return
            await logger.log(entry)
            took.append(perf_counter() - started)

    started = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(write())
    elapsed = perf_counter() - started
    took.sort()
    return Rate(len(took) / elapsed, took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000)


def bare_sync_rate(path: Path, *, size: int, seconds: float) -> float:
    """Return how often a second this disk takes a write of so many bytes at the end of a file, with `fdatasync`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        data, times = bytes(size), 0
        started = perf_counter()
        while perf_counter() - started < seconds:
            os.write(descriptor, data)
            os.fdatasync(descriptor)
            times += 1
        return times / (perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()


async def fill(logger: AuditLogger, entries: int, *, batch: int = 1000) -> None:
    """Log so many entries of many users."""
    for start in range(0, entries, batch):
        await logger.log_many(entry_of(number) for number in range(start, min(start + batch, entries)))


async def page_times(logger: AuditLogger, *, pages: int = 50) -> tuple[float, float, float]:
    """Return milliseconds of a first, a last and the slowest page of 100 of one user's entries."""
    first: list[float] = []
    last: list[float] = []
    for number in range(pages):
        wanted = AuditFilter(user_id=f"user-{number * 7 % USERS}")
        for times, newest_first in ((first, False), (last, True)):
            started = perf_counter()
            await logger.query(wanted, limit=100, newest_first=newest_first)
            times.append((perf_counter() - started) * 1000)
    return sorted(first)[pages // 2], sorted(last)[pages // 2], max(first + last)
