"""The audit log in a directory of files."""

from __future__ import annotations

from asgi_infra.audit.backends.file.logger import FileAuditLogger
from asgi_infra.audit.backends.file.recovery import RecoveryReport

__all__ = ["FileAuditLogger", "RecoveryReport"]
