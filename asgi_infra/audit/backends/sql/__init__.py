"""The audit log in an SQL database: SQLite or PostgreSQL."""

from __future__ import annotations

from asgi_infra.audit.backends.sql.logger import SQLAuditLogger

__all__ = ["SQLAuditLogger"]
