# ruff: noqa: PT012 - the block of a session holds several statements
from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from sqlalchemy import event, exc, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from asgi_infra.context import bind
from asgi_infra.database import (
    DatabaseSession,
    IntegrityViolationError,
    OperationError,
    OutcomeUnknownError,
    SessionMisuseError,
    TransactionAbortedError,
)
from asgi_infra.errors import DatabaseError

pytestmark = pytest.mark.anyio


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


@pytest.fixture
async def db(database_url):
    async with DatabaseSession(database_url, pool_size=2, max_overflow=1, pool_timeout=0.2) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(
                text(
                    "CREATE TABLE parts (item INTEGER, "
                    "FOREIGN KEY (item) REFERENCES items (id) DEFERRABLE INITIALLY DEFERRED)"
                )
            )
        yield database


async def names(db):
    async with db.session() as session:
        return list((await session.execute(text("SELECT name FROM items ORDER BY id"))).scalars())


async def test_a_session_commits_when_its_block_ends(db):
    async with db.session() as session:
        session.add(Item(id=1, name="tea"))
    assert await names(db) == ["tea"]


async def test_objects_stay_readable_after_the_commit(db):
    async with db.session() as session:
        item = Item(id=1, name="tea")
        session.add(item)
    assert item.name == "tea"


async def test_a_session_rolls_back_and_passes_a_foreign_exception_unchanged(db):
    original = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with db.session() as session:
            session.add(Item(id=1, name="tea"))
            await session.flush()
            raise original
    assert caught.value is original
    assert original.__cause__ is None
    assert not hasattr(original, "__notes__")
    assert await names(db) == []
    assert db.pool().used == 0


async def test_a_violated_constraint_is_told_by_name_and_state_and_keeps_the_original(db):
    with pytest.raises(IntegrityViolationError) as caught:
        async with db.session() as session:
            session.add_all([Item(id=1, name="tea"), Item(id=2, name="tea")])
    error = caught.value
    assert isinstance(error, DatabaseError)
    assert isinstance(error.__cause__, exc.IntegrityError)
    assert (error.sqlstate, error.retryable) == ("23505", False)
    assert "name" in error.constraint
    assert await names(db) == []


async def test_a_commit_that_fails_is_raised_and_nothing_is_kept(db):
    with pytest.raises(IntegrityViolationError) as caught:
        async with db.session() as session:
            session.add(Item(id=1, name="tea"))
            await session.execute(text("INSERT INTO parts VALUES (99)"))
    assert caught.value.sqlstate == "23503"
    assert isinstance(caught.value.__cause__, exc.IntegrityError)
    assert await names(db) == []
    assert (db.pool().commit_failed, db.pool().used) == (1, 0)


async def test_a_statement_that_is_wrong_is_an_operation_error(db):
    with pytest.raises(OperationError) as caught:
        async with db.session() as session:
            await session.execute(text("SELECT nothing FROM nowhere"))
    assert caught.value.retryable is False
    assert isinstance(caught.value.__cause__, exc.DBAPIError)


async def test_errors_of_sqlalchemy_itself_are_translated_too(db):
    with pytest.raises(OperationError, match="NoResultFound") as caught:
        async with db.session() as session:
            (await session.execute(text("SELECT 1 WHERE 1 = 0"))).one()
    assert isinstance(caught.value.__cause__, exc.NoResultFound)


async def test_inside_the_block_sqlalchemy_speaks_so_that_a_savepoint_can_be_used(db):
    async with db.session() as session:
        session.add(Item(id=1, name="tea"))
        with contextlib.suppress(exc.IntegrityError):
            async with session.begin_nested():
                session.add(Item(id=2, name="tea"))
        session.add(Item(id=3, name="milk"))
    assert await names(db) == ["tea", "milk"]


async def test_postgresql_never_commits_nothing_in_silence_after_a_swallowed_error(postgres_url):
    async with DatabaseSession(postgres_url) as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INT, name TEXT)"))
        with pytest.raises(TransactionAbortedError) as caught:
            async with db.session() as session:
                await session.execute(text("INSERT INTO items VALUES (1, 'tea')"))
                with contextlib.suppress(exc.DBAPIError):
                    await session.execute(text("SELECT 1 / 0"))
        assert caught.value.sqlstate == "25P02"
        assert await names(db) == []


async def test_a_swallowed_failure_of_a_flush_is_raised_at_the_commit(db):
    with pytest.raises((TransactionAbortedError, IntegrityViolationError)):
        async with db.session() as session:
            session.add_all([Item(id=1, name="tea"), Item(id=2, name="tea")])
            with contextlib.suppress(exc.IntegrityError):
                await session.flush()
            session.add(Item(id=3, name="milk"))
            await session.execute(text("SELECT 1"))
    assert await names(db) == []


async def test_a_session_is_of_no_use_after_its_block(db):
    async with db.session() as session:
        pass
    with pytest.raises(exc.InvalidRequestError):
        await session.execute(text("SELECT 1"))
    assert db.pool().used == 0


async def test_a_context_manager_is_for_one_block(db):
    once = db.session()
    async with once:
        pass
    with pytest.raises(SessionMisuseError, match="one `async with`"):
        async with once:
            pass


async def test_transactions_on_sqlite_read_one_state_and_enforce_foreign_keys(sqlite_url):
    async with DatabaseSession(sqlite_url) as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)"))
            assert (await session.execute(text("PRAGMA foreign_keys"))).scalar() == 1
            assert (await session.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
        async with db.session() as reader:
            assert (await reader.execute(text("SELECT count(*) FROM items"))).scalar() == 0
            async with db.session() as writer:
                await writer.execute(text("INSERT INTO items (name) VALUES ('tea')"))
            assert (await reader.execute(text("SELECT count(*) FROM items"))).scalar() == 0
        assert await names(db) == ["tea"]


async def test_many_first_sessions_at_once_prepare_a_new_sqlite_file_without_a_lock_error(sqlite_url):
    async with DatabaseSession(sqlite_url, pool_size=8) as db:

        async def one():
            async with db.session() as session:
                await session.execute(text("SELECT 1"))

        await asyncio.gather(*(one() for _ in range(32)))
        assert db.pool().committed == 32


async def test_sessions_on_a_database_in_memory_take_turns_and_see_one_database():
    async with DatabaseSession("sqlite://") as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)"))

        async def add(name, fail):
            async with db.session() as session:
                await session.execute(text("INSERT INTO items (name) VALUES (:name)"), {"name": name})
                await asyncio.sleep(0)
                if fail:
                    raise ValueError(name)

        await asyncio.gather(*(add(str(n), n % 2) for n in range(10)), return_exceptions=True)
        assert sorted(await names(db)) == ["0", "2", "4", "6", "8"]


async def test_a_rollback_that_fails_is_noted_on_the_original_and_logged_and_the_connection_is_thrown_away(db, caplog):
    def broken(_connection):
        raise RuntimeError("secret-of-the-driver")

    original = KeyError("mine")
    event.listen(db.engine.sync_engine, "rollback", broken)
    with pytest.raises(KeyError) as caught, bind(request_id="r-1"):
        async with db.session() as session:
            session.add(Item(id=1, name="tea"))
            await session.flush()
            raise original
    event.remove(db.engine.sync_engine, "rollback", broken)
    assert caught.value is original
    assert original.__notes__ == ["The rollback failed too: RuntimeError"]
    record = next(record for record in caplog.records if record.name == "asgi_infra.database")
    assert (record.levelname, record.request_id, record.error_type) == ("ERROR", "r-1", "KeyError")
    assert record.rollback_error == "RuntimeError"
    assert "secret-of-the-driver" not in record.getMessage()
    assert await names(db) == []
    assert db.pool().used == 0


async def test_a_rollback_that_fails_after_a_database_error_is_noted_on_what_is_raised(db):
    def broken(_connection):
        raise RuntimeError("broken")

    event.listen(db.engine.sync_engine, "rollback", broken)
    with pytest.raises(OperationError) as caught:
        async with db.session() as session:
            await session.execute(text("SELECT nothing FROM nowhere"))
    event.remove(db.engine.sync_engine, "rollback", broken)
    assert caught.value.__notes__ == ["The rollback failed too: RuntimeError"]
    assert isinstance(caught.value.__cause__, exc.DBAPIError)


async def test_a_failure_is_logged_once_with_request_id_and_state_and_without_values(db, caplog):
    with pytest.raises(IntegrityViolationError), bind(request_id="r-2"):
        async with db.session(), db.session() as session:
            session.add_all([Item(id=1, name="bob@example.org"), Item(id=2, name="bob@example.org")])
    loud = [
        record for record in caplog.records if record.name == "asgi_infra.database" and record.levelno > logging.INFO
    ]
    (record,) = loud
    assert (record.levelname, record.request_id, record.sqlstate) == ("ERROR", "r-2", "23505")
    assert record.outcome == "commit_failed"
    assert "bob" not in caplog.text


async def test_a_foreign_exception_is_logged_at_info_without_its_message(db, caplog):
    caplog.set_level(logging.INFO, "asgi_infra.database")
    with pytest.raises(ValueError, match="hunter2"):
        async with db.session():
            raise ValueError("hunter2")
    (record,) = (record for record in caplog.records if record.name == "asgi_infra.database")
    assert (record.levelname, record.error_type, record.outcome) == ("INFO", "ValueError", "rolled_back")
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("hidden", [True, False])
async def test_values_of_rows_and_parameters_are_kept_out_of_the_whole_chain(postgres_url, hidden):
    async with DatabaseSession(postgres_url, hide_parameters=hidden) as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE users (email TEXT UNIQUE, age INT)"))
        insert = text("INSERT INTO users VALUES (:email, 1)")
        attempts = [
            (insert, [{"email": "bob@example.org"}, {"email": "bob@example.org"}]),
            (text("SELECT CAST(:age AS INT)"), {"age": "bob@example.org"}),
            (text("SELECT CAST(CAST(:age AS TEXT) AS INT)"), {"age": "bob@example.org"}),
            (text("SELECT CAST(:id AS UUID)"), {"id": "bob@example.org"}),
        ]
        for statement, parameters in attempts:
            with pytest.raises(OperationError) as caught:
                async with db.session() as session:
                    await session.execute(statement, parameters)
            shown, error = [], caught.value
            while error is not None:
                shown.append(str(error))
                error = error.__cause__
            assert ("bob@example.org" in "\n".join(shown)) is not hidden
            assert "bob@" not in shown[0]


async def test_a_failing_commit_hook_of_the_application_is_raised_unchanged(db):
    def refuse(_session):
        raise PermissionError("not today")

    with pytest.raises(PermissionError, match="not today"):
        async with db.session() as session:
            session.add(Item(id=1, name="tea"))
            event.listen(session.sync_session, "before_commit", refuse)
    assert await names(db) == []
    assert db.pool().commit_failed == 1


async def test_an_outcome_that_is_unknown_is_no_failure_to_retry():
    error = OutcomeUnknownError("lost")
    assert isinstance(error, DatabaseError)
    assert error.retryable is False
