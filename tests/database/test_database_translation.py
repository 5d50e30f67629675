from __future__ import annotations

import pickle
import traceback

import pytest
from sqlalchemy import exc, text

from asgi_infra.database import DatabaseSession, errors
from asgi_infra.database.errors import OperationError
from asgi_infra.database.translation import translate
from asgi_infra.errors import DatabaseError, InfrastructureError


class DriverError(Exception):
    """A driver's exception with an SQLSTATE."""

    def __init__(self, sqlstate=None, **attributes):
        super().__init__("a driver's message")
        self.sqlstate = sqlstate
        self.__dict__.update(attributes)


def wrapped(sqlstate, *, kind=exc.DBAPIError, lost=False, **attributes):
    return kind("SELECT 1", {}, DriverError(sqlstate, **attributes), connection_invalidated=lost)


@pytest.mark.parametrize(
    ("sqlstate", "kind", "retryable"),
    [
        ("40001", errors.SerializationFailureError, True),
        ("40P01", errors.SerializationFailureError, True),
        ("55P03", errors.SerializationFailureError, True),
        ("40002", errors.IntegrityViolationError, False),
        ("40003", errors.OutcomeUnknownError, False),
        ("23505", errors.IntegrityViolationError, False),
        ("23P01", errors.IntegrityViolationError, False),
        ("57014", errors.StatementTimeoutError, False),
        ("25P03", errors.StatementTimeoutError, False),
        ("25P02", errors.TransactionAbortedError, False),
        ("08006", errors.ConnectionFailedError, True),
        ("57P01", errors.ConnectionFailedError, True),
        ("57P03", errors.ConnectionFailedError, True),
        ("53300", errors.ConnectionFailedError, True),
        ("42601", OperationError, False),
        (None, OperationError, False),
    ],
)
def test_each_state_has_its_class_and_says_whether_to_retry(sqlstate, kind, retryable):
    error = translate(wrapped(sqlstate))
    assert type(error) is kind
    assert (error.sqlstate, error.retryable) == (sqlstate, retryable)
    assert "driver's message" not in str(error)


def test_a_connection_lost_while_committing_is_unknown_unless_the_driver_sent_nothing():
    sent = wrapped("08003", lost=True, asgi_infra_committing=True)
    refused = wrapped(None, kind=exc.InterfaceError, lost=True, asgi_infra_committing=True)
    before = wrapped("08003", lost=True)
    kinds = [type(translate(error)) for error in (sent, refused, before)]
    assert kinds == [errors.OutcomeUnknownError, errors.ConnectionFailedError, errors.ConnectionFailedError]


@pytest.mark.parametrize(
    "error", [ValueError(), OSError(), KeyboardInterrupt(), DriverError("40001"), OperationError("x")]
)
def test_what_is_no_error_of_sqlalchemy_is_not_translated(error):
    assert translate(error) is None


def test_the_constraint_is_named():
    error = translate(wrapped("23505", kind=exc.IntegrityError, constraint_name="users_email_key"))
    assert (error.constraint, str(error)) == (
        "users_email_key",
        "a unique constraint (users_email_key) was violated (SQLSTATE 23505)",
    )


def test_every_error_is_a_database_error_and_survives_pickling():
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, DatabaseError)]
    assert len(classes) == 10
    for kind in classes:
        assert issubclass(kind, InfrastructureError)
    original = errors.IntegrityViolationError("violated", sqlstate="23505", constraint="c")
    copy = pickle.loads(pickle.dumps(original))
    assert (type(copy), str(copy), copy.sqlstate, copy.constraint) == (type(original), "violated", "23505", "c")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'hunter2-secret' FROM nowhere",
        "SELECT 'hunter2-secret",
        "SELEC 'hunter2-secret'",
        "INSERT INTO nowhere VALUES (1, 'it''s hunter2-secret')",
        "SELECT CAST('hunter2-secret' AS INT) FROM nowhere",
    ],
)
async def test_literals_of_a_statement_are_kept_out_of_the_whole_chain(database_url, statement):
    async with DatabaseSession(database_url) as db:
        with pytest.raises(OperationError) as caught:
            async with db.session() as session:
                await session.execute(text(statement))
    told = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in told
    assert "[SQL: SEL" in told or "[SQL: INSERT INTO nowhere" in told
