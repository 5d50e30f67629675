"""`asgi-infra audit export`: write entries for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.cli.audit.logs import run, wanted
from asgi_infra.cli.audit.output import output
from asgi_infra.cli.audit.showing import Progress

if TYPE_CHECKING:
    from argparse import Namespace

    from asgi_infra.audit.contract import AuditLogger


def execute(options: Namespace) -> int:
    """Write all entries that fit.

    Raises:
        ConfigurationError: There is no such log, a condition can't be right, or the file can't be written.
        AuditError: The log can't be read, or the export can't be recorded.
    """
    conditions = wanted(options)
    progress = Progress("entries")

    async def export(logger: AuditLogger) -> None:
        with output(options.output) as file:
            async for piece in logger.export(options.format, conditions, progress=progress):
                file.write(piece)

    try:
        run(export, options.log)
    finally:
        progress.close()
    return 0
