"""What the audit loggers do: `python -m benchmarks audit [--only file,sqlite] [--quick]`.

Each rate of durable entries stands beside what the disk does with bare `fdatasync` in the same minute; client and disk
share this machine with whatever else runs on it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from asgi_infra.audit.backends.file import FileAuditLogger
from asgi_infra.audit.backends.file.offline import verify_directory
from benchmarks import audit_sql
from benchmarks.audit_load import bare_sync_rate, durable_rate, fill, page_times

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_ENTRY = 600
"""Bytes that an entry takes in a file, with its private part."""


@dataclass(frozen=True)
class Scale:
    """How much is asked."""

    seconds: float
    entries: int


_FULL = Scale(seconds=5, entries=1_000_000)
_QUICK = Scale(seconds=0.5, entries=5_000)


class Report:
    """Rows of a table, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        print("| logger | figure | measured | to reach |")
        print("|---|---|---|---|")

    def add(self, logger: str, figure: str, measured: str, goal: str = "") -> None:
        self.rows.append({"logger": logger, "figure": figure, "measured": measured, "goal": goal})
        print(f"| {logger} | {figure} | {measured} | {goal} |", flush=True)


async def _file(report: Report, scale: Scale) -> None:
    with TemporaryDirectory(dir=".") as folder:
        place = Path(folder)
        for writers, goal in ((1, "1 500/s"), (64, "20 000/s"), (256, "20 000/s, p99 below 20 ms")):
            async with FileAuditLogger(place / f"log-{writers}", audit_reads=False) as logger:
                rate = await durable_rate(logger, writers=writers, seconds=scale.seconds)
            bare = bare_sync_rate(place / "bare", size=_ENTRY * max(writers // 2, 1), seconds=scale.seconds / 5)
            report.add(
                "file",
                f"durable entries, {writers} writers",
                f"{rate.a_second:.0f}/s, p50 {rate.p50:.1f} ms, p99 {rate.p99:.1f} ms; "
                f"{rate.a_second / bare:.1f} a bare fdatasync ({bare:.0f}/s)",
                f"at least {goal}",
            )
        async with FileAuditLogger(place / "log", audit_reads=False) as logger:
            await fill(logger, scale.entries)
            first, last, slowest = await page_times(logger)
            report.add(
                "file",
                f"page of 100 of {scale.entries} entries by user: first, last, slowest of 100",
                f"{first:.1f} ms, {last:.1f} ms, {slowest:.1f} ms",
                "below 20 ms",
            )
            started = perf_counter()
        async with FileAuditLogger(place / "log", audit_reads=False):
            report.add("file", f"opening a log of {scale.entries} entries", f"{perf_counter() - started:.2f} s")
        started = perf_counter()
        found = verify_directory(place / "log")
        if not found.ok:
            raise RuntimeError(found.problem)
        rate_of_check = found.checked / (perf_counter() - started)
        report.add("file", "entries checked from outside", f"{rate_of_check:.0f}/s", "at least 100 000/s")


_PARTS: dict[str, Callable[[Report, Scale], Coroutine[Any, Any, None]]] = {
    "file": _file,
    "sqlite": audit_sql.sqlite,
    "postgresql": audit_sql.postgresql,
}


async def _run(names: list[str], scale: Scale) -> list[dict[str, str]]:
    report = Report()
    for name in names:
        await _PARTS[name](report, scale)
    return report.rows


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks audit", description="What the audit loggers do.")
    parser.add_argument("--only", default=",".join(_PARTS), help="loggers, separated by commas (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(argv)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in _PARTS]:
        parser.error(f"--only knows {', '.join(_PARTS)}, not {', '.join(unknown)}")
    rows = asyncio.run(_run(names, _QUICK if options.quick else _FULL))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
