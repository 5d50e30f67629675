"""`asgi-infra audit checkpoint`: sign what the log holds now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.cli.audit.logs import run
from asgi_infra.cli.audit.output import output

if TYPE_CHECKING:
    from argparse import Namespace

    from asgi_infra.audit.contract import AuditLogger


def execute(options: Namespace) -> int:
    """Write a new checkpoint.

    Raises:
        ConfigurationError: There is no such log, it has no key, or the file can't be written.
        AuditError: The log can't be read, or does not follow from what it signed last.
    """

    async def sign(logger: AuditLogger) -> str:
        return await logger.checkpoint()

    with output(options.output) as file:
        file.write(run(sign, options.log).encode())
    return 0
