"""What a database session costs: `python -m benchmarks.database [--rounds N] [--batch N] [--json FILE]`.

Every subject selects one row of an SQLite file by its key, in a transaction of its own: with SQLAlchemy's
`AsyncSession` alone; with the same on our engine, whose transactions begin with a statement (`BEGIN`) so that reads see
one state; with `DatabaseSession`, without tracing, with spans that are not sampled, and with spans that are. SQLite
works in a thread of its own: "CPU" is the event loop's thread alone, "wall" is all of it. Subjects take turns; "added"
is the median of the rounds' differences from `AsyncSession` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from asgi_infra.database import DatabaseSession
from benchmarks.measure import Estimate, Subject, added, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

PLAIN = "AsyncSession alone"
_SELECT = text("SELECT name FROM products WHERE sku = :sku")
_TEA = {"sku": "tea"}


async def _plain(engine: AsyncEngine, times: int) -> None:
    for _ in range(times):
        async with AsyncSession(engine) as session, session.begin():
            (await session.execute(_SELECT, _TEA)).scalar_one()


async def _ours(database: DatabaseSession, times: int) -> None:
    for _ in range(times):
        async with database.session() as session:
            (await session.execute(_SELECT, _TEA)).scalar_one()


async def _fill(database: DatabaseSession) -> None:
    async with database.session() as session:
        await session.execute(text("CREATE TABLE products (sku TEXT PRIMARY KEY, name TEXT)"))
        await session.execute(text("INSERT INTO products VALUES ('tea', 'Green tea, 100 g')"))


@contextmanager
def _subjects() -> Iterator[list[Subject]]:
    """What is measured; all of it in one event loop, which the connections belong to."""
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        place = f"{Path(folder).as_posix()}/shop.db"
        closing = AsyncExitStack()

        def database(**options: Any) -> DatabaseSession:
            made = DatabaseSession(f"sqlite:///{place}", **options)
            closing.push_async_callback(made.aclose)
            return made

        def subject(name: str, work: Callable[[int], Coroutine[Any, Any, None]]) -> Subject:
            return Subject(name, "session", lambda times: runner.run(work(times)))

        async def open_engines() -> tuple[AsyncEngine, AsyncEngine]:
            await _fill(database())
            plain = create_async_engine(f"sqlite+aiosqlite:///{place}")
            closing.push_async_callback(plain.dispose)
            return plain, database(tracing=False).engine

        plain, engine = runner.run(open_engines())
        unsampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        sampled = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        try:
            yield [
                subject(PLAIN, partial(_plain, plain)),
                subject("AsyncSession on our engine", partial(_plain, engine)),
                subject("DatabaseSession, tracing off", partial(_ours, database(tracing=False))),
                subject("DatabaseSession, not sampled", partial(_ours, database(tracer_provider=unsampled))),
                subject("DatabaseSession, sampled", partial(_ours, database(tracer_provider=sampled))),
            ]
        finally:
            runner.run(closing.aclose())


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.database", description="What a session costs.")
    parser.add_argument("--rounds", type=int, default=21, help="interleaved batches of each subject")
    parser.add_argument("--batch", type=int, default=200, help="sessions in one batch")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(argv)
    with _subjects() as subjects:
        series = interleave(subjects, rounds=options.rounds, batch=options.batch)
    figures: dict[str, dict[str, float]] = {}
    print("| a session with one SELECT | CPU µs, median | added | quartiles of added | wall µs, median |")
    print("|---|---|---|---|---|")
    for name, each in series.items():
        cpu, wall, more = Estimate.of(each.cpu), Estimate.of(each.wall), added(each, series[PLAIN])
        print(
            f"| {name} | {cpu.value:.0f} | {more.value:+.0f} | {more.low:+.0f} to {more.high:+.0f} | {wall.value:.0f} |"
        )
        figures[name] = {"cpu": cpu.value, "added": more.value, "wall": wall.value}
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
