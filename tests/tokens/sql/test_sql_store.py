"""What the contract does not say: tables, engines, plans, upkeep."""

from __future__ import annotations

import asyncio
import multiprocessing
from datetime import timedelta

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.clock import ManualClock
from asgi_infra.tokens import (
    CorruptRecordError,
    RotationStatus,
    StoredToken,
    StoreUnavailableError,
    open_token_store,
)
from asgi_infra.tokens.backends.sql import SQLTokenStore
from asgi_infra.tokens.backends.sql.executor import Mode
from asgi_infra.tokens.backends.sql.schema import MIGRATIONS

pytestmark = pytest.mark.anyio


def issue(clock, user_id="alice", *, seconds=3600.0, **values):
    return StoredToken.issue(user_id, lifetime=timedelta(seconds=seconds), clock=clock, **values)


async def rows(store, statement, **values):
    return await store._executor.run(lambda connection: connection.execute(text(statement), values).all(), Mode.READ)


async def change(store, statement, **values):
    def work(connection):
        connection.execute(text(statement), values)

    await store._executor.run(work, Mode.TRANSACTION)


# Races


async def test_of_64_callers_one_wins_and_all_get_the_same_successor(make, clock) -> None:
    async with make() as store:
        for _ in range(3):
            token = issue(clock)
            await store.save(token)
            asked = [token.successor(clock=clock) for _ in range(64)]
            answers = await asyncio.gather(*[store.rotate(token.jti, each) for each in asked])
            assert sorted(answer.status for answer in answers) == ["rotated"] + ["superseded"] * 63
            assert len({answer.token.jti for answer in answers}) == 1
            assert [each.family_id for each in await store.list_for_user("alice")] == [token.family_id]
            await store.revoke_all_for_user("alice")


async def test_a_revocation_of_everything_meets_no_successor_that_outlives_it(make, clock) -> None:
    async with make() as first, make() as second:
        for _ in range(30):
            tokens = [issue(clock) for _ in range(4)]
            for token in tokens:
                await first.save(token)

            async def rotate(token):
                for _ in range(3):
                    answer = await first.rotate(token.jti, token.successor(clock=clock))
                    if answer.token is None:
                        return
                    token = answer.token

            await asyncio.gather(*map(rotate, tokens), second.revoke_all_for_user("alice"))
            # who had rotated before has been revoked, and nobody could rotate after it
            assert await first.list_for_user("alice") == []


async def test_revocations_of_one_user_in_every_way_at_once_do_not_block_each_other(make, clock) -> None:
    async with make() as store:
        for _ in range(10):
            tokens = [issue(clock, family_id=f"family-{number % 3}") for number in range(12)]
            for token in tokens:
                await store.save(token)
            counts = await asyncio.gather(
                store.revoke_all_for_user("alice"),
                *[store.revoke_family(f"family-{number}") for number in range(3)],
                *[store.revoke(token.jti) for token in tokens],
            )
            assert sum(counts) == 12


# Rows


async def test_of_many_rotations_a_few_rows_are_left_and_then_one(make, clock) -> None:
    async with make(grace=10) as store:
        token = issue(clock, seconds=1e6)
        await store.save(token)
        most = 0
        for _ in range(200):
            clock.advance(1)
            answer = await store.rotate(token.jti, token.successor(clock=clock))
            assert answer.status is RotationStatus.ROTATED
            token = answer.token
            ((count,),) = await rows(store, f"SELECT count(*) FROM {store._prefix}tokens")
            most = max(most, count)
        assert most <= 12
        clock.advance(10)
        await store.purge_expired()
        assert (await store.stats()).tokens == 1


async def test_what_is_dead_goes_with_the_writes_of_others(make, clock) -> None:
    async with make() as store:
        for _ in range(30):
            await store.save(issue(clock, seconds=1))
        await store.deny("jti", clock.after(1))
        await store.generation("alice")
        clock.advance(91 * 86400)
        await store.save(issue(clock))
        stats = await store.stats()
        assert (stats.tokens, stats.denied) == (1, 0)
        assert await rows(store, f"SELECT * FROM {store._prefix}generations") == []


async def test_a_purge_stops_at_its_limit(make, clock) -> None:
    async with make() as store:
        for _ in range(7):
            await store.save(issue(clock, seconds=1))
        clock.advance(2)
        assert [await store.purge_expired(limit=3) for _ in range(4)] == [3, 3, 1, 0]


async def test_a_purge_waits_for_nobody(postgres, prefix, clock) -> None:
    async with SQLTokenStore(postgres.url(), table_prefix=prefix, clock=clock) as store:
        for number in range(5):
            await store.save(issue(clock, jti=f"token-{number}", seconds=1))
        clock.advance(2)
        async with store._own_engine().begin() as connection:
            locked = f"SELECT digest FROM {prefix}tokens LIMIT 2 FOR UPDATE"
            await connection.execute(text(locked))
            assert await store.purge_expired() == 3
        assert await store.purge_expired() == 2


async def test_more_than_can_be_counted_at_once_is_not_counted(make, clock, monkeypatch) -> None:
    monkeypatch.setattr("asgi_infra.tokens.backends.sql.operations._COUNTED", 3)
    async with make() as store:
        for number in range(3):
            await store.save(issue(clock))
            await store.deny(f"jti-{number}", clock.after(60))
        assert (await store.stats()).tokens == 3
        await store.save(issue(clock))
        stats = await store.stats()
        assert (stats.tokens, stats.denied) == (None, 3)


@pytest.mark.parametrize(
    "damage",
    [
        "metadata = 'no JSON'",
        "family_id = ''",
        "user_id = ' '",
        "expires_at = 9000000000000000000, kept_until = 9000000000000000000",
        "client_id = ''",
    ],
)
async def test_what_somebody_else_wrote_is_told_as_that(make, clock, damage) -> None:
    async with make() as store:
        token = issue(clock, metadata={"device": "phone"})
        await store.save(token)
        await change(store, f"UPDATE {store._prefix}tokens SET {damage}")
        with pytest.raises(CorruptRecordError, match=r"written by something else|metadata of a stored token"):
            await store.get(token.jti)
        assert await store.revoke(token.jti)


async def test_no_identifier_is_in_the_file(sqlite_url, tmp_path, clock) -> None:
    async with SQLTokenStore(sqlite_url, clock=clock, key=b"k" * 32) as store:
        tokens = [issue(clock), issue(clock, jti="made-elsewhere")]
        for token in tokens:
            await store.save(token)
        successor = tokens[0].successor(clock=clock)
        await store.rotate(tokens[0].jti, successor)
        await store.deny("denied-one", clock.after(60))
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"alice" in stored
        for jti in (*(token.jti for token in tokens), successor.jti, "denied-one"):
            assert jti.encode() not in stored
            assert jti.rpartition(".")[2].encode() not in stored


# Plans


async def test_the_statements_of_requests_use_indexes(engine, prefix, clock) -> None:
    async with SQLTokenStore(engine, table_prefix=prefix, clock=clock, max_sessions=5) as store:
        plans = []
        explain = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        seen = set()

        async def every_operation():
            token = issue(clock)
            await store.save(token)
            answer = await store.rotate(token.jti, token.successor(clock=clock))
            await store.rotate(token.jti, token.successor(clock=clock))
            await store.rotate("gone", issue(clock, jti="other"))
            await store.get(answer.token.jti)
            clock.advance(70)
            await store.touch(answer.token.jti)
            await store.list_for_user("alice")
            await store.deny("jti", clock.after(60))
            await store.is_denied("jti")
            await store.generation("alice")
            await store.is_current("alice", "")
            await store.purge_expired()
            await store.revoke(answer.token.jti)
            await store.revoke_family(token.family_id)
            await store.revoke_all_for_user("alice")

        await every_operation()
        if engine.dialect.name == "postgresql":
            # small tables are read whole whatever their indexes
            async with engine.begin() as connection:
                await connection.execute(text("ALTER ROLE postgres SET enable_seqscan = off"))
            await engine.dispose()

        @event.listens_for(engine.sync_engine, "before_cursor_execute")
        def look(connection, cursor, statement, parameters, context, executemany):
            table = store._prefix in statement and "migrations" not in statement
            if table and not statement.startswith(explain) and statement not in seen:
                seen.add(statement)
                found = connection.exec_driver_sql(f"{explain} {statement}", parameters)
                plans.append((statement, "\n".join(str(row[-1]) for row in found)))

        try:
            await every_operation()
        finally:
            if engine.dialect.name == "postgresql":
                async with engine.begin() as connection:
                    await connection.execute(text("ALTER ROLE postgres RESET enable_seqscan"))
        assert len(plans) >= 17
        for statement, plan in plans:
            assert "Seq Scan" not in plan, f"{statement}\n{plan}"
            assert f"SCAN {store._prefix}" not in plan.replace("SCAN t USING", ""), f"{statement}\n{plan}"


# Tables


def _open_and_save(url, prefix, barrier, results) -> None:
    async def work():
        clock = ManualClock()
        async with SQLTokenStore(url, table_prefix=prefix, clock=clock, timeout=30) as store:
            await store.save(issue(clock))

    barrier.wait(60)
    try:
        asyncio.run(work())
        results.put("done")
    except Exception as exc:
        results.put(repr(exc))


def test_eight_processes_that_open_an_empty_database_at_once_all_can(database_url, prefix) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(8), context.Queue()
    arguments = (database_url, prefix, barrier, results)
    processes = [context.Process(target=_open_and_save, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    ends = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert ends == ["done"] * 8


async def test_without_permission_to_migrate_tables_are_only_checked(make, clock) -> None:
    store = make(migrate=False)
    with pytest.raises(StoreUnavailableError, match="lacks steps of 'tokens'") as caught:
        await store.open()
    assert not caught.value.retryable
    async with make() as other:
        await store.save(issue(clock))
        assert len(await other.list_for_user("alice")) == 1
    await store.aclose()


async def test_a_database_of_a_later_release_is_refused(make, clock) -> None:
    async with make() as store:
        later = "INSERT INTO {0}migrations (component, number, name, checksum) VALUES ('tokens', {1}, 'later', '')"
        await change(store, later.format(store._prefix, len(MIGRATIONS.steps) + 1))
    late = make()
    with pytest.raises(StoreUnavailableError, match="this program knows 1; it is older than the database") as caught:
        await late.open()
    assert not caught.value.retryable
    await late.aclose()


# Engines


@pytest.fixture
async def engine(database_url):
    """An engine as an application makes it, without what this package adds."""
    driver = "postgresql+asyncpg" if database_url.startswith("postgres") else "sqlite+aiosqlite"
    made = create_async_engine(driver + database_url[database_url.index(":") :])
    yield made
    await made.dispose()


async def test_an_engine_that_is_brought_is_used_and_not_closed(engine, prefix, clock) -> None:
    token = issue(clock)
    async with SQLTokenStore(engine, table_prefix=prefix, clock=clock) as store:
        await store.save(token)
        asked = [token.successor(clock=clock) for _ in range(8)]
        answers = await asyncio.gather(*[store.rotate(token.jti, each) for each in asked])
        assert sorted(answer.status for answer in answers) == ["rotated"] + ["superseded"] * 7
        assert await store.revoke_all_for_user("alice") == 1
        clock.advance(100)
        await store.save(issue(clock))
    async with engine.connect() as connection:
        assert (await connection.execute(text(f"SELECT count(*) FROM {prefix}tokens"))).scalar_one() == 1


async def test_an_engine_with_one_connection_for_all_can_be_brought(clock) -> None:
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    async with SQLTokenStore(engine, clock=clock) as store:
        tokens = [issue(clock) for _ in range(5)]
        await asyncio.gather(*map(store.save, tokens), *[store.get("none") for _ in range(5)])
        assert len(await store.list_for_user("alice")) == 5
    await engine.dispose()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5,), "database must be a URL or an AsyncEngine, not int"),
        (("",), "database must not be empty"),
        (("mysql://localhost/x",), "database has the scheme 'mysql'"),
    ],
)
def test_what_is_no_database_is_refused(arguments, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SQLTokenStore(*arguments)


@pytest.mark.parametrize("name", ["timeout", "pool_size", "max_overflow", "pool_recycle", "migrate"])
def test_a_wrong_option_is_refused_with_its_name(name) -> None:
    with pytest.raises(ConfigurationError, match=name):
        SQLTokenStore("sqlite://", **{name: "five"})


def test_a_table_prefix_that_would_have_to_be_quoted_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="table_prefix must be 1 to 32 small letters"):
        SQLTokenStore("sqlite://", table_prefix="My-")


def test_urls_open_it() -> None:
    assert isinstance(open_token_store("sqlite://", timeout=1), SQLTokenStore)
    assert isinstance(open_token_store("postgresql://localhost/x"), SQLTokenStore)


async def test_pool_options_for_an_engine_that_has_its_own_are_refused(engine) -> None:
    with pytest.raises(ConfigurationError, match="pool_size must be left out where an engine is given"):
        SQLTokenStore(engine, pool_size=5)


async def test_revocations_survive_a_power_failure(sqlite_url) -> None:
    async with SQLTokenStore(sqlite_url) as store:
        for pragma, value in (("synchronous", 2), ("journal_mode", "wal")):
            found = await store._executor.run(
                lambda connection, pragma=pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").all(), Mode.TRANSACTION
            )
            assert found == [(value,)]


def test_another_event_loop_is_refused_while_the_first_one_is_open(postgres, prefix, clock) -> None:
    store = SQLTokenStore(postgres.url(), table_prefix=prefix, clock=clock)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(store.save(issue(clock)))
    with pytest.raises(StoreUnavailableError, match="open one store for each loop") as caught:
        second.run_until_complete(store.ping())
    assert not caught.value.retryable
    first.run_until_complete(store.aclose())
    for loop in (first, second):
        loop.close()


def test_an_old_sqlite_is_refused(sqlite_url, monkeypatch) -> None:
    monkeypatch.setattr("asgi_infra.tokens.backends.sql.store._RETURNING", (99, 0))
    store = SQLTokenStore(sqlite_url)

    async def run():
        with pytest.raises(StoreUnavailableError, match=r"SQLite 3\.35 or later is needed, not 3"):
            await store.open()

    asyncio.run(run())
