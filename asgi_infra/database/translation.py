"""SQLAlchemy's and the drivers' exceptions, told as this package's errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import exc as sqlalchemy_errors

from asgi_infra.database.errors import (
    ConnectionFailedError,
    IntegrityViolationError,
    OperationError,
    OutcomeUnknownError,
    PoolExhaustedError,
    SerializationFailureError,
    StatementTimeoutError,
    TransactionAbortedError,
)
from asgi_infra.database.sqltext import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMITTING = "asgi_infra_committing"
"""The attribute that marks an exception of a driver as raised while the commit was under way."""

_QUOTED_LITERAL = re.compile(r"\"'[^\n]*\"")  # at or near "'half a literal"

# PostgreSQL documentation, appendix A
_BY_SQLSTATE: dict[str, tuple[type[OperationError], str]] = {
    "40001": (SerializationFailureError, "the transaction could not be serialised with another one"),
    "40P01": (SerializationFailureError, "the transaction was chosen to end a deadlock"),
    "55P03": (SerializationFailureError, "a lock was not free in time"),
    "40002": (IntegrityViolationError, "an integrity constraint was violated"),
    "40003": (OutcomeUnknownError, "the server does not know whether the statement was completed"),
    "57014": (StatementTimeoutError, "the server cancelled the statement"),
    "25P03": (StatementTimeoutError, "the transaction had been idle for too long"),
    "25P04": (StatementTimeoutError, "the transaction took too long"),
    "25P02": (TransactionAbortedError, "an earlier statement had failed; nothing was committed"),
    "53300": (ConnectionFailedError, "the server has no connection left"),
}
_CONSTRAINTS = {
    "23502": "a not-null constraint",
    "23503": "a foreign key",
    "23505": "a unique constraint",
    "23514": "a check constraint",
    "23P01": "an exclusion constraint",
}
# SQLite has no SQLSTATE; https://www.sqlite.org/rescode.html
_SQLITE_TO_SQLSTATE = {
    "SQLITE_CONSTRAINT_UNIQUE": "23505",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "23505",
    "SQLITE_CONSTRAINT_ROWID": "23505",
    "SQLITE_CONSTRAINT_NOTNULL": "23502",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "23503",
    "SQLITE_CONSTRAINT_CHECK": "23514",
    "SQLITE_CONSTRAINT_TRIGGER": "23000",
    "SQLITE_BUSY": "55P03",
    "SQLITE_BUSY_SNAPSHOT": "40001",
    "SQLITE_LOCKED": "55P03",
    "SQLITE_LOCKED_SHAREDCACHE": "55P03",
    "SQLITE_INTERRUPT": "57014",
    "SQLITE_CANTOPEN": "08001",
}


def translate(error: BaseException) -> OperationError | None:
    """Return what a session raises in place of a database error, or `None` for an exception of any other kind.

    The result is not yet chained: `raise translated from error`.

    Args:
        error: What the session's block or its commit raised.
    """
    if isinstance(error, OperationError) or not isinstance(error, sqlalchemy_errors.SQLAlchemyError):
        return None
    if isinstance(error, sqlalchemy_errors.TimeoutError):
        return PoolExhaustedError(
            "no connection of the pool came free in time; raise pool_size or shorten the sessions"
        )
    if isinstance(error, sqlalchemy_errors.PendingRollbackError):
        return TransactionAbortedError("an earlier flush had failed; nothing was committed")
    if not isinstance(error, sqlalchemy_errors.DBAPIError):
        return OperationError(f"the database session failed with {type(error).__name__}")
    state = sqlstate_of(error)
    if error.connection_invalidated or says_goodbye(state):
        return _lost(error, state)
    if state in _BY_SQLSTATE:
        kind, message = _BY_SQLSTATE[state]
        return kind(f"{message} (SQLSTATE {state})", sqlstate=state)
    if isinstance(error, sqlalchemy_errors.IntegrityError) or (state or "").startswith("23"):
        return _violated(error, state)
    detail = f"SQLSTATE {state}" if state else type(error.orig).__name__
    return OperationError(f"the database refused the statement ({detail})", sqlstate=state)


def sqlstate_of(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of a driver's or SQLAlchemy's exception; for SQLite, PostgreSQL's for the same condition."""
    for each in _chain(error):
        state = getattr(each, "sqlstate", None)
        if isinstance(state, str):
            return state
        name = getattr(each, "sqlite_errorname", None)
        if isinstance(name, str):
            return _SQLITE_TO_SQLSTATE.get(name)
    return None


def connection_refused(url: object, error: BaseException) -> ConnectionFailedError:
    """Return what a failed attempt to connect is raised as; not to be retried where user or database are refused.

    Args:
        url: The database's, in the form to show.
        error: What the driver raised.
    """
    state = sqlstate_of(error)
    reason = f"SQLSTATE {state}" if state else type(error).__name__
    return ConnectionFailedError(
        f"could not connect to {url}: {reason}",
        sqlstate=state,
        retryable=state is None or not state.startswith(("28", "3D000")),
    )


def says_goodbye(sqlstate: str | None) -> bool:
    """Return whether an SQLSTATE is a server's last word: connection exceptions, shutdown, crash, starting up."""
    return sqlstate is not None and sqlstate.startswith(("08", "57P0"))


def hide_values(error: BaseException, original: BaseException) -> None:
    """Take the values of rows and parameters out of the messages of a database error, in place.

    PostgreSQL quotes rows in the `DETAIL` of its errors, everybody quotes the value that has the wrong form (SQLSTATE
    class 22) or the literal that does not end, and SQLAlchemy quotes the whole statement; its `hide_parameters` knows
    none of these.

    Args:
        error: SQLAlchemy's exception, which wraps the driver's.
        original: The driver's exception.
    """
    malformed = (sqlstate_of(original) or "").startswith("22") or not (
        isinstance(error, sqlalchemy_errors.DBAPIError) or isinstance(original, sqlalchemy_errors.SQLAlchemyError)
    )
    for each in _chain(original):
        if getattr(each, "detail", None):
            each.detail = None  # type: ignore[attr-defined]
        if each.args and isinstance(each.args[0], str) and "\nDETAIL:" in each.args[0]:
            each.args = (each.args[0].partition("\nDETAIL:")[0], *each.args[1:])
        if malformed:
            each.args = ("data exception (message hidden)",)
        elif each.args and isinstance(each.args[0], str):
            each.args = (_QUOTED_LITERAL.sub('"?"', each.args[0]), *each.args[1:])
    if isinstance(error, sqlalchemy_errors.StatementError) and error.statement is not None:
        error.statement = describe(error.statement).text
    error.args = (f"({type(original).__name__}) {original}", *error.args[1:])


def _lost(error: sqlalchemy_errors.DBAPIError, state: str | None) -> OperationError:
    # an InterfaceError is the driver's own refusal: it knew that the connection was gone, and sent nothing
    if getattr(error.orig, COMMITTING, False) and not isinstance(error, sqlalchemy_errors.InterfaceError):
        return OutcomeUnknownError("the connection was lost while the commit was under way", sqlstate=state)
    return ConnectionFailedError("the connection to the database failed or was lost", sqlstate=state)


def _violated(error: sqlalchemy_errors.DBAPIError, state: str | None) -> IntegrityViolationError:
    name = next((value for each in _chain(error.orig) if (value := getattr(each, "constraint_name", None))), None)
    if name is None and hasattr(error.orig, "sqlite_errorname"):
        # "UNIQUE constraint failed: users.email", "FOREIGN KEY constraint failed"
        name = str(error.orig).partition("constraint failed: ")[2] or None
    what = _CONSTRAINTS.get(state or "", "a constraint")
    return IntegrityViolationError(
        f"{what}{f' ({name})' if name else ''} was violated (SQLSTATE {state or '23000'})",
        sqlstate=state or "23000",
        constraint=name,
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "orig", None) or error.__cause__
