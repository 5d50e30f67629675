"""Many processes on one log, and processes and servers that die."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asgi_infra.audit.backends.sql import SQLAuditLogger
from asgi_infra.audit.errors import AuditOutcomeUnknownError, AuditUnavailableError
from asgi_infra.testing.audit.base import a_full_entry, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import PostgresServer

    from asgi_infra.audit import Receipt

PROGRAM = str(Path(__file__).with_name("writer_process.py"))
PROCESSES, THREADS, TASKS, EACH = 4, 4, 16, 3


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def acknowledged(output: str) -> dict[str, int]:
    """Return what a process was told, but for a last line that was cut off."""
    return {
        name: int(seq) for seq, name in (line.split() for line in output.splitlines(keepends=True) if line[-1] == "\n")
    }


async def check(logger: SQLAuditLogger, told: dict[str, int]) -> int:
    """Check that the log is whole and holds what was acknowledged; return how many entries it has."""
    async with logger:
        found: dict[str, int] = {}
        after: str | None = None
        while True:
            page = await logger.query(limit=5000, after=after)
            found.update((each.entry.id, each.seq) for each in page)
            if (after := page.next) is None:
                break
        assert sorted(found.values()) == list(range(len(found))), "no gaps, no doubles"
        assert told.items() <= found.items()
        report = await logger.verify()
        assert (report.ok, report.size) == (True, len(found))
        return len(found)


def test_processes_with_threads_with_tasks_make_one_log(
    url: str, prefix: str, make: Callable[..., SQLAuditLogger]
) -> None:
    processes = [start(url, prefix, name, THREADS, TASKS, EACH) for name in range(PROCESSES)]
    told: dict[str, int] = {}
    for process in processes:
        told |= acknowledged(process.communicate(timeout=240)[0])
        assert process.returncode == 0
    assert len(told) == PROCESSES * THREADS * TASKS * EACH
    assert asyncio.run(check(make(), told)) == len(told)


@pytest.mark.parametrize("lines", [1, 40, 200])
def test_what_was_acknowledged_is_there_after_kill_9(
    url: str, prefix: str, make: Callable[..., SQLAuditLogger], lines: int
) -> None:
    with start(url, prefix, "victim", 1, 16, 100_000) as process:
        assert process.stdout is not None
        output = "".join(process.stdout.readline() for _ in range(lines))
        process.kill()
        output += process.stdout.read()
    told = acknowledged(output)
    assert len(told) >= lines
    assert asyncio.run(check(make(), told)) >= len(told)


async def _log_until_killed(
    logger: SQLAuditLogger, receipts: dict[int, Receipt], name: int, enough: asyncio.Event
) -> None:
    number = name
    while True:
        try:
            receipts[number] = await logger.log(a_full_entry(number))
        except (AuditUnavailableError, AuditOutcomeUnknownError):
            return
        if len(receipts) > 200:
            enough.set()
        number += 16


@pytest.mark.anyio
@pytest.mark.parametrize("attempt", range(3))
async def test_nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed(
    mortal_postgres: PostgresServer, prefix: str, attempt: int
) -> None:
    receipts: dict[int, Receipt] = {}
    enough = asyncio.Event()
    logger = SQLAuditLogger(mortal_postgres.url(), table_prefix=prefix, audit_reads=False, max_batch=8)
    async with logger, asyncio.TaskGroup() as group:
        for name in range(16):
            group.create_task(_log_until_killed(logger, receipts, name, enough))
        await enough.wait()
        await asyncio.to_thread(mortal_postgres.kill)
    await asyncio.to_thread(mortal_postgres.start)
    async with SQLAuditLogger(mortal_postgres.url(), table_prefix=prefix, audit_reads=False) as logger:
        for number, receipt in receipts.items():
            assert await logger.log(a_full_entry(number)) == receipt, "known, and with the number that was told"
        size = await check(logger, {f"entry-{number}": receipt.seq for number, receipt in receipts.items()})
        assert len(receipts) <= size <= len(receipts) + 16


@pytest.mark.anyio
async def test_a_logger_goes_on_after_the_server_was_restarted(mortal_postgres: PostgresServer, prefix: str) -> None:
    async with SQLAuditLogger(mortal_postgres.url(), table_prefix=prefix, audit_reads=False) as logger:
        await logger.log(an_entry(1))
        await asyncio.to_thread(mortal_postgres.kill)
        with pytest.raises(AuditUnavailableError, match="could not connect"):
            await logger.log(an_entry(2))
        await asyncio.to_thread(mortal_postgres.start)
        assert (await logger.log(an_entry(3))).seq == 1
        await asyncio.to_thread(mortal_postgres.kill)
        await asyncio.to_thread(mortal_postgres.start)
        assert (await logger.log(an_entry(4))).seq == 2, "the connection was lost while it lay idle"
