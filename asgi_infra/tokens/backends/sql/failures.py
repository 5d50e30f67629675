"""What databases raise, told as the errors of token stores."""

from __future__ import annotations

from enum import Enum, auto
from typing import NoReturn

from sqlalchemy.exc import InterfaceError, SQLAlchemyError

from asgi_infra.database import errors
from asgi_infra.database.migrations import MigrationError
from asgi_infra.database.translation import sqlstate_of, translate
from asgi_infra.tokens.errors import OutcomeUnknownError, StoreError, StoreFullError, StoreUnavailableError

_FULL = ("53100", "53200")  # PostgreSQL documentation, appendix A: disk full, out of memory


class Phase(Enum):
    """How far a transaction has come."""

    CONNECTING = auto()
    WORKING = auto()
    """Statements are sent that can still be rolled back."""
    COMMITTING = auto()
    """What has been sent may be kept from now on."""


def raise_told(error: BaseException, phase: Phase) -> NoReturn:
    """Raise what the store raises in place of an error, or the error itself when it is not the database's.

    Args:
        error: What the driver, SQLAlchemy or the database layer raised.
        phase: How far the transaction had come.
    """
    translated = told(error, phase)
    if translated is None:
        raise error
    raise translated from error


def told(error: BaseException, phase: Phase) -> StoreError | None:
    """Return what the store raises in place of an error, or `None` for an error that is not the database's."""
    if isinstance(error, StoreError):
        return None
    if isinstance(error, TimeoutError):
        if phase is Phase.COMMITTING:
            return OutcomeUnknownError("the database did not answer in time, after everything had been sent")
        what = "no connection" if phase is Phase.CONNECTING else "no answer"
        return StoreUnavailableError(f"there was {what} of the database in time; nothing was changed")
    if isinstance(error, MigrationError):
        return StoreUnavailableError(str(error), retryable=False)
    known = error if isinstance(error, errors.OperationError) else translate(error)
    if known is not None:
        return _known(known, error, phase)
    if isinstance(error, OSError) or sqlstate_of(error) is not None:
        # of an engine that was brought: its driver's own errors
        if phase is Phase.COMMITTING:
            return OutcomeUnknownError("the connection to the database was lost after everything had been sent")
        return StoreUnavailableError(f"the database could not be reached: {type(error).__name__}")
    return None


def _known(known: errors.OperationError, error: BaseException, phase: Phase) -> StoreError:
    if isinstance(known, errors.OutcomeUnknownError):
        return OutcomeUnknownError(str(known))
    lost = isinstance(known, errors.ConnectionFailedError)
    # an InterfaceError is the driver's own refusal: it knew that the connection was gone, and sent nothing
    if lost and phase is Phase.COMMITTING and not isinstance(error, InterfaceError):
        return OutcomeUnknownError("the connection to the database was lost after everything had been sent")
    if isinstance(known, errors.SessionMisuseError):
        return StoreUnavailableError(f"the token store can't be used here: {known}", retryable=False)
    name = _sqlite_name_of(error)
    if phase is Phase.COMMITTING and name.startswith("SQLITE_IOERR"):
        return OutcomeUnknownError(f"the commit failed with {name}")
    if known.sqlstate in _FULL or name == "SQLITE_FULL":
        return StoreFullError("the database has no room left on its disk")
    # a pool in use, or a statement that took too long, may well go better for the next request
    passing = known.retryable or isinstance(known, (errors.PoolExhaustedError, errors.StatementTimeoutError))
    return StoreUnavailableError(str(known), retryable=passing)


def _sqlite_name_of(error: BaseException | None) -> str:
    while error is not None:
        if name := getattr(error, "sqlite_errorname", None):
            return str(name)
        error = getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else error.__cause__
    return ""


def is_passing(error: BaseException | None) -> bool:
    """Return whether the same transaction, begun again at once, may well succeed."""
    known = error if error is None or isinstance(error, errors.OperationError) else translate(error)
    return isinstance(known, (errors.ConnectionFailedError, errors.SerializationFailureError)) and known.retryable
