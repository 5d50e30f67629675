"""`asgi-infra audit prove`: the proof that an entry is in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.cli.audit.logs import run
from asgi_infra.cli.audit.output import output

if TYPE_CHECKING:
    from argparse import Namespace

    from asgi_infra.audit.contract import AuditLogger


def execute(options: Namespace) -> int:
    """Write a proof file.

    Raises:
        ConfigurationError: There is no such log, it has no key, or the file can't be written.
        AuditError: The log has no such entry, or can't be read.
    """

    async def prove(logger: AuditLogger) -> str:
        return await logger.prove(options.seq)

    with output(options.output) as file:
        file.write(run(prove, options.log).encode())
    return 0
