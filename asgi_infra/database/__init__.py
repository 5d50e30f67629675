"""Database sessions that fail the way an engineer would want: SQLite and PostgreSQL, on asyncio.

Importing this takes no driver and no SQLAlchemy; the first session does.
"""

from __future__ import annotations

from asgi_infra.database.errors import (
    ConnectionFailedError,
    IntegrityViolationError,
    OperationError,
    OutcomeUnknownError,
    PoolExhaustedError,
    SerializationFailureError,
    SessionMisuseError,
    StatementTimeoutError,
    TransactionAbortedError,
)
from asgi_infra.database.figures import DatabaseHealth, PoolState
from asgi_infra.database.metrics import DatabaseCollector
from asgi_infra.database.middleware import DatabaseSessionMiddleware, commit_below_400, get_session
from asgi_infra.database.retry import Backoff
from asgi_infra.database.session import DatabaseSession

__all__ = [
    "Backoff",
    "ConnectionFailedError",
    "DatabaseCollector",
    "DatabaseHealth",
    "DatabaseSession",
    "DatabaseSessionMiddleware",
    "IntegrityViolationError",
    "OperationError",
    "OutcomeUnknownError",
    "PoolExhaustedError",
    "PoolState",
    "SerializationFailureError",
    "SessionMisuseError",
    "StatementTimeoutError",
    "TransactionAbortedError",
    "commit_below_400",
    "get_session",
]
