"""What PostgreSQL and its driver raise, told as what became of the entries."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import asyncpg  # type: ignore[import-untyped]

from asgi_infra.audit.errors import (
    AuditFullError,
    AuditIntegrityError,
    AuditOutcomeUnknownError,
    AuditStoreError,
    AuditUnavailableError,
)

if TYPE_CHECKING:
    from asgi_infra.database.urls import DatabaseURL

_LOST: Final = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)
_GOODBYE: Final = ("08", "57P0")
_FULL: Final = "53100"
_NO_PARTITION: Final = "no partition of relation"
# unique, not null and check constraints, what the triggers refuse, and damaged pages: only this package writes here
_WRONG: Final = ("23", "P0001", "XX001", "XX002")


class Phase(Enum):
    """How far an attempt has come."""

    CONNECTING = auto()
    WORKING = auto()
    COMMITTING = auto()


class Again(Exception):  # noqa: N818 - not an error yet
    """Says that the same work may well succeed on a new connection.

    Attributes:
        error: What to raise if it doesn't.
    """

    def __init__(self, error: AuditStoreError) -> None:
        super().__init__(error)
        self.error = error


def told(exc: BaseException, url: DatabaseURL, phase: Phase) -> BaseException:
    """Return what to raise in place of an exception; the same one if it is none of the database's.

    Args:
        exc: What was raised.
        url: The database, for the message.
        phase: How far the attempt had come.
    """
    if isinstance(exc, TimeoutError):  # also an OSError
        return _unfinished(f"the database {url} did not answer in time", phase)
    state = getattr(exc, "sqlstate", None) or "" if isinstance(exc, asyncpg.PostgresError) else ""
    if isinstance(exc, _LOST) or state.startswith(_GOODBYE):
        why = f"SQLSTATE {state}" if state else type(exc).__name__
        if phase is Phase.CONNECTING:
            return AuditUnavailableError(f"could not connect to {url}: {why}")
        return Again(_unfinished(f"the connection to {url} was lost ({why})", phase))
    if not isinstance(exc, asyncpg.PostgresError):
        return exc
    if state == _FULL:
        return AuditFullError(f"the server of {url} has no room left on its disk")
    if state == "40003":
        return AuditOutcomeUnknownError(f"the database {url} does not know whether the statement was completed")
    if state == "23514" and _NO_PARTITION in str(exc):
        return Again(AuditUnavailableError(f"a partition of {url} was dropped meanwhile"))
    if state.startswith(_WRONG):
        constraint = getattr(exc, "constraint_name", None) or "a trigger or check"
        return AuditIntegrityError(f"the log in {url} is not as it was left: {constraint} refused (SQLSTATE {state})")
    return AuditUnavailableError(f"the database {url} refused (SQLSTATE {state})")


def _unfinished(message: str, phase: Phase) -> AuditStoreError:
    if phase is Phase.COMMITTING:
        return AuditOutcomeUnknownError(f"{message}; it may have committed or not")
    return AuditUnavailableError(message)
