"""`asgi-infra audit tail`: show the latest entries, and those that come in."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

from asgi_infra.cli.audit.logs import run, wanted
from asgi_infra.cli.audit.showing import show
from asgi_infra.cli.terminal import Terminal

if TYPE_CHECKING:
    from argparse import Namespace

    from asgi_infra.audit.contract import AuditLogger


def execute(options: Namespace) -> int:
    """Print the latest entries, the oldest of them first, and with `--follow` go on until Ctrl-C.

    Raises:
        ConfigurationError: There is no such log, or a condition can't be right.
        AuditError: The log can't be read, or the read can't be recorded.
    """
    conditions = wanted(options)
    terminal = Terminal(sys.stdout)

    async def tail(logger: AuditLogger) -> None:
        start = (await logger.stats())["size"]
        page = await logger.query(conditions, limit=options.limit, newest_first=True)
        latest = [logged for logged in page if logged.seq < start]
        for logged in reversed(latest):
            show(terminal, logged, json=options.json)
        if options.follow:
            async with aclosing(logger.tail(conditions, start=start)) as coming:
                async for logged in coming:
                    show(terminal, logged, json=options.json)

    run(tail, options.log)
    return 0
