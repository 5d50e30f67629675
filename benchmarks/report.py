"""What a run says: tables to read, and JSON with every figure behind them."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from benchmarks import throughput as loads
from benchmarks.figures import figures
from benchmarks.measure import added, added_ratio
from benchmarks.variants import BARE, FLOOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.experiments import Table
    from benchmarks.figures import Figure, Results

_PACKAGES = (
    "asgi-infra",
    "asgi-correlation-id",
    "fastapi",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-asgi",
    "orjson",
    "prometheus-client",
    "prometheus-fastapi-instrumentator",
    "starlette",
    "starlette-exporter",
    "structlog",
    "uvicorn",
)
_NAME_WIDTH = 42


def environment() -> dict[str, Any]:
    """Return what a reader needs to judge the figures, and nothing that names the machine."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": versions,
    }


def table_lines(table: Table) -> Iterator[str]:
    bare, floor = table.rows[BARE], table.rows.get(FLOOR)
    yield ""
    yield f"{table.title}, {table.condition}: µs a {table.unit}, CPU time, median of {len(bare.cpu)} rounds"
    yield f"  {'':{_NAME_WIDTH}}{'total':>9}{'added':>9}   {'quartiles of added':<20}{'of the floor' if floor else ''}"
    for name, row in table.rows.items():
        line = f"  {name:{_NAME_WIDTH}}{statistics.median(row.cpu):9.1f}"
        if row is not bare:
            cost = added(row, bare)
            line += f"{cost.value:9.1f}   {cost.low:8.1f} to {cost.high:<8.1f}"
            if floor is not None:
                line += f"{added_ratio(row, floor, bare).value:10.2f}"
        yield line.rstrip()


def throughput_lines(results: Results) -> Iterator[str]:
    if not results.throughput:
        return
    yield ""
    where = "one core for the server, another for the load" if loads.pinned() else "not bound to cores"
    yield f"Starlette behind uvicorn, sampled, batch processor, {loads.CONNECTIONS} connections, {where}"
    yield f"  {'':{_NAME_WIDTH}}{'requests/s':>11}{'kept':>8}   {'quartiles':<16}{'CPU µs':>8}{'kept by CPU':>13}"
    for name, result in results.throughput.items():
        share, by_cpu = loads.kept(results.throughput, name), loads.kept_by_cpu(results.throughput, name)
        line = f"  {name:{_NAME_WIDTH}}{statistics.median(result.rate):11.0f}{share.value:8.0%}"
        line += f"   {f'{share.low:.0%} to {share.high:.0%}':<16}"
        if by_cpu is not None:
            line += f"{statistics.median(result.cpu):8.0f}{by_cpu.value:13.0%}"
        yield line


def import_lines(results: Results) -> Iterator[str]:
    if results.imports:
        yield ""
        yield "fresh processes: ms of CPU time, median"
        for name, estimate in results.imports.items():
            yield f"  {name:{_NAME_WIDTH}}{estimate.value:9.1f}   {estimate.low:8.1f} to {estimate.high:<8.1f}"


def memory_lines(results: Results) -> Iterator[str]:
    if results.memory:
        yield ""
        yield "bytes held at the peak of a request in Starlette, above the bare application's"
        for name, size in results.memory.items():
            yield f"  {name:{_NAME_WIDTH}}{size:9}"


def figure_lines(results: Results) -> Iterator[str]:
    yield ""
    yield f"{'figure':52}{'target':>16}{'measured':>12}   {'':22}"
    for figure in figures(results):
        yield f"{figure.name:52}{figure.target:>16}{_measured(figure)}"


def _measured(figure: Figure) -> str:
    if figure.value is None:
        return f"{'-':>12}   not measured"
    value = figure.value
    shown = f"{value.value:.2f}{figure.unit}"
    spread = f"({value.low:.2f} to {value.high:.2f})"
    return f"{shown:>12}   {spread:22}{'met' if figure.met else 'MISSED'}"


def as_json(results: Results, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "environment": environment(),
        "settings": settings,
        "figures": [
            {
                "name": figure.name,
                "target": figure.target,
                "value": None if figure.value is None else asdict(figure.value),
                "met": figure.met,
            }
            for figure in figures(results)
        ],
        "tables": [_table(table) for table in results.tables],
        "throughput": loads.as_json(results.throughput) if results.throughput else {},
        "imports_ms": {name: asdict(estimate) for name, estimate in results.imports.items()},
        "peak_bytes": results.memory,
    }


def _table(table: Table) -> dict[str, Any]:
    bare = table.rows[BARE]
    return {
        "name": table.name,
        "title": table.title,
        "condition": table.condition,
        "unit": f"microseconds a {table.unit}",
        "rows": {
            name: {
                "group": row.group,
                "median_cpu": statistics.median(row.cpu),
                "median_wall": statistics.median(row.wall),
                "added_cpu": asdict(added(row, bare)),
                "rounds_cpu": row.cpu,
                "rounds_wall": row.wall,
            }
            for name, row in table.rows.items()
        },
    }
