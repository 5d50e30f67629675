"""Whatever a block raises, what leaves it, and what stays in the database."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, exc, text

from asgi_infra.database import (
    DatabaseSession,
)
from asgi_infra.errors import DatabaseError

FOREIGN = st.sampled_from(
    [
        ValueError, KeyError, LookupError, OSError, TimeoutError, ConnectionResetError, RuntimeError, MemoryError,
        StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError,
    ]
)  # fmt: skip
SQL = st.sampled_from(
    [
        exc.InvalidRequestError, exc.NoResultFound, exc.MultipleResultsFound, exc.ArgumentError,
        exc.PendingRollbackError, exc.TimeoutError, exc.UnboundExecutionError,
    ]
)  # fmt: skip


class World:
    """One event loop with one database for all examples of a property."""

    def __init__(self):
        self.runner = asyncio.Runner()
        self.db = DatabaseSession("sqlite://")
        self.broken = False
        self.runner.run(self.prepare())

    async def prepare(self):
        async with self.db.session() as session:
            await session.execute(text("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)"))
        event.listen(self.db.engine.sync_engine, "rollback", self.before_rollback)

    def before_rollback(self, _connection):
        if self.broken:
            self.broken = False
            raise RuntimeError("the rollback is broken")

    async def fail(self, error, writes, *, broken):
        """Run a block that writes and raises; return what came out, and how many rows there are afterwards."""
        caught = None
        try:
            async with self.db.session() as session:
                for number in range(writes):
                    await session.execute(text("INSERT INTO items (name) VALUES (:name)"), {"name": str(number)})
                self.broken = broken and writes > 0
                raise error
        except BaseException as raised:
            caught = raised
        self.broken = False
        async with self.db.session() as session:
            return caught, (await session.execute(text("SELECT count(*) FROM items"))).scalar()

    def close(self):
        self.runner.run(self.db.aclose())
        self.runner.close()


@pytest.fixture(scope="module")
def world():
    """A database in memory, shared by the examples."""
    made = World()
    yield made
    made.close()


@settings(deadline=None)
@given(kind=FOREIGN, message=st.text(max_size=20), writes=st.integers(0, 3))
def test_property_03_any_foreign_exception_leaves_the_block_as_the_same_object_after_the_rollback(
    world, kind, message, writes
):
    original = kind(message)
    cause = original.__cause__ = LookupError("before")
    caught, rows = world.runner.run(world.fail(original, writes, broken=False))
    assert caught is original
    assert original.__cause__ is cause
    assert not hasattr(original, "__notes__")
    assert rows == 0


@settings(deadline=None)
@given(kind=SQL, message=st.text(max_size=20), writes=st.integers(0, 3))
def test_property_03_any_database_error_leaves_the_block_as_a_database_error_from_the_original(
    world, kind, message, writes
):
    original = kind(message)
    caught, rows = world.runner.run(world.fail(original, writes, broken=False))
    assert isinstance(caught, DatabaseError)
    assert caught.__cause__ is original
    assert isinstance(caught.retryable, bool)
    assert rows == 0


@settings(deadline=None)
@given(
    kinds=st.lists(FOREIGN.filter(lambda kind: issubclass(kind, Exception)), min_size=1, max_size=4),
    writes=st.integers(0, 2),
)
def test_property_03_an_exception_group_passes_whole(world, kinds, writes):
    original = ExceptionGroup("several", [kind() for kind in kinds])
    caught, rows = world.runner.run(world.fail(original, writes, broken=False))
    assert caught is original
    assert rows == 0
