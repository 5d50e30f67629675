"""Transactions that meet trouble: cancelled tasks, killed servers, exhausted pools."""
# ruff: noqa: PT012 - the block of a session holds several statements

from __future__ import annotations

import asyncio
import os
import signal
import threading

import anyio
import pytest
from sqlalchemy import event, exc, text

from asgi_infra.database import (
    Backoff,
    ConnectionFailedError,
    DatabaseSession,
    OutcomeUnknownError,
    PoolExhaustedError,
    SerializationFailureError,
    StatementTimeoutError,
)
from asgi_infra.errors import ConfigurationError

pytestmark = pytest.mark.anyio

SLOW_COMMIT = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(NEW.n); RETURN NULL; END $$",
    "CREATE TABLE slow_items (id INT PRIMARY KEY, n FLOAT)",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow_items INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
)


async def execute(db, *statements):
    async with db.session() as session:
        for statement in statements:
            await session.execute(text(statement))


async def scalar(db, statement):
    async with db.session() as session:
        return (await session.execute(text(statement))).scalar()


async def until(db, condition):
    """Wait until a query about the server's activity is true, as a second session sees it."""
    query = f"SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
    while not await scalar(db, query):  # noqa: ASYNC110 - the server sets no event
        await asyncio.sleep(0.01)


COMMITTING = "state = 'active' AND query ILIKE 'COMMIT%'"
SLEEPING = "state = 'active' AND query LIKE 'SELECT pg_sleep%'"


@pytest.fixture
async def db(database_url):
    async with DatabaseSession(database_url, pool_size=2, max_overflow=0, pool_timeout=0.1) as database:
        await execute(database, "CREATE TABLE items (id INT PRIMARY KEY)")
        yield database


async def test_a_task_cancelled_in_its_block_rolls_back_before_the_cancellation_goes_on(db):
    inside = asyncio.Event()

    async def work():
        async with db.session() as session:
            await session.execute(text("INSERT INTO items VALUES (1)"))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert db.pool().used == 0
    assert db.pool().rolled_back == 1
    assert await scalar(db, "SELECT count(*) FROM items") == 0


async def test_a_rollback_survives_further_cancellations(db):
    inside, rolling_back = asyncio.Event(), asyncio.Event()
    event.listen(db.engine.sync_engine, "rollback", lambda _connection: rolling_back.set())

    async def work():
        async with db.session() as session:
            await session.execute(text("INSERT INTO items VALUES (1)"))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await rolling_back.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert db.pool().used == 0
    assert await scalar(db, "SELECT count(*) FROM items") == 0


async def test_a_cancel_scope_of_anyio_rolls_back_too(db):
    with anyio.CancelScope() as scope:
        async with db.session() as session:
            await session.execute(text("INSERT INTO items VALUES (1)"))
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert (db.pool().rolled_back, db.pool().used) == (1, 0)
    assert await scalar(db, "SELECT count(*) FROM items") == 0


async def test_a_time_limit_around_a_session_stays_a_timeout_error(db):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), db.session() as session:
            await session.execute(text("INSERT INTO items VALUES (1)"))
            await asyncio.Event().wait()
    assert await scalar(db, "SELECT count(*) FROM items") == 0


async def test_a_statement_cancelled_on_its_way_costs_the_connection_and_nothing_else(postgres_url):
    async with DatabaseSession(postgres_url) as db:
        task = asyncio.create_task(execute(db, "CREATE TABLE items (id INT)", "SELECT pg_sleep(60)"))
        await until(db, SLEEPING)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert db.pool().used == 0
        assert await scalar(db, "SELECT to_regclass('items')") is None


async def test_a_cancellation_while_committing_waits_for_the_commit_and_is_raised_after_it(postgres_url):
    async with DatabaseSession(postgres_url) as db:
        await execute(db, *SLOW_COMMIT)
        task = asyncio.create_task(execute(db, "INSERT INTO slow_items VALUES (1, 0.5)"))
        await until(db, COMMITTING)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "the transaction is committed" in caught.value.__notes__[0]
        assert await scalar(db, "SELECT count(*) FROM slow_items") == 1


async def test_a_commit_that_outlasts_the_grace_after_a_cancellation_has_an_unknown_outcome(postgres_url):
    async with DatabaseSession(postgres_url, cleanup_timeout=0.1) as db:
        await execute(db, *SLOW_COMMIT)
        task = asyncio.create_task(execute(db, "INSERT INTO slow_items VALUES (1, 60)"))
        await until(db, COMMITTING)
        task.cancel()
        with pytest.raises(OutcomeUnknownError) as caught:
            await task
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert db.pool().outcome_unknown == 1


async def test_a_server_killed_in_mid_transaction_is_a_lost_connection_and_safe_to_retry(restarted):
    async with DatabaseSession(restarted.url()) as db, DatabaseSession(restarted.url()) as observer:
        task = asyncio.create_task(execute(db, "CREATE TABLE lost (id INT)", "SELECT pg_sleep(60)"))
        await until(observer, SLEEPING)
        restarted.kill()
        with pytest.raises(ConnectionFailedError) as caught:
            await task
        assert isinstance(caught.value.__cause__, exc.DBAPIError)
        assert caught.value.retryable
        with pytest.raises(ConnectionFailedError, match=r"could not connect to postgresql://127\.0\.0\.1") as caught:
            await scalar(db, "SELECT 1")
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        health = await db.health()
        assert (bool(health), health.error) == (False, "ConnectionFailedError")
        restarted.start()
        assert await scalar(db, "SELECT to_regclass('lost')") is None
        assert await db.health()


async def test_a_server_killed_while_committing_leaves_an_unknown_outcome(restarted):
    async with DatabaseSession(restarted.url(database="postgres")) as db, DatabaseSession(restarted.url()) as observer:
        await execute(db, *SLOW_COMMIT)
        task = asyncio.create_task(execute(db, "INSERT INTO slow_items VALUES (1, 60)"))
        await until(observer, COMMITTING)
        restarted.kill()
        with pytest.raises(OutcomeUnknownError) as caught:
            await task
        assert isinstance(caught.value.__cause__, exc.DBAPIError)
        assert not caught.value.retryable
        assert db.pool().outcome_unknown == 1


async def terminate(db, session):
    pid = (await session.execute(text("SELECT pg_backend_pid()"))).scalar()
    await scalar(db, f"SELECT pg_terminate_backend({pid}, 5000)")


async def test_a_connection_lost_while_committing_has_an_unknown_outcome(postgres_url):
    async with DatabaseSession(postgres_url) as db:
        await execute(db, *SLOW_COMMIT)
        task = asyncio.create_task(execute(db, "INSERT INTO slow_items VALUES (1, 60)"))
        await until(db, COMMITTING)
        await scalar(db, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {COMMITTING}")
        with pytest.raises(OutcomeUnknownError) as caught:
            await task
        assert caught.value.sqlstate in {"57P01", "08003"}  # whether the server's farewell was read before the end
        assert db.pool().used == 0


async def test_a_connection_lost_before_the_commit_was_sent_is_a_failure_not_an_unknown_outcome(postgres_url):
    async with DatabaseSession(postgres_url) as db:
        with pytest.raises(ConnectionFailedError):
            async with db.session() as session:
                await session.execute(text("CREATE TABLE items (id INT)"))
                await terminate(db, session)
        assert (db.pool().commit_failed, db.pool().outcome_unknown) == (1, 0)
        assert await scalar(db, "SELECT to_regclass('items')") is None


async def test_a_connection_lost_before_the_rollback_leaves_the_original_with_a_note(postgres_url):
    original = KeyError("mine")
    async with DatabaseSession(postgres_url) as db:
        with pytest.raises(KeyError) as caught:
            async with db.session() as session:
                await terminate(db, session)
                raise original
    assert caught.value is original
    assert "The rollback failed too: ConnectionFailedError" in original.__notes__[0]


async def test_idle_connections_that_the_server_closed_are_replaced_without_an_error(postgres_url):
    async with DatabaseSession(postgres_url, pool_size=4) as db, DatabaseSession(postgres_url) as observer:
        await asyncio.gather(*(scalar(db, "SELECT pg_sleep(0.05)") for _ in range(4)))
        opened = db.pool().opened
        mine = "datname = current_database() AND state = 'idle'"
        await scalar(observer, f"SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE {mine}")
        for _ in range(8):
            assert await scalar(db, "SELECT 1") == 1
        assert db.pool().opened > opened


async def test_an_exhausted_pool_is_told_as_such_and_recovers(db):
    async with db.session() as first, db.session() as second:
        await first.execute(text("SELECT 1"))
        await second.execute(text("SELECT 1"))
        assert db.pool().used == 2
        with pytest.raises(PoolExhaustedError) as caught:
            await scalar(db, "SELECT 1")
        assert isinstance(caught.value.__cause__, exc.TimeoutError)
        health = await db.health()
        assert health.error == "PoolExhaustedError"
        assert db.pool().timeouts == 2
    assert await scalar(db, "SELECT 1") == 1
    assert (db.pool().used, db.pool().waiting) == (0, 0)


async def test_a_statement_that_takes_too_long_is_cancelled_by_the_server(postgres_url):
    async with DatabaseSession(postgres_url, statement_timeout=0.05) as db:
        with pytest.raises(StatementTimeoutError) as caught:
            await scalar(db, "SELECT pg_sleep(60)")
        assert caught.value.sqlstate == "57014"


async def test_a_lock_that_is_not_free_in_time_is_a_failure_to_retry(database_url):
    async with DatabaseSession(database_url, lock_timeout=0.05) as db:
        await execute(db, "CREATE TABLE items (id INT PRIMARY KEY, n INT)", "INSERT INTO items VALUES (1, 0)")
        async with db.session() as session:
            await session.execute(text("UPDATE items SET n = 1"))
            with pytest.raises(SerializationFailureError) as caught:
                await execute(db, "UPDATE items SET n = 2")
        assert (caught.value.sqlstate, caught.value.retryable) == ("55P03", True)
        assert await scalar(db, "SELECT n FROM items") == 1


@pytest.fixture
async def silent_url():
    """The URL of a server that accepts connections and never says a word."""
    quiet = asyncio.Event()

    async def listen(_reader, writer):
        await quiet.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    yield f"postgresql://postgres@127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    quiet.set()
    server.close()
    await server.wait_closed()


async def test_a_server_that_never_answers_is_a_failed_connection_after_the_time_limit(silent_url):
    async with DatabaseSession(silent_url, connect_timeout=0.05) as db:
        with pytest.raises(ConnectionFailedError, match="TimeoutError") as caught:
            await scalar(db, "SELECT 1")
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert (db.pool().used, db.pool().waiting) == (0, 0)


async def test_the_health_of_a_server_that_never_answers_is_known_in_time(silent_url):
    async with DatabaseSession(silent_url) as db:
        health = await db.health(timeout=0.05)
        assert (health.healthy, health.error) == (False, "TimeoutError")
        assert (db.pool().used, db.pool().waiting) == (0, 0)


async def test_a_rollback_that_hangs_is_given_up_and_the_original_goes_on(postgres_url):
    original = KeyError("mine")
    pid = None
    async with DatabaseSession(postgres_url, cleanup_timeout=0.1) as db:
        try:
            with pytest.raises(KeyError) as caught:
                async with db.session() as session:
                    pid = (await session.execute(text("SELECT pg_backend_pid()"))).scalar()
                    os.kill(pid, signal.SIGSTOP)
                    raise original
        finally:
            os.kill(pid, signal.SIGCONT)
        assert caught.value is original
        assert original.__notes__ == ["The rollback failed too: TimeoutError"]
        while db.pool().used:  # noqa: ASYNC110 - the connection is closed in the background
            await asyncio.sleep(0.01)
        assert await scalar(db, "SELECT pg_backend_pid()") != pid


async def test_an_explicit_commit_that_loses_its_connection_has_an_unknown_outcome_too(postgres_url):
    async with DatabaseSession(postgres_url) as db:
        await execute(db, *SLOW_COMMIT)

        async def work():
            async with db.session() as session:
                await session.execute(text("INSERT INTO slow_items VALUES (1, 60)"))
                await session.commit()

        task = asyncio.create_task(work())
        await until(db, COMMITTING)
        await scalar(db, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {COMMITTING}")
        with pytest.raises(OutcomeUnknownError):
            await task
        assert (db.pool().outcome_unknown, db.pool().rolled_back) == (1, 0)


async def test_a_refused_user_and_an_unknown_database_are_no_failures_to_retry(postgres):
    for url, state in ((postgres.url(user="nobody_known"), "28000"), (postgres.url(database="nothing_known"), "3D000")):
        async with DatabaseSession(url) as db:
            with pytest.raises(ConnectionFailedError) as caught:
                await scalar(db, "SELECT 1")
            assert (caught.value.sqlstate, caught.value.retryable) == (state, False)


async def test_an_sqlite_file_that_cannot_be_opened_is_a_failed_connection(tmp_path):
    async with DatabaseSession(f"sqlite:///{tmp_path}/missing/x.db") as db:
        with pytest.raises(ConnectionFailedError):
            await scalar(db, "SELECT 1")
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join)  # the driver's thread ends a moment later, and needs the loop


async def test_concurrent_increments_are_retried_until_each_one_counts(database_url):
    async with DatabaseSession(database_url, pool_size=4, lock_timeout=1) as db:
        await execute(db, "CREATE TABLE counter (n INT)", "INSERT INTO counter VALUES (0)")
        serializable = {} if database_url.startswith("sqlite") else {"isolation_level": "SERIALIZABLE"}

        async def increment(session):
            await session.connection(execution_options=serializable)
            before = (await session.execute(text("SELECT n FROM counter"))).scalar()
            await asyncio.sleep(0)
            await session.execute(text("UPDATE counter SET n = :n"), {"n": before + 1})
            return before

        patient = Backoff(attempts=100, base=0.001, longest=0.05)
        results = await asyncio.gather(*(db.run(increment, backoff=patient) for _ in range(8)))
        assert sorted(results) == list(range(8))
        assert await scalar(db, "SELECT n FROM counter") == 8


async def test_an_option_that_the_driver_does_not_know_is_a_configuration_error(postgres_url):
    async with DatabaseSession(f"{postgres_url}?nonsense=1") as db:
        with pytest.raises(ConfigurationError, match="asyncpg does not know"):
            await scalar(db, "SELECT 1")
