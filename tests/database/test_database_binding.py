"""Where a `DatabaseSession` may be used: processes, event loops, threads, and its end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text

from asgi_infra.database import DatabaseSession, SessionMisuseError
from asgi_infra.errors import ConfigurationError


async def scalar(db, statement="SELECT 1"):
    async with db.session() as session:
        return (await session.execute(text(statement))).scalar()


def run_script(code, *arguments):
    """Run a script in a process of its own, and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


FORKED = """
import asyncio, os, sys
from sqlalchemy import text
from asgi_infra.database import DatabaseSession

db = DatabaseSession(sys.argv[1])
async def scalar(statement):
    async with db.session() as session:
        return (await session.execute(text(statement))).scalar()

with asyncio.Runner() as runner:
    parent = runner.run(scalar(sys.argv[2]))
    child = os.fork()
    if child == 0:
        async def work():
            found = await scalar(sys.argv[2])
            await db.aclose()
            return found
        print("child", asyncio.run(work()), db.pool().opened, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    print("parent", parent, runner.run(scalar(sys.argv[2])), db.pool().opened, flush=True)
    runner.run(db.aclose())
"""


def test_a_forked_child_opens_its_own_connections_and_the_parent_keeps_its_own(postgres_url):
    child, parent = run_script(FORKED, postgres_url, "SELECT pg_backend_pid()")
    _, child_backend, _ = child.split()
    _, before, after, opened = parent.split()
    assert before == after
    assert opened == "1"
    assert child_backend != before


def test_a_forked_child_opens_an_sqlite_file_anew(sqlite_url):
    child, parent = run_script(FORKED, sqlite_url, "SELECT 7")
    assert (child, parent) == ("child 7 0", "parent 7 7 1")


IN_A_SESSION = """
import asyncio, os, sys
from sqlalchemy import text
from asgi_infra.database import DatabaseSession, SessionMisuseError

async def main():
    db = DatabaseSession(sys.argv[1])
    async with db.session() as session:
        await session.execute(text("CREATE TABLE items (id INT)"))
        transaction = db.session()
        other = transaction.begin()
        await other.execute(text("SELECT 1"))
        child = os.fork()
        if child == 0:
            seen = []
            try:
                await session.execute(text("INSERT INTO items VALUES (1)"))
            except SessionMisuseError:
                seen.append("statement")
            try:
                await transaction.commit()
            except SessionMisuseError:
                seen.append("commit")
            print(*seen, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        await transaction.rollback()
        await session.execute(text("INSERT INTO items VALUES (2)"))
    async with db.session() as session:
        print((await session.execute(text("SELECT sum(id) FROM items"))).scalar(), flush=True)
    await db.aclose()
asyncio.run(main())
"""


def test_a_session_open_across_a_fork_refuses_in_the_child_and_goes_on_in_the_parent(postgres_url):
    assert run_script(IN_A_SESSION, postgres_url) == ["statement commit", "2"]


LOOP_AFTER_LOOP = """
import asyncio, logging, sys
from sqlalchemy import text
from asgi_infra.database import DatabaseSession

logging.basicConfig(stream=sys.stdout, format="%(name)s %(levelname)s")
db = DatabaseSession(sys.argv[1])
async def scalar():
    async with db.session() as session:
        return (await session.execute(text("SELECT 7"))).scalar()
print(asyncio.run(scalar()), asyncio.run(scalar()))
"""


def test_a_loop_that_ended_without_closing_the_pool_is_forgotten_with_a_warning(database_url):
    assert run_script(LOOP_AFTER_LOOP, database_url) == ["asgi_infra.database WARNING", "7 7"]


def test_another_living_event_loop_is_refused_with_the_remedy(sqlite_url):
    db = DatabaseSession(sqlite_url)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(scalar(db))
        for work in (scalar(db), db.aclose(), db.health()):
            with pytest.raises(SessionMisuseError, match="another event loop"):
                second.run(work)
        first.run(db.aclose())
        assert second.run(scalar(db)) == 1
        second.run(db.aclose())


def test_without_a_running_loop_there_is_no_session(sqlite_url):
    with pytest.raises(SessionMisuseError, match="asyncio"):
        DatabaseSession(sqlite_url).session()


def test_trio_is_refused_with_a_clear_word(sqlite_url):
    trio = pytest.importorskip("trio")
    db = DatabaseSession(sqlite_url)
    with pytest.raises(SessionMisuseError, match="trio"):
        trio.run(scalar, db)


def test_threads_with_a_loop_each_get_one_winner_and_clear_refusals(sqlite_url):
    db = DatabaseSession(sqlite_url)
    barrier = threading.Barrier(8)
    outcomes = []

    def race():
        async def work():
            barrier.wait()
            try:
                outcomes.append(db.engine)
            except SessionMisuseError:
                outcomes.append(None)
            barrier.wait()

        asyncio.run(work())

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([engine for engine in outcomes if engine is not None]) == 1
    assert len(outcomes) == 8


@pytest.mark.anyio
async def test_closing_waits_for_open_sessions(database_url):
    db = DatabaseSession(database_url)
    inside, leave = asyncio.Event(), asyncio.Event()

    async def work():
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INT)"))
            inside.set()
            await leave.wait()

    task = asyncio.create_task(work())
    await inside.wait()
    closing = asyncio.create_task(db.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    leave.set()
    await closing
    await task
    assert await scalar(db, "SELECT count(*) FROM items") == 0
    await db.aclose()


@pytest.mark.anyio
async def test_a_session_that_outlasts_the_closing_keeps_its_connection_and_closes_it_at_its_end(postgres_url, caplog):
    db = DatabaseSession(postgres_url)
    async with DatabaseSession(postgres_url) as observer:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INT)"))
            await db.aclose(timeout=0.01)
            assert "1 database sessions were still open" in caplog.text
            await session.execute(text("INSERT INTO items VALUES (1)"))
        assert await scalar(observer, "SELECT count(*) FROM items") == 1
        others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        while await scalar(observer, f"SELECT count(*) FROM pg_stat_activity WHERE {others}"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_closing_twice_and_closing_what_was_never_opened_does_nothing(sqlite_url):
    db = DatabaseSession(sqlite_url)
    await db.aclose()
    await scalar(db)
    await db.aclose()
    await db.aclose()
    assert db.pool().opened == 0


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, -1, True, "1", float("nan")])
async def test_time_limits_of_methods_are_checked(sqlite_url, seconds):
    db = DatabaseSession(sqlite_url)
    with pytest.raises(ConfigurationError, match="timeout"):
        await db.aclose(timeout=seconds)
    with pytest.raises(ConfigurationError, match="timeout"):
        await db.health(timeout=seconds)
