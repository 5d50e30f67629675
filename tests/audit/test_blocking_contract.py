from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit_stores import BlockingStore

from asgi_infra.audit import AuditLogger
from asgi_infra.testing.audit import AuditLoggerContract

if TYPE_CHECKING:
    from pathlib import Path


class TestAuditLoggerOverABlockingStore(AuditLoggerContract):
    """Group commit, worker threads and reopening, without a disk."""

    persistent = True

    def setup_method(self) -> None:
        self.stores: dict[Path, BlockingStore] = {}

    def make_logger(self, place: Path, **options: Any) -> AuditLogger:
        return AuditLogger(self.stores.setdefault(place, BlockingStore()), **options)
