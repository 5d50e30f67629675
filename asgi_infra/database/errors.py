"""What a database session raises: each class says what became of the transaction.

```text
DatabaseError                        asgi_infra.errors: catch this one for all of them
└── OperationError                   the database refused; nothing of the transaction was kept
    ├── ConnectionFailedError        no connection, or it was lost before the commit was sent
    ├── PoolExhaustedError           all connections were in use for too long
    ├── IntegrityViolationError      a constraint was violated
    ├── SerializationFailureError    another transaction won (serialisation, deadlock, lock time-out, SQLite busy)
    ├── StatementTimeoutError        the server cancelled the statement
    ├── TransactionAbortedError      an earlier failure was swallowed, so there was nothing left to commit
    ├── SessionMisuseError           wrong event loop, other process, after the end
    └── OutcomeUnknownError          the connection was lost while committing: kept or not, nobody knows
```

`__cause__` holds the library's exception. Messages hold no values of parameters, no SQL and no password.
"""

from __future__ import annotations

from typing import ClassVar

from asgi_infra.errors import DatabaseError


class OperationError(DatabaseError):
    """The database refused, and nothing of the transaction was kept. Base of the more telling classes.

    Args:
        message: What happened, without values.
        sqlstate: See below.
        constraint: See below.
        retryable: Overrides the class's answer.

    Attributes:
        sqlstate: The five characters of the SQLSTATE (ISO/IEC 9075-2; PostgreSQL documentation, appendix A), or `None`.
            SQLite has none: its constraint and lock errors carry PostgreSQL's code for the same condition.
        constraint: The name of the violated constraint, on SQLite the columns, or `None`.
        retryable: Whether running the whole transaction again is safe and may well succeed.
        reported: Whether a session has logged it, so that the sessions around it don't do so again.
    """

    _retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        constraint: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint
        self.retryable = self._retryable if retryable is None else retryable
        self.reported = False


class ConnectionFailedError(OperationError):
    """No connection could be made, or it was lost before the commit was sent; the server keeps nothing of it.

    `retryable`, except where the server refused the user or does not know the database.
    """

    _retryable = True


class PoolExhaustedError(OperationError):
    """Every connection of the pool was in use for `pool_timeout` seconds.

    Not `retryable` at once: a retry would add to the load that caused it. Answer 503, or make sessions shorter.
    """


class IntegrityViolationError(OperationError):
    """A constraint was violated; SQLSTATE 23505 unique, 23503 foreign key, 23502 not null, 23514 check."""


class SerializationFailureError(OperationError):
    """Another transaction won: a serialisation failure, a deadlock, a lock that was not free in time."""

    _retryable = True


class StatementTimeoutError(OperationError):
    """The server cancelled the statement or the transaction: it took longer than allowed, or an operator said so."""


class TransactionAbortedError(OperationError):
    """A statement had failed, the error was swallowed, and the session went on to commit.

    PostgreSQL answers such a `COMMIT` with a silent rollback. Work that may fail goes into
    `async with session.begin_nested()`, a savepoint.
    """


class SessionMisuseError(OperationError):
    """The session or its `DatabaseSession` was used from another event loop or process, or after its end."""


class OutcomeUnknownError(OperationError):
    """The connection was lost while the commit was under way: the work may have been kept, or not.

    Never `retryable`: look first whether the work is there, or make it idempotent.
    """
