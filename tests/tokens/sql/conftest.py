from __future__ import annotations

import itertools
import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from asgi_infra.testing.clock import ManualClock
from asgi_infra.tokens.backends.sql import SQLTokenStore

_numbers = itertools.count()


@pytest.fixture
def anyio_backend():
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


def _server(**settings):
    from servers import PostgresServer, ServerUnavailable

    try:
        with PostgresServer(**settings) as server:
            yield server
    except ServerUnavailable as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server that all tests of the session share; each test has tables of its own."""
    yield from _server()


@pytest.fixture(scope="module")
def mortal_postgres():
    """A PostgreSQL server of the module's own, which its tests may kill, and which keeps what it acknowledged."""
    yield from _server(synchronous_commit="on")


@pytest.fixture
def prefix():
    """The beginning of the names of the test's tables."""
    return f"t{next(_numbers)}_"


@pytest.fixture
def sqlite_url(tmp_path):
    """The URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'tokens.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """The URL of a database, of each kind in turn."""
    return (
        request.getfixturevalue("postgres").url()
        if request.param == "postgres"
        else request.getfixturevalue("sqlite_url")
    )


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def make(database_url, prefix, clock):
    """Makes stores on the test's data."""
    return partial(SQLTokenStore, database_url, table_prefix=prefix, clock=clock)
