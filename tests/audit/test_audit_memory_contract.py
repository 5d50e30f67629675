from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_infra.audit import InMemoryAuditLogger
from asgi_infra.testing.audit import AuditLoggerContract

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_infra.audit import AuditLogger


class TestInMemoryAuditLogger(AuditLoggerContract):
    def make_logger(self, place: Path, **options: Any) -> AuditLogger:
        return InMemoryAuditLogger(**options)
