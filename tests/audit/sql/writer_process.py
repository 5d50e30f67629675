"""A process that writes to a log until it is done, or killed; it prints each id when it is acknowledged."""

from __future__ import annotations

import asyncio
import sys
from threading import Lock, Thread

from asgi_infra.audit.backends.sql import SQLAuditLogger
from asgi_infra.testing.audit.base import a_full_entry

_printing = Lock()


async def _write(logger: SQLAuditLogger, name: str, each: int) -> None:
    for number in range(each):
        entry = a_full_entry(number, id=f"{name}-{number}")
        receipt = await logger.log(entry)
        with _printing:
            print(receipt.seq, entry.id, flush=True)


async def _tasks(logger: SQLAuditLogger, name: str, tasks: int, each: int) -> None:
    async with asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(_write(logger, f"{name}-{task}", each))


def main(url: str, prefix: str, name: str, threads: int, tasks: int, each: int) -> None:
    logger = SQLAuditLogger(url, table_prefix=prefix, timeout=60)
    running = [
        Thread(target=lambda thread: asyncio.run(_tasks(logger, f"{name}-{thread}", tasks, each)), args=[thread])
        for thread in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    asyncio.run(logger.aclose())


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
