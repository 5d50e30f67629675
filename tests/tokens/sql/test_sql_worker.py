"""The threads in which SQLite works."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from asgi_infra.tokens import (
    DuplicateTokenError,
    OutcomeUnknownError,
    StoreClosedError,
    StoredToken,
    StoreUnavailableError,
)
from asgi_infra.tokens.backends.sql import SQLTokenStore
from asgi_infra.tokens.backends.sql.executor import Mode
from asgi_infra.tokens.backends.sql.failures import Phase, told

pytestmark = pytest.mark.anyio


def issue(user_id="alice", **values):
    return StoredToken.issue(user_id, lifetime=timedelta(hours=1), **values)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "asgi_infra-tokens-sqlite"]


@pytest.fixture(params=["file", "memory"])
async def store(request, sqlite_url):
    async with SQLTokenStore(sqlite_url if request.param == "file" else "sqlite://") as made:
        yield made


async def block(store):
    """Keep the thread that writes busy, until the event is set that is returned."""
    begun, free = threading.Event(), threading.Event()

    def wait(_connection):
        begun.set()
        free.wait(30)

    first = asyncio.ensure_future(store._executor.run(wait, Mode.TRANSACTION))
    await asyncio.to_thread(begun.wait, 30)
    return first, free


async def blocked(store, *calls):
    """Start calls while the thread that writes is busy, and return what became of them."""
    first, free = await block(store)
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0.05)
    free.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_to_be_written_is_written_in_one_transaction(store) -> None:
    commits = []

    def watch(connection):
        connection._pooled.driver_connection.set_trace_callback(commits.append)

    await store._executor.run(watch, Mode.TRANSACTION)
    commits.clear()
    assert await blocked(store, *[store.save(issue()) for _ in range(10)]) == [None] * 10
    assert commits.count("COMMIT") == 2
    assert len(await store.list_for_user("alice")) == 10


async def test_one_that_fails_fails_none_of_those_that_waited_with_it(store) -> None:
    taken, tokens = issue(jti="taken"), [issue() for _ in range(4)]
    await store.save(taken)
    ends = await blocked(store, *map(store.save, [*tokens[:2], taken, *tokens[2:]]))
    assert [type(end) for end in ends] == [type(None)] * 2 + [DuplicateTokenError] + [type(None)] * 2
    assert len(await store.list_for_user("alice")) == 5


async def test_a_caller_that_gives_up_while_it_waits_is_told_that_it_was_done(store) -> None:
    token = issue()
    first, free = await block(store)
    saving = asyncio.ensure_future(store.save(token))
    await asyncio.sleep(0.01)
    saving.cancel()
    await asyncio.sleep(0.01)
    assert not saving.done()
    free.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await saving
    assert caught.value.__notes__ == ["The cancellation came while the operation was ending; it was done."]
    await first
    assert await store.get(token.jti) == token


async def test_a_thread_that_hangs_is_told_by_what_it_had_begun(sqlite_url) -> None:
    token = issue()
    async with SQLTokenStore(sqlite_url, timeout=0.3) as store:
        await store.open()
        hanging, free = await block(store)
        saving = asyncio.ensure_future(store.save(token))
        with pytest.raises(OutcomeUnknownError):
            await hanging
        with pytest.raises(StoreUnavailableError, match="nothing was changed"):
            await saving
        assert await store.get(token.jti) is None
        free.set()
        await store.save(issue())
        assert await store.get(token.jti) is None


def test_many_event_loops_may_use_one_store(sqlite_url) -> None:
    store = SQLTokenStore(sqlite_url)
    ends = []

    async def work(name):
        for _ in range(20):
            token = issue(name)
            await store.save(token)
            assert (await store.rotate(token.jti, token.successor())).ok
        ends.append(len(await store.list_for_user(name)))

    asyncio.run(store.open())
    running = [threading.Thread(target=asyncio.run, args=(work(f"user-{number}"),)) for number in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert ends == [20] * 4
    asyncio.run(store.aclose())


async def test_a_store_that_is_closed_leaves_no_thread_and_no_second_file(sqlite_url, tmp_path) -> None:
    async with SQLTokenStore(sqlite_url) as store:
        await store.save(issue())
        await store.list_for_user("alice")
        assert len(threads()) == 2
    assert threads() == []
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.db"]
    with pytest.raises(StoreClosedError):
        await store._run(Mode.READ, store._do.ping)


async def test_a_store_that_everybody_forgot_leaves_no_thread(sqlite_url) -> None:
    store = SQLTokenStore(sqlite_url)
    await store.open()
    (running, *_) = threads()
    del store
    gc.collect()
    await asyncio.to_thread(running.join, 30)
    assert not running.is_alive()


def test_a_program_that_closes_nothing_ends_and_keeps_what_was_saved(sqlite_url) -> None:
    program = f"""
import asyncio, sys
from datetime import timedelta
from asgi_infra.tokens import StoredToken
from asgi_infra.tokens.backends.sql import SQLTokenStore

store = SQLTokenStore({sqlite_url!r})
asyncio.run(store.save(StoredToken.issue("alice", lifetime=timedelta(hours=1))))
assert "aiosqlite" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

    async def look():
        async with SQLTokenStore(sqlite_url) as store:
            return len(await store.list_for_user("alice"))

    assert asyncio.run(look()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system can't fork")
def test_after_a_fork_the_store_refuses_and_its_parent_goes_on(sqlite_url) -> None:
    program = f"""
import asyncio, os, sys
from datetime import timedelta
from asgi_infra.tokens import StoreClosedError, StoredToken
from asgi_infra.tokens.backends.sql import SQLTokenStore

async def refused(store):
    try:
        await store.list_for_user("alice")
    except StoreClosedError:
        await store.aclose()
        return True

store = SQLTokenStore({sqlite_url!r})
asyncio.run(store.save(StoredToken.issue("alice", lifetime=timedelta(hours=1))))
child = os.fork()
if not child:
    code = 1
    try:
        code = 0 if asyncio.run(refused(store)) else 1
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
asyncio.run(store.save(StoredToken.issue("alice", lifetime=timedelta(hours=1))))
assert len(asyncio.run(store.list_for_user("alice"))) == 2
asyncio.run(store.aclose())
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


async def test_a_directory_that_is_not_there_is_told_as_that(tmp_path) -> None:
    store = SQLTokenStore(f"sqlite:///{tmp_path}/missing/tokens.db", timeout=0.2)
    with pytest.raises(StoreUnavailableError, match="could not connect to sqlite:///"):
        await store.open()
    (tmp_path / "missing").mkdir()
    async with store:
        await store.save(issue())


def test_a_commit_that_the_disk_failed_is_of_unknown_outcome() -> None:
    original = sqlite3.OperationalError("disk I/O error")
    original.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    error = OperationalError("COMMIT", None, original)
    assert isinstance(told(error, Phase.COMMITTING), OutcomeUnknownError)
    assert isinstance(told(error, Phase.WORKING), StoreUnavailableError)
