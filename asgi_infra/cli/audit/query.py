"""`asgi-infra audit query`: show entries."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asgi_infra.cli.audit.logs import run, wanted
from asgi_infra.cli.audit.showing import show
from asgi_infra.cli.terminal import Terminal

if TYPE_CHECKING:
    from argparse import Namespace

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.reading import Page


def execute(options: Namespace) -> int:
    """Print a page of entries, and where the next one begins.

    Raises:
        ConfigurationError: There is no such log, or a condition can't be right.
        AuditError: The log can't be read, or the read can't be recorded.
    """
    conditions = wanted(options)

    async def query(logger: AuditLogger) -> Page:
        return await logger.query(
            conditions, limit=options.limit, after=options.after, newest_first=options.newest_first
        )

    page = run(query, options.log)
    terminal = Terminal(sys.stdout)
    for logged in page:
        show(terminal, logged, json=options.json)
    if page.next is not None:
        print(f"asgi-infra: there is more; add --after {page.next}", file=sys.stderr)
    elif not page:
        print("asgi-infra: no entries fit", file=sys.stderr)
    return 0
