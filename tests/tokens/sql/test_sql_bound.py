"""The store as part of somebody else's transaction."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from asgi_infra.database import DatabaseSession
from asgi_infra.errors import ConfigurationError
from asgi_infra.tokens import DuplicateTokenError, RotationStatus, StoreClosedError, StoredToken, StoreUnavailableError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(make):
    async with make() as made:
        yield made


@pytest.fixture(params=["ours", "plain"])
async def engine(request, database_url):
    """An engine of this package, or one as an application makes it."""
    if request.param == "ours":
        async with DatabaseSession(database_url) as database:
            yield database.engine
        return
    driver = "postgresql+asyncpg" if database_url.startswith("postgres") else "sqlite+aiosqlite"
    made = create_async_engine(driver + database_url[database_url.index(":") :])
    yield made
    await made.dispose()


@pytest.fixture
def issue(clock):
    def issue(user_id="alice", **values):
        return StoredToken.issue(user_id, lifetime=timedelta(hours=1), clock=clock, **values)

    return issue


async def test_what_is_done_is_done_when_the_caller_commits(store, engine, issue) -> None:
    kept, used = issue(), issue()
    await store.save(used)
    async with engine.connect() as connection:
        bound = store.bind(connection)
        await bound.save(kept)
        assert (await bound.rotate(used.jti, issue())).status is RotationStatus.ROTATED
        assert await bound.get(kept.jti) == kept
        assert await store.get(kept.jti) is None
        assert await store.get(used.jti) == used
        await connection.commit()
    assert await store.get(kept.jti) == kept
    assert await store.get(used.jti) is None


async def test_what_is_done_is_undone_when_the_caller_rolls_back(store, engine, issue) -> None:
    tokens = [issue() for _ in range(3)]
    for token in tokens:
        await store.save(token)
    async with engine.connect() as connection:
        bound = store.bind(connection)
        await bound.rotate(tokens[0].jti, issue())
        await bound.revoke(tokens[1].jti)
        assert await bound.revoke_all_for_user("alice") == 2
        await bound.deny("denied", tokens[0].expires_at)
        assert await bound.is_denied("denied")
        await connection.rollback()
    assert len(await store.list_for_user("alice")) == 3
    assert not await store.is_denied("denied")


async def test_caches_above_the_store_learn_of_what_a_view_has_ended(store, engine, issue) -> None:
    token = issue()
    await store.save(token)
    async with engine.connect() as connection:
        bound = store.bind(connection)
        seen = [store.revision]
        for call in (bound.revoke(token.jti), bound.revoke_family("family"), bound.revoke_all_for_user("alice")):
            await call
            assert store.revision not in seen
            seen.append(store.revision)
        await bound.get(token.jti)
        assert store.revision == seen[-1]
        await connection.commit()
    await store.revoke(token.jti)
    assert store.revision not in seen


async def test_a_session_of_the_application_is_neither_committed_nor_closed(store, engine, issue, prefix) -> None:
    token = issue()
    async with AsyncSession(engine) as session:
        bound = store.bind(session)
        await bound.save(token)
        await session.execute(text(f"CREATE TABLE {prefix}mine (n INTEGER)"))
        assert session.in_transaction()
        await session.rollback()
        assert await store.get(token.jti) is None
        await bound.save(token)
        await session.commit()
        await bound.aclose()
        assert (await session.execute(text("SELECT 1"))).scalar_one() == 1
    assert await store.get(token.jti) == token


async def test_an_error_leaves_the_callers_transaction_as_it_was(store, engine, issue, prefix) -> None:
    taken, token = issue(jti="taken"), issue()
    await store.save(taken)
    async with engine.connect() as connection:
        bound = store.bind(connection)
        await bound.save(token)
        with pytest.raises(DuplicateTokenError):
            await bound.save(taken)
        with pytest.raises(DuplicateTokenError):
            await bound.rotate(token.jti, taken)
        assert await bound.get(token.jti) == token
        await connection.commit()
    assert await store.get(token.jti) == token


async def test_a_view_of_the_store_does_no_upkeep_and_ends_nothing(store, engine, issue, clock) -> None:
    for _ in range(3):
        await store.save(issue())
    clock.advance(86400)
    async with engine.connect() as connection:
        bound = store.bind(connection)
        await bound.save(issue())
        assert (await bound.stats()).tokens == 4
        await bound.aclose()
        await connection.rollback()
        with pytest.raises(StoreClosedError):
            await bound.get("jti")
    await store.ping()


async def test_a_connection_that_fails_is_told_as_the_stores_error(store, engine) -> None:
    async with engine.connect() as connection:
        bound = store.bind(connection)
        await connection.execute(text("SELECT 1"))
        await connection.invalidate()
        with pytest.raises(StoreUnavailableError) as caught:
            await bound.get("jti")
        assert caught.value.__cause__ is not None
        await connection.rollback()
        assert await bound.get("jti") is None


async def test_only_an_open_store_can_be_bound_and_only_to_a_transaction(make, engine) -> None:
    store = make()
    async with engine.connect() as connection:
        with pytest.raises(StoreClosedError, match="must be open before it is bound"):
            store.bind(connection)
        async with store:
            with pytest.raises(
                ConfigurationError, match="must be an AsyncConnection or an AsyncSession, not AsyncEngine"
            ):
                store.bind(engine)
        with pytest.raises(StoreClosedError):
            store.bind(connection)
