"""Entries that commit together with somebody's own transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asgi_infra.audit import AuditFilter
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.database import DatabaseSession
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import a_full_entry, a_signer, an_entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from asgi_infra.audit.backends.sql import SQLAuditLogger

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(url: str, prefix: str) -> AsyncIterator[DatabaseSession]:
    async with DatabaseSession(url) as database:
        async with database.engine.begin() as connection:
            await connection.execute(text(f"CREATE TABLE {prefix}orders (name VARCHAR(20) PRIMARY KEY)"))
        yield database


@pytest.fixture
def insert(prefix: str) -> str:
    return f"INSERT INTO {prefix}orders VALUES (:name)"


async def test_an_action_and_its_entry_commit_together(
    make: Callable[..., SQLAuditLogger], database: DatabaseSession, insert: str
) -> None:
    async with make(signer=a_signer(), sequence_every=3600) as logger:
        await logger.log(an_entry(0))
        async with database.engine.begin() as connection:
            await connection.execute(text(insert), {"name": "o-1"})
            await logger.stage(connection, a_full_entry(1))
            await logger.stage(connection, an_entry(2))
        page = await logger.query()
        assert page.entries == (an_entry(0), a_full_entry(1), an_entry(2))
        assert (await logger.verify()).ok
        assert "\n3\n" in await logger.checkpoint()
        assert (await logger.stats())["sequenced"] == 2


async def test_what_is_rolled_back_never_appears(
    make: Callable[..., SQLAuditLogger], database: DatabaseSession, insert: str
) -> None:
    async with make(sequence_every=3600) as logger:
        async with database.engine.connect() as connection, connection.begin() as transaction:
            await connection.execute(text(insert), {"name": "o-1"})
            await logger.stage(connection, an_entry(1))
            await transaction.rollback()
        assert await logger.sequence() == 0
        assert await logger.count() == 0


async def test_a_session_will_do_too(make: Callable[..., SQLAuditLogger], database: DatabaseSession) -> None:
    async with make() as logger:
        async with AsyncSession(database.engine) as session:
            await logger.stage(session, an_entry(1))
            assert await logger.count() == 0, "not committed yet"
            await session.commit()
        assert await logger.count() == 1


async def test_a_thread_gives_staged_entries_their_numbers(
    make: Callable[..., SQLAuditLogger], database: DatabaseSession, by_hand: Callable[..., Any]
) -> None:
    async with make(sequence_every=0.02) as logger:
        async with database.engine.begin() as connection:
            await logger.stage(connection, an_entry(1))
        while by_hand("SELECT size FROM {p}audit_head") != [(1,)]:  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.02)
        assert by_hand("SELECT count(*) FROM {p}audit_staged") == [(0,)]


async def test_what_was_staged_before_a_crash_is_found_by_the_next_logger(
    make: Callable[..., SQLAuditLogger], database: DatabaseSession
) -> None:
    first = make(sequence_every=3600)
    await first.__aenter__()
    async with database.engine.begin() as connection:
        for number in range(1200):
            await first.stage(connection, an_entry(number))
    async with make() as second:
        page = await second.query(limit=2000)
        assert [entry.id for entry in page.entries] == [f"entry-{number}" for number in range(1200)]
    await first.aclose()


async def test_many_sequencers_and_writers_number_each_entry_once(
    make: Callable[..., SQLAuditLogger], database: DatabaseSession
) -> None:
    loggers = [make(sequence_every=0.001, timeout=30) for _ in range(3)]
    for logger in loggers:
        await logger.__aenter__()

    async def work(number: int) -> None:
        logger = loggers[number % 3]
        async with database.engine.begin() as connection:
            await logger.stage(connection, an_entry(number))
        await logger.log(an_entry(number + 100))
        await logger.sequence()

    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(work(number))
    page = await loggers[0].query(limit=1000)
    assert [each.seq for each in page] == list(range(60))
    assert len({entry.id for entry in page.entries}) == 60
    assert (await loggers[1].verify()).ok
    for logger in loggers:
        await logger.aclose()


async def test_an_entry_that_is_there_already_is_not_logged_again(
    make: Callable[..., SQLAuditLogger], database: DatabaseSession
) -> None:
    async with make(sequence_every=3600) as logger:
        receipt = await logger.log(an_entry(1))
        async with database.engine.begin() as connection:
            await logger.stage(connection, an_entry(1))
            await logger.stage(connection, an_entry(2))
            await logger.stage(connection, an_entry(2))
        assert await logger.sequence() == 3
        page = await logger.query()
        assert page.entries == (an_entry(1), an_entry(2))
        assert page.logged[0].receipt == receipt


async def test_a_staged_entry_that_was_changed_is_refused(
    make: Callable[..., SQLAuditLogger], database: DatabaseSession, by_hand: Callable[..., Any], url: str
) -> None:
    empty = "x'7b7d'" if url.startswith("sqlite") else "'{}'::bytea"
    async with make(sequence_every=3600) as logger:
        await logger.log(an_entry(0))
        async with database.engine.begin() as connection:
            await logger.stage(connection, a_full_entry(1))
        with pytest.raises(Exception, match="only ever added"):
            by_hand(f"UPDATE {{p}}audit_staged SET private = {empty}")
        by_hand(f"INSERT INTO {{p}}audit_staged (leaf, private) SELECT leaf, {empty} FROM {{p}}audit_staged")
        with pytest.raises(AuditIntegrityError, match="position 2 was changed"):
            await logger.query()
        by_hand("DELETE FROM {p}audit_staged WHERE position = 2")
        assert await logger.count(AuditFilter(user_id="user-1")) == 1


async def test_only_a_connection_or_a_session_can_be_staged_on(make: Callable[..., SQLAuditLogger]) -> None:
    async with make() as logger:
        with pytest.raises(ConfigurationError, match="transaction must be an AsyncConnection or an AsyncSession"):
            await logger.stage("connection", an_entry(1))  # type: ignore[arg-type]
