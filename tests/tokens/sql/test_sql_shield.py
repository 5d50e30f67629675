"""Callers that give up while the database does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from datetime import timedelta
from functools import partial

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from asgi_infra.database.shield import run_to_end
from asgi_infra.tokens import StoredToken
from asgi_infra.tokens.backends.sql import SQLTokenStore

pytestmark = pytest.mark.anyio


async def by_a_scope(call):
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0.1, scope.cancel)
        await call
        pytest.fail("the caller has not been cancelled")
    assert scope.cancelled_caught


async def by_the_task(call):
    task = asyncio.ensure_future(call)
    asyncio.get_running_loop().call_later(0.1, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


givers_up = pytest.mark.parametrize("give_up", [by_a_scope, by_the_task])


@givers_up
async def test_a_caller_that_gives_up_while_postgresql_stalls_is_cancelled(postgres, prefix, give_up) -> None:
    make = partial(SQLTokenStore, postgres.url(), table_prefix=prefix)
    async with make() as calm, make(timeout=1) as store:
        await calm.save(token := StoredToken.issue("alice", lifetime=timedelta(hours=1)))
        engine = create_async_engine("postgresql+asyncpg" + postgres.url().removeprefix("postgresql"))
        async with engine.begin() as connection:
            await connection.execute(text(f"SELECT * FROM {prefix}tokens FOR UPDATE"))
            await give_up(store.revoke_all_for_user("alice"))
        await engine.dispose()
        assert await calm.get(token.jti) == token


@givers_up
async def test_a_caller_that_gives_up_while_sqlite_stalls_is_cancelled(sqlite_url, tmp_path, give_up) -> None:
    async with SQLTokenStore(sqlite_url, timeout=0.4) as store:
        await store.save(token := StoredToken.issue("alice", lifetime=timedelta(hours=1)))
        other = sqlite3.connect(tmp_path / "tokens.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await give_up(store.revoke(token.jti))
        other.close()
        assert await store.get(token.jti) == token


@givers_up
@pytest.mark.parametrize("patient", [True, False])
async def test_shielded_work_ends_and_its_caller_learns_of_the_cancellation(give_up, patient) -> None:
    ends = []

    async def work():
        await asyncio.sleep(0.2)
        ends.append("done")

    async def caller():
        ended = await run_to_end(work(), grace=30, patient=patient)
        assert (ended.error, ended.gave_up) == (None, False)
        if ended.cancelled is not None:
            raise ended.cancelled

    await give_up(caller())
    assert ends == ["done"]


@givers_up
async def test_shielded_work_that_does_not_end_is_stopped_after_the_grace(give_up) -> None:
    stopped = []

    async def work():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            stopped.append(True)
            raise

    async def caller():
        ended = await run_to_end(work(), grace=0.2, patient=False)
        assert isinstance(ended.error, TimeoutError)
        assert ended.gave_up
        if ended.cancelled is not None:
            raise ended.cancelled

    await give_up(caller())
    assert stopped == [True]


async def test_shielded_work_that_does_not_stop_is_left_after_the_time_for_that() -> None:
    free = asyncio.Event()

    async def stubborn():
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    ended = await run_to_end(stubborn(), grace=0.05, patient=False, stopping=0.05)
    assert (ended.gave_up, ended.cancelled) == (True, None)
    free.set()
    await asyncio.sleep(0)


async def test_without_a_cancellation_impatient_work_has_its_grace_and_no_more() -> None:
    ended = await run_to_end(asyncio.sleep(3600), grace=0.05, patient=False)
    assert (ended.gave_up, ended.cancelled) == (True, None)
    ended = await run_to_end(asyncio.sleep(0), grace=30, patient=False)
    assert (ended.error, ended.gave_up, ended.cancelled) == (None, False, None)
