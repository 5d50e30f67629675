"""What a PostgreSQL server still does once a session has left because its task was cancelled."""
# ruff: noqa: ASYNC110, PT012 - the server sets no event; a task group holds several statements

from __future__ import annotations

import asyncio

import anyio
import asyncpg
import pytest
from sqlalchemy import text

from asgi_infra.database import DatabaseSession

pytestmark = pytest.mark.anyio


class Watcher:
    """A connection of its own, to see what the server does."""

    def __init__(self, connection):
        self.connection = connection
        self.pid = None

    async def state(self):
        """Return what the watched backend does, `None` once it has ended."""
        return await self.connection.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", self.pid)

    async def sleeping(self):
        while self.pid is None or not await self.connection.fetchval(
            "SELECT state = 'active' AND query LIKE '%pg_sleep%' FROM pg_stat_activity WHERE pid = $1", self.pid
        ):
            await asyncio.sleep(0.005)

    async def ended(self):
        async with asyncio.timeout(10):
            while await self.state() is not None:
                await asyncio.sleep(0.005)


@pytest.fixture
async def watcher(postgres_url):
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE items (id INT PRIMARY KEY)")
    yield Watcher(connection)
    await connection.close()


@pytest.fixture
async def db(postgres_url):
    async with DatabaseSession(postgres_url, pool_size=1, max_overflow=0) as database:
        yield database


async def work(db, watcher):
    async with db.session() as session:
        await session.execute(text("INSERT INTO items VALUES (1)"))
        watcher.pid = (await session.execute(text("SELECT pg_backend_pid()"))).scalar()
        await session.execute(text("SELECT pg_sleep(60)"))


async def by_cancelling_the_task(db, watcher):
    task = asyncio.create_task(work(db, watcher))
    await watcher.sleeping()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_cancelling_the_task_again_and_again(db, watcher):
    task = asyncio.create_task(work(db, watcher))
    await watcher.sleeping()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()


async def by_a_cancel_scope(db, watcher):
    async with anyio.create_task_group() as group:
        group.start_soon(work, db, watcher)
        await watcher.sleeping()
        group.cancel_scope.cancel()


async def by_a_time_limit(db, watcher):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work(db, watcher), 0.5)
    assert watcher.pid is not None


async def by_a_failure_beside_it(db, watcher):
    async def fail():
        await watcher.sleeping()
        raise LookupError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(work(db, watcher))
            group.create_task(fail())


@pytest.mark.parametrize(
    "cancel",
    [
        by_cancelling_the_task,
        by_cancelling_the_task_again_and_again,
        by_a_cancel_scope,
        by_a_time_limit,
        by_a_failure_beside_it,
    ],
)
async def test_a_cancelled_session_leaves_no_statement_no_lock_and_no_row_behind(db, watcher, cancel):
    await cancel(db, watcher)
    assert await watcher.state() != "active", "the statement goes on"
    assert db.pool().used == 0
    await watcher.ended()  # its connection was closed, not given back
    assert await watcher.connection.fetchval("SELECT count(*) FROM items") == 0
    async with watcher.connection.transaction():
        await watcher.connection.execute("LOCK TABLE items IN ACCESS EXCLUSIVE MODE NOWAIT")
    async with db.session() as session:  # the only place of the pool is free again
        await session.execute(text("INSERT INTO items VALUES (1)"))
    assert await watcher.connection.fetchval("SELECT count(*) FROM items") == 1


async def test_a_session_cancelled_between_statements_gives_its_connection_back_clean(db, watcher):
    waiting = asyncio.Event()

    async def wait():
        async with db.session() as session:
            await session.execute(text("INSERT INTO items VALUES (1)"))
            watcher.pid = (await session.execute(text("SELECT pg_backend_pid()"))).scalar()
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await waiting.wait()
    assert await watcher.state() == "idle in transaction"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await watcher.state() == "idle"
    assert db.pool().idle == 1
    assert await watcher.connection.fetchval("SELECT count(*) FROM items") == 0
