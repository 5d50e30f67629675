from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from functools import partial

import pytest
from sqlalchemy import text

from asgi_infra.database.engine import SQLITE_BEGIN, create_engine
from asgi_infra.database.migrations import MigrationError, Migrations, Step, require_prefix, sql_of
from asgi_infra.database.options import EngineOptions
from asgi_infra.database.urls import DatabaseURL
from asgi_infra.errors import ConfigurationError, DatabaseError

pytestmark = pytest.mark.anyio

_BOTH = {"sqlite": ["CREATE TABLE {prefix}cups (size INTEGER)"], "postgresql": ["CREATE TABLE {prefix}cups (size int)"]}
FIRST = Step("cups", **_BOTH)
SECOND = Step(
    "colours, the user's",
    sqlite=["ALTER TABLE {prefix}cups ADD COLUMN colour TEXT", "CREATE INDEX {prefix}c ON {prefix}cups (colour)"],
    postgresql=["ALTER TABLE {prefix}cups ADD COLUMN colour text", "CREATE INDEX {prefix}c ON {prefix}cups (colour)"],
)
OLD = Migrations("shop", [FIRST])
NEW = Migrations("shop", [FIRST, SECOND])


@pytest.fixture
async def engine(database_url):
    made = create_engine(DatabaseURL.parse(database_url), EngineOptions())
    yield made
    await made.dispose()


async def run(engine, work):
    async with engine.connect() as connection:
        await connection.execution_options(**{SQLITE_BEGIN: "IMMEDIATE"})
        async with connection.begin():
            return await connection.run_sync(work)


async def read(engine, statement):
    async with engine.connect() as connection:
        return (await connection.execute(text(statement))).all()


async def test_each_step_is_applied_once(engine) -> None:
    assert await run(engine, NEW.apply) == 2
    assert await run(engine, NEW.apply) == 0
    await run(engine, NEW.check)
    assert await read(engine, "SELECT size, colour FROM asgi_infra_cups") == []
    history = "SELECT component, number, name FROM asgi_infra_migrations ORDER BY number"
    assert await read(engine, history) == [("shop", 1, "cups"), ("shop", 2, "colours, the user's")]


async def test_a_newer_program_applies_what_is_missing(engine) -> None:
    assert await run(engine, OLD.apply) == 1
    assert await run(engine, NEW.missing) == (SECOND,)
    assert await run(engine, NEW.apply) == 1


async def test_components_and_prefixes_do_not_meet(engine) -> None:
    await run(engine, NEW.apply)
    others = Migrations("other", [Step("plates", *[["CREATE TABLE {prefix}plates (size INTEGER)"]] * 2)])
    assert await run(engine, others.apply) == 1
    assert await run(engine, partial(NEW.apply, prefix="second_")) == 2
    assert await read(engine, "SELECT * FROM second_cups") == []


async def test_an_older_program_says_that_it_is_older(engine) -> None:
    await run(engine, NEW.apply)
    for use in (OLD.apply, OLD.check, OLD.missing):
        with pytest.raises(MigrationError, match=r"has step 2 of 'shop'.*knows 1.*update it"):
            await run(engine, use)


async def test_a_step_that_was_edited_is_noticed(engine) -> None:
    await run(engine, OLD.apply)
    edited = Step("cups", *[["CREATE TABLE {prefix}cups (size INTEGER, handle INTEGER)"]] * 2)
    with pytest.raises(MigrationError, match="'cups' of 'shop' was applied to the database in another form"):
        await run(engine, Migrations("shop", [edited]).apply)


async def test_checking_changes_nothing(engine) -> None:
    with pytest.raises(MigrationError, match=r"lacks steps of 'shop': 'cups', \"colours, the user's\"; apply them"):
        await run(engine, NEW.check)
    assert await run(engine, NEW.missing) == (FIRST, SECOND)
    assert issubclass(MigrationError, DatabaseError)


async def test_a_step_that_fails_leaves_nothing(engine) -> None:
    broken = Migrations("shop", [FIRST, Step("broken", ["CREATE TABEL x"], ["CREATE TABEL x"])])
    with pytest.raises(Exception, match="TABEL"):
        await run(engine, broken.apply)
    assert await run(engine, NEW.apply) == 2


async def test_the_script_does_what_the_program_does(engine) -> None:
    script = NEW.sql(engine.dialect.name)
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await (driver.executescript(script) if engine.dialect.name == "sqlite" else driver.execute(script))
    await run(engine, NEW.check)
    assert await run(engine, NEW.apply) == 0


def _migrate(url, barrier, results) -> None:
    async def work() -> int:
        engine = create_engine(DatabaseURL.parse(url), EngineOptions())
        try:
            return await run(engine, NEW.apply)
        finally:
            await engine.dispose()

    barrier.wait(60)
    results.put(asyncio.run(work()))


def test_eight_processes_apply_the_steps_once(database_url) -> None:
    if database_url.startswith("sqlite"):
        # one connection that changes the journal first: SQLite lets nobody wait for that
        sqlite3.connect(database_url.removeprefix("sqlite:///")).execute("PRAGMA journal_mode = WAL").connection.close()
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(8), context.Queue()
    processes = [context.Process(target=_migrate, args=(database_url, barrier, results)) for _ in range(8)]
    for process in processes:
        process.start()
    applied = sorted(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert applied == [0] * 7 + [2]


def test_the_script_of_a_component_is_plain_sql() -> None:
    for dialect in ("sqlite", "postgresql"):
        script = sql_of("tokens", dialect, prefix="mine_")
        assert script.startswith("BEGIN;")
        assert script.endswith("COMMIT;\n")
        assert "CREATE TABLE mine_tokens (" in script
        assert "{" not in script
        assert "asgi_infra" not in script
    connection = sqlite3.connect(":memory:")
    connection.executescript(sql_of("tokens", "sqlite"))
    assert connection.execute("SELECT count(*) FROM asgi_infra_tokens").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("prefix", ["", "1a", "Aa", "a-b", "a b", "a;--", "a" * 33, 'a"', None, 5])
def test_a_prefix_that_would_have_to_be_quoted_is_refused(prefix) -> None:
    with pytest.raises(ConfigurationError, match="prefix must be 1 to 32 small letters"):
        require_prefix("prefix", prefix)
    with pytest.raises(ConfigurationError, match="prefix"):
        sql_of("tokens", "sqlite", prefix=prefix)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="component must be one of tokens"):
        sql_of("cups", "sqlite")
    with pytest.raises(ConfigurationError, match="dialect must be one of sqlite, postgresql, not 'oracle'"):
        sql_of("tokens", "oracle")
