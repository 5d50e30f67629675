from __future__ import annotations

import asyncio
import contextlib

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from asgi_infra.database import DatabaseCollector, DatabaseSession, PoolExhaustedError
from asgi_infra.errors import ConfigurationError


def scrape(registry):
    """The samples of a registry, by name with labels."""
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


@pytest.mark.anyio
async def test_the_figures_of_a_pool_are_series(database_url):
    registry = CollectorRegistry()
    db = DatabaseSession(database_url, pool_size=1, max_overflow=1, pool_timeout=0.05)
    registry.register(DatabaseCollector({"shop": db}))
    assert scrape(registry)['db_client_connection_max{pool="shop"}'] == 2
    async with db.session() as first, db.session() as second:
        await first.execute(text("SELECT 1"))
        await second.execute(text("SELECT 1"))

        async def third():
            with contextlib.suppress(PoolExhaustedError):
                async with db.session() as session:
                    await session.execute(text("SELECT 1"))

        waiting = asyncio.create_task(third())
        while not db.pool().waiting:  # noqa: ASYNC110 - the pool sets no event
            await asyncio.sleep(0)
        busy = scrape(registry)
        await waiting
    with pytest.raises(ValueError, match="mine"):
        async with db.session():
            raise ValueError("mine")
    idle = scrape(registry)
    await db.aclose()
    assert busy['db_client_connection_count{pool="shop",state="used"}'] == 2
    assert busy['db_client_connection_pending_requests{pool="shop"}'] == 1
    assert idle['db_client_connection_count{pool="shop",state="used"}'] == 0
    assert idle['db_client_connection_count{pool="shop",state="idle"}'] == 1
    assert idle['db_client_connection_pending_requests{pool="shop"}'] == 0
    assert idle['db_client_connection_timeouts_total{pool="shop"}'] == 1
    assert idle['db_client_connection_opened_total{pool="shop"}'] == 2
    assert idle['db_client_sessions_total{outcome="committed",pool="shop"}'] == 2
    assert idle['db_client_sessions_total{outcome="rolled_back",pool="shop"}'] == 2
    assert idle['db_client_sessions_total{outcome="commit_failed",pool="shop"}'] == 0


@pytest.mark.parametrize("databases", [{}, {"": None}, {" ": None}, {7: None}])
def test_names_of_pools_are_checked(databases):
    with pytest.raises(ConfigurationError, match="databases"):
        DatabaseCollector(databases)
