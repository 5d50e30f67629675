"""Statements past SQLAlchemy's layers: the same errors, and no connection that nobody knows the state of."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.util import greenlet_spawn

from asgi_infra.database import DatabaseSession
from asgi_infra.tokens.backends.sql.direct import DirectConnection, Plans

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine(postgres):
    async with DatabaseSession(postgres.url(), pool_size=1, max_overflow=0) as database:
        yield database.engine


@pytest.fixture
def run(engine):
    """Runs work with a direct connection."""
    plans = Plans(engine.sync_engine)

    async def run(work):
        def inside():
            pooled = engine.sync_engine.raw_connection()
            pooled.dbapi_connection.autocommit = True
            connection = pooled.dbapi_connection
            try:
                return work(DirectConnection(plans, pooled))
            finally:
                connection.autocommit = False
                pooled.close()

        return await greenlet_spawn(inside)

    return run


async def test_rows_are_as_sqlalchemys(run, engine) -> None:
    statement = text("SELECT CAST(:a AS int) AS first, CAST(:b AS text), CAST(:a AS int) + 1 AS third")
    for _ in range(2):
        answer = await run(lambda direct: direct.execute(statement, {"b": "x", "a": 1, "unused": 5}))
        assert answer.first() == answer.one() == (1, "x", 2)
        assert (answer.first().first, answer.first().third) == (1, 2)
        assert answer.all() == list(answer) == [(1, "x", 2)]
        assert answer.scalar() == answer.scalar_one() == 1
    nothing = await run(lambda direct: direct.execute(text("SELECT 1 WHERE false")))
    assert (nothing.first(), nothing.scalar(), nothing.all()) == (None, None, [])
    assert (await run(lambda direct: direct.exec_driver_sql("SET work_mem = '1MB'"))).all() == []


async def test_a_statement_is_kept_as_soon_as_it_is_answered(run, engine, prefix) -> None:
    await run(lambda direct: direct.exec_driver_sql(f"CREATE TABLE {prefix}direct (n int PRIMARY KEY)"))
    insert = text(f"INSERT INTO {prefix}direct VALUES (:n)")
    await run(lambda direct: direct.execute(insert, {"n": 5}))
    with pytest.raises(IntegrityError) as caught:
        await run(lambda direct: direct.execute(insert, {"n": 5}))
    assert "(5)" not in str(caught.value) + repr(caught.value.orig)
    async with engine.connect() as connection:
        assert (await connection.execute(text(f"SELECT n FROM {prefix}direct"))).scalars().all() == [5]


async def test_a_connection_that_is_lost_is_not_used_again(run, engine) -> None:
    with pytest.raises(DBAPIError) as caught:
        await run(lambda direct: direct.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert caught.value.connection_invalidated
    assert (await run(lambda direct: direct.exec_driver_sql("SELECT 1"))).scalar() == 1


async def test_a_connection_in_an_unknown_state_is_not_used_again(run, engine) -> None:
    await run(lambda direct: direct.exec_driver_sql("SELECT 1"))
    opened = engine.pool.opened
    sleeping = asyncio.ensure_future(run(lambda direct: direct.exec_driver_sql("SELECT pg_sleep(60)")))
    for _ in range(20):
        await asyncio.sleep(0)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert (await run(lambda direct: direct.exec_driver_sql("SELECT 1"))).scalar() == 1
    assert engine.pool.opened == opened + 1
