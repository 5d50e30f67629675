from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra.audit.backends.sql import SQLAuditLogger
from asgi_infra.testing.audit import AuditLoggerContract

if TYPE_CHECKING:
    from pathlib import Path

    from servers import PostgresServer

    from asgi_infra.audit import AuditLogger


class TestSQLAuditLoggerOnPostgreSQL(AuditLoggerContract):
    persistent = True

    @pytest.fixture(autouse=True)
    def _on(self, postgres: PostgresServer) -> None:
        self.url = postgres.url()

    def make_logger(self, place: Path, **options: Any) -> AuditLogger:
        prefix = f"t{blake2b(bytes(place), digest_size=8).hexdigest()}_"
        return SQLAuditLogger(self.url, table_prefix=prefix, timeout=30, **options)
