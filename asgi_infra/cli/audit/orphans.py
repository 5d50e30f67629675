"""`asgi-infra audit orphans`: attempts that were never completed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asgi_infra.cli.audit.logs import run
from asgi_infra.cli.audit.showing import show
from asgi_infra.cli.terminal import Terminal
from asgi_infra.middleware.audit_orphans import close_orphans, orphans

if TYPE_CHECKING:
    from argparse import Namespace

    from asgi_infra.audit.contract import AuditLogger


def execute(options: Namespace) -> int:
    """Print the attempts, and with `--close` end them; return 1 if some are left open.

    Raises:
        ConfigurationError: There is no such log.
        AuditError: The log can't be read or written to.
    """
    terminal = Terminal(sys.stdout)

    async def find(logger: AuditLogger) -> int:
        found = 0
        async for attempt in orphans(logger, older_than=options.older_than):
            show(terminal, attempt, json=options.json)
            found += 1
        if found and options.close:
            closed = await close_orphans(logger, older_than=options.older_than)
            print(f"asgi-infra: closed {closed}", file=sys.stderr)
            return 0
        return found

    return int(run(find, options.log) > 0)
