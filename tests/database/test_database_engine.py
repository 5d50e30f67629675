"""Engines from URLs, as the stores use them without sessions."""
# ruff: noqa: PT012 - the block of a session holds several statements

from __future__ import annotations

import asyncio
import logging

import pytest
from sqlalchemy import exc, text

from asgi_infra.database import DatabaseSession, SerializationFailureError
from asgi_infra.database.engine import SQLITE_BEGIN, create_engine
from asgi_infra.database.options import EngineOptions
from asgi_infra.database.urls import DatabaseURL
from asgi_infra.errors import ConfigurationError

pytestmark = pytest.mark.anyio


async def test_an_engine_without_sessions_commits_and_rolls_back(database_url):
    engine = create_engine(DatabaseURL.parse(database_url), EngineOptions())
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE items (id INT)"))
    with pytest.raises(ValueError, match="mine"):
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO items VALUES (1)"))
            raise ValueError("mine")
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM items"))).scalar() == 0
    await engine.dispose()


async def test_definitions_of_tables_are_part_of_the_transaction(database_url):
    async with DatabaseSession(database_url) as db:
        with pytest.raises(ValueError, match="mine"):
            async with db.session() as session:
                await session.execute(text("CREATE TABLE items (id INT)"))
                raise ValueError("mine")
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INT)"))


async def test_an_immediate_transaction_on_sqlite_takes_the_write_lock_when_it_begins(sqlite_url):
    immediate = {SQLITE_BEGIN: "IMMEDIATE"}
    async with DatabaseSession(sqlite_url, lock_timeout=0.05) as db, db.session() as first:
        await first.connection(execution_options=immediate)
        async with db.session() as reader:
            await reader.execute(text("SELECT 1"))
        with pytest.raises(SerializationFailureError) as caught:
            async with db.session() as second:
                await second.connection(execution_options=immediate)
        assert isinstance(caught.value.__cause__, exc.OperationalError)


async def test_a_stale_read_on_sqlite_cannot_be_turned_into_a_write(sqlite_url):
    async with DatabaseSession(sqlite_url) as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INT)"))
        with pytest.raises(SerializationFailureError) as caught:
            async with db.session() as stale:
                await stale.execute(text("SELECT count(*) FROM items"))
                async with db.session() as other:
                    await other.execute(text("INSERT INTO items VALUES (1)"))
                await stale.execute(text("INSERT INTO items VALUES (2)"))
        assert (caught.value.sqlstate, caught.value.retryable) == ("40001", True)


async def test_a_database_in_memory_is_never_recycled():
    async with DatabaseSession("sqlite://", pool_recycle=0.001) as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INT)"))
        await asyncio.sleep(0.01)
        async with db.session() as session:
            await session.execute(text("SELECT * FROM items"))
            assert db.pool().opened == 1


async def test_an_option_that_the_database_lacks_is_refused():
    with pytest.raises(ConfigurationError, match="statement_timeout"):
        create_engine(DatabaseURL.parse("sqlite://"), EngineOptions(statement_timeout=1))


def test_the_driver_does_not_log_what_statements_are_given(monkeypatch):
    driver_logger = logging.getLogger("aiosqlite")
    monkeypatch.setattr(driver_logger, "level", logging.NOTSET)
    create_engine(DatabaseURL.parse("sqlite:///:memory:"), EngineOptions())
    assert not driver_logger.isEnabledFor(logging.DEBUG)
