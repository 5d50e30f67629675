from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from asgi_infra.audit.backends.file import FileAuditLogger
from asgi_infra.testing.audit import AuditLoggerContract

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_infra.audit import AuditLogger


class TestFileAuditLogger(AuditLoggerContract):
    persistent: ClassVar[bool] = True

    def make_logger(self, place: Path, **options: Any) -> AuditLogger:
        return FileAuditLogger(place, **options)


class TestFileAuditLoggerOfSmallSegments(AuditLoggerContract):
    persistent: ClassVar[bool] = True

    def make_logger(self, place: Path, **options: Any) -> AuditLogger:
        return FileAuditLogger(place, segment_bytes=4096, **options)
