from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))

_numbers = itertools.count()


@pytest.fixture
def anyio_backend():
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server that all tests of the session share."""
    from servers import PostgresServer, ServerUnavailable

    try:
        with PostgresServer() as server:
            yield server
    except ServerUnavailable as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def mortal_postgres():
    """A PostgreSQL server of the module's own, which its tests may kill."""
    from servers import PostgresServer, ServerUnavailable

    try:
        with PostgresServer() as server:
            yield server
    except ServerUnavailable as exc:
        pytest.skip(str(exc))


@pytest.fixture
def restarted(mortal_postgres):
    """The mortal server, started again after the test that killed it."""
    yield mortal_postgres
    mortal_postgres.kill()
    mortal_postgres.start()


@pytest.fixture
def postgres_url(postgres):
    """The URL of a new, empty PostgreSQL database."""
    import asyncpg

    name = f"test_{next(_numbers)}"

    async def create():
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    return postgres.url(database=name)


@pytest.fixture
def sqlite_url(tmp_path):
    """The URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """The URL of an empty database, of each kind in turn."""
    return request.getfixturevalue(f"{request.param}_url")
