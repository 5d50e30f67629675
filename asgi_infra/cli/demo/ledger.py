"""The shop's audit log: what it records, where it is, and whether it holds what it should."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from asgi_infra.audit import AuditFilter, InMemoryAuditLogger
from asgi_infra.middleware.audit import Audit, AuditRule
from asgi_infra.shutdown import at_shutdown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asgi_infra.audit import AuditEntry, AuditLogger
    from asgi_infra.cli.demo.client import Reply
    from asgi_infra.cli.demo.tour import Step

_WAIT = 10.0
_PAUSE = 0.02

POLICY = (
    # A payment is not made unless it is on record that somebody wants to.
    AuditRule(
        methods="POST",
        paths="/carts/*/checkout",
        action="order.pay",
        resource_type="cart",
        resource_id="cart",
        two_phase=True,
        level="request",
    ),
    AuditRule(methods="POST", paths="/login", action="session.login", resource_type="session", level="request"),
)


class Ledger:
    """An audit log in a directory that goes when the server ends; in memory, where the system is none of POSIX.

    Attributes:
        path: The directory; `None` for a log in memory.
        log: The audit log.
        audit: The feature for the middleware.
    """

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self.path: Path | None = None
        self.log: AuditLogger
        if os.name == "posix":
            from asgi_infra.audit.backends.file import FileAuditLogger

            self._folder = TemporaryDirectory(prefix="shop-", ignore_cleanup_errors=True)
            self.path = Path(self._folder.name) / "audit"
            self.log = FileAuditLogger(self.path, origin="shop.example.org/audit", audit_reads=False)
        else:
            self.log = InMemoryAuditLogger()
        self.audit = Audit(self.log, policy=POLICY)
        at_shutdown(self.close)

    async def close(self) -> None:
        """Close the log and remove it; the server calls this at its end."""
        await self.log.aclose()
        if self._folder is not None:
            self._folder.cleanup()

    async def faults(self, step: Step, reply: Reply, tokens: list[str]) -> AsyncIterator[str]:
        """Yield what is wrong with the entries of one request."""
        entries = await self._entries(reply.request_id or "none", wanted=step.recorded is not None)
        results = [entry.result for entry in entries if entry.id.endswith(":completed")]
        if results != ([] if step.recorded is None else [_result(step.status)]):
            yield f"the audit log says {' and '.join(results) or 'nothing'}"
        if any(entry.action != step.recorded for entry in entries):
            yield f"the audit log calls it {entries[0].action}"
        secrets = [*tokens, *step.secrets.values(), (step.body or {}).get("password", "")]
        text = json.dumps([entry.to_dict() for entry in entries])
        if any(secret and secret in text for secret in secrets):
            yield "a secret is in the audit log"

    async def _entries(self, request_id: str, *, wanted: bool) -> tuple[AuditEntry, ...]:
        """Return the entries of a request, once its end is among them: it may be logged after the response."""
        for _ in range(round(_WAIT / _PAUSE)):
            entries = (await self.log.query(AuditFilter(request_id=request_id))).entries
            if not wanted or any(entry.id.endswith(":completed") for entry in entries):
                return entries
            await asyncio.sleep(_PAUSE)
        return ()

    async def verdict(self) -> tuple[bool, str]:
        """Return whether the whole log verifies, and what the check says."""
        report = await self.log.verify()
        if not report:
            return False, f"the audit log is broken: {report.problem}"
        return True, f"the audit log verifies: {report.checked} entries, root {report.root.hex()[:16]}"


def _result(status: int) -> str:
    return "success" if status < 400 else "error" if status >= 500 else "failure"
