"""Servers that go away, disks that are full, callers that give up."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from asgi_infra.tokens import (
    OutcomeUnknownError,
    RotationStatus,
    StoredToken,
    StoreFullError,
    StoreUnavailableError,
    TokenStoreError,
)
from asgi_infra.tokens.backends.sql import SQLTokenStore
from asgi_infra.tokens.backends.sql.executor import Mode
from asgi_infra.tokens.backends.sql.failures import Phase, told

pytestmark = pytest.mark.anyio


def issue(user_id="alice", **values):
    return StoredToken.issue(user_id, lifetime=timedelta(hours=1), **values)


# PostgreSQL


async def test_a_server_that_is_killed_in_mid_rotation_loses_nothing_that_was_acknowledged(
    mortal_postgres, prefix
) -> None:
    store = SQLTokenStore(mortal_postgres.url(), table_prefix=prefix, timeout=10)
    async with store:
        latest = {}
        unknown = set()
        errors = []
        stop = False

        async def rotate(name):
            token = issue(name)
            await store.save(token)
            latest[name] = token
            while not stop:
                successor = token.successor()
                try:
                    answer = await store.rotate(token.jti, successor)
                except TokenStoreError as exc:
                    errors.append(exc)
                    await asyncio.sleep(0.02)
                    # the same call again is what a client does
                    try:
                        answer = await store.rotate(token.jti, successor)
                    except TokenStoreError:
                        unknown.add(name)
                        return
                assert answer.status is RotationStatus.ROTATED
                assert answer.token.jti == successor.jti
                token = latest[name] = successor

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(rotate(f"user-{number}"))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(mortal_postgres.kill)
            await asyncio.to_thread(mortal_postgres.start)
            await asyncio.sleep(0.5)
            stop = True
        for name, token in latest.items():
            if name not in unknown:
                assert await store.get(token.jti) is not None
                assert len(await store.list_for_user(name)) == 1
        for exc in errors:
            assert exc.__cause__ is not None
            assert exc.retryable
            assert isinstance(exc, (OutcomeUnknownError, StoreUnavailableError))


async def test_a_server_that_is_away_is_told_as_that_and_the_store_recovers(mortal_postgres, prefix) -> None:
    store = SQLTokenStore(mortal_postgres.url(), table_prefix=prefix, timeout=3)
    async with store:
        token = issue()
        await store.save(token)
        await asyncio.to_thread(mortal_postgres.kill)
        try:
            for call in (store.get(token.jti), store.save(issue()), store.revoke(token.jti), store.ping()):
                with pytest.raises(StoreUnavailableError) as caught:
                    await call
                assert caught.value.retryable
                assert "127.0.0.1" not in str(caught.value) or "postgres@" not in str(caught.value)
        finally:
            mortal_postgres.start()
        assert await store.get(token.jti) is not None
        assert (await store.stats()).failed == 4


async def test_a_store_opens_when_the_server_is_there_at_last(mortal_postgres, prefix) -> None:
    mortal_postgres.kill()
    store = SQLTokenStore(mortal_postgres.url(), table_prefix=prefix, timeout=2)
    try:
        with pytest.raises(StoreUnavailableError):
            await store.open()
    finally:
        mortal_postgres.start()
    await store.ping()
    await store.aclose()


async def test_connections_that_the_server_has_closed_are_replaced_unnoticed(postgres, prefix) -> None:
    async with SQLTokenStore(postgres.url(), table_prefix=prefix) as store:
        token = issue()
        await store.save(token)
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'idle'"
        )
        engine = create_async_engine("postgresql+asyncpg" + postgres.url().removeprefix("postgresql"))
        for _ in range(3):
            async with engine.connect() as connection:
                await connection.execute(text(others))
            successor = token.successor()
            assert (await store.rotate(token.jti, successor)).status is RotationStatus.ROTATED
            token = successor
        await engine.dispose()
        assert (await store.stats()).failed == 0


async def test_a_lock_that_somebody_holds_ends_with_the_time_out(postgres, prefix) -> None:
    async with SQLTokenStore(postgres.url(), table_prefix=prefix, timeout=0.5) as store:
        token, successor = issue(), None
        await store.save(token)
        successor = token.successor()
        engine = create_async_engine("postgresql+asyncpg" + postgres.url().removeprefix("postgresql"))
        async with engine.begin() as connection:
            await connection.execute(text(f"SELECT * FROM {prefix}tokens FOR UPDATE"))
            # one statement is sent as a transaction of its own: nobody knows what became of it
            with pytest.raises(OutcomeUnknownError, match="did not answer in time"):
                await store.rotate(token.jti, successor)
            with pytest.raises(StoreUnavailableError, match="nothing was changed"):
                await store.revoke_all_for_user("alice")
            assert await store.get(token.jti) is not None
        assert (await store.rotate(token.jti, successor)).status is RotationStatus.ROTATED
        await engine.dispose()


async def test_a_deadlock_is_mended_by_another_try(postgres, prefix) -> None:
    async with SQLTokenStore(postgres.url(), table_prefix=prefix) as store:
        first, second = issue(jti="first"), issue(jti="second")
        for token in (first, second):
            await store.save(token)
        engine = create_async_engine("postgresql+asyncpg" + postgres.url().removeprefix("postgresql"))
        lock = text(f"SELECT 1 FROM {prefix}tokens WHERE digest = :digest FOR UPDATE")
        digests = sorted(store._hashing.digest(token.jti) for token in (first, second))
        async with engine.begin() as connection:
            # the store's order is by digest, and this one is not
            await connection.execute(text("SET LOCAL deadlock_timeout = '1h'"))
            await connection.execute(lock, {"digest": digests[1]})
            revoking = asyncio.ensure_future(store.revoke_all_for_user("alice"))
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not (await connection.execute(waiting)).scalar_one():  # noqa: ASYNC110 - it happens in the server
                await asyncio.sleep(0.01)
            await connection.execute(lock, {"digest": digests[0]})
        assert await revoking == 2
        await engine.dispose()


@pytest.mark.parametrize("given_up", range(12))
async def test_a_caller_that_is_cancelled_leaves_no_connection_in_a_transaction(postgres, prefix, given_up) -> None:
    async with SQLTokenStore(postgres.url(), table_prefix=prefix, pool_size=1) as store:
        token = issue()
        await store.save(token)
        opened = store._own_engine().pool.opened
        successor = token.successor()
        calls = [store.rotate(token.jti, successor), store.revoke_family(token.family_id), store.get(token.jti)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        for _ in range(given_up):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.ping()
        assert store._own_engine().pool.opened == opened
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        async with store._own_engine().connect() as connection:
            assert (await connection.execute(text(idle))).scalar_one() == 0
        assert [each.jti for each in await store.list_for_user("alice")] != [token.jti, successor.jti]


async def test_a_pool_in_use_is_told_as_that(postgres, prefix) -> None:
    async with SQLTokenStore(postgres.url(), table_prefix=prefix, pool_size=1, timeout=0.4) as store:
        async with store._own_engine().connect() as connection:
            await connection.execute(text("SELECT 1"))
            started = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="no connection") as caught:
                await store.get("jti")
            assert time.monotonic() - started < 30
            assert caught.value.retryable
        assert await store.get("jti") is None


# Both


async def test_closing_waits_for_what_runs(make, clock) -> None:
    store = make()
    await store.open()
    saving = [asyncio.ensure_future(store.save(issue(f"user-{number}", clock=clock))) for number in range(5)]
    await asyncio.sleep(0)
    await store.aclose()
    assert await asyncio.gather(*saving, return_exceptions=True) == [None] * 5
    async with make() as again:
        assert len(await again.list_for_user("user-4")) == 1


# SQLite


async def test_a_disk_that_is_full_is_told_as_that_and_nothing_is_lost(sqlite_url) -> None:
    def limit(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")

    async with SQLTokenStore(sqlite_url) as store:
        kept = issue()
        await store.save(kept)
        await store._executor.run(limit, Mode.TRANSACTION)
        saved = []

        async def fill():
            for _ in range(200):
                await store.save(token := issue(metadata={"filler": "x" * 4000}))
                saved.append(token)

        with pytest.raises(StoreFullError, match="no room left") as caught:
            await fill()
        assert isinstance(caught.value.__cause__, OperationalError)
        assert len(await store.list_for_user("alice")) == len(saved) + 1
        with pytest.raises(StoreFullError):
            await store.rotate(kept.jti, kept.successor(metadata={"filler": "x" * 4000}))
        assert await store.get(kept.jti) is not None
        assert await store.revoke_all_for_user("alice") == len(saved) + 1
        await store.save(issue())


async def test_a_file_that_somebody_locks_ends_with_the_time_out(sqlite_url, tmp_path) -> None:
    async with SQLTokenStore(sqlite_url, timeout=0.3) as store:
        token = issue()
        await store.save(token)
        other = sqlite3.connect(tmp_path / "tokens.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="a lock was not free in time") as caught:
            await store.revoke(token.jti)
        assert caught.value.retryable
        assert await store.get(token.jti) is not None
        other.execute("ROLLBACK")
        other.close()
        assert await store.revoke(token.jti)


async def test_a_file_that_is_no_database_is_refused(sqlite_url, tmp_path) -> None:
    (tmp_path / "tokens.db").write_bytes(b"no database at all" * 500)
    store = SQLTokenStore(sqlite_url)
    with pytest.raises(StoreUnavailableError) as caught:
        await store.open()
    assert not caught.value.retryable
    assert "DatabaseError" in str(caught.value)


async def test_tables_that_somebody_dropped_are_an_error(sqlite_url, tmp_path) -> None:
    async with SQLTokenStore(sqlite_url) as store:
        await store.open()
        other = sqlite3.connect(tmp_path / "tokens.db")
        other.execute("DROP TABLE asgi_infra_tokens")
        other.close()
        with pytest.raises(StoreUnavailableError, match="refused the statement") as caught:
            await store.get("secret-jti")
        assert not caught.value.retryable
        assert "secret-jti" not in str(caught.value) + repr(caught.value.__cause__)


async def test_memory_outlives_callers_that_are_cancelled() -> None:
    async with SQLTokenStore("sqlite://") as store:
        kept = issue("kept")
        await store.save(kept)
        for given_up in range(15):
            tasks = [asyncio.ensure_future(store.save(issue())), asyncio.ensure_future(store.get(kept.jti))]
            for _ in range(given_up):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await store.get(kept.jti) == kept


# Upkeep


async def test_upkeep_that_fails_fails_nothing_else(sqlite_url, clock, caplog) -> None:
    caplog.set_level("INFO", "asgi_infra.tokens")
    async with SQLTokenStore(sqlite_url, clock=clock) as store:
        await store.save(StoredToken.issue("alice", lifetime=timedelta(seconds=1), clock=clock))
        trigger = "CREATE TRIGGER refused BEFORE DELETE ON asgi_infra_tokens BEGIN SELECT RAISE(ABORT, 'no'); END"
        await store._executor.run(lambda connection: connection.exec_driver_sql(trigger), Mode.TRANSACTION)
        clock.advance(60)
        await store.save(StoredToken.issue("alice", lifetime=timedelta(days=1), clock=clock))
        assert "could not be removed in passing" in caplog.text
        assert len(await store.list_for_user("alice")) == 1


# What errors become


def test_a_fault_that_is_not_the_databases_passes() -> None:
    assert told(KeyError("x"), Phase.WORKING) is None
    assert told(asyncio.CancelledError(), Phase.COMMITTING) is None


@pytest.mark.parametrize(
    ("error", "phase", "kind"),
    [
        (TimeoutError(), Phase.CONNECTING, StoreUnavailableError),
        (TimeoutError(), Phase.WORKING, StoreUnavailableError),
        (TimeoutError(), Phase.COMMITTING, OutcomeUnknownError),
        (ConnectionResetError(), Phase.WORKING, StoreUnavailableError),
        (ConnectionResetError(), Phase.COMMITTING, OutcomeUnknownError),
    ],
)
def test_what_was_sent_before_the_answer_was_lost_is_of_unknown_outcome(error, phase, kind) -> None:
    translated = told(error, phase)
    assert type(translated) is kind
    assert translated.retryable
