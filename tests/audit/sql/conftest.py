from __future__ import annotations

import asyncio
import itertools
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from servers import PostgresServer, ServerUnavailable

from asgi_infra.audit.backends.sql import SQLAuditLogger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_numbers = itertools.count()


def _server(**settings: Any) -> Iterator[PostgresServer]:
    try:
        with PostgresServer(**settings) as server:
            yield server
    except ServerUnavailable as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests of the session share; each test has tables of its own."""
    yield from _server(max_locks_per_transaction=512)


@pytest.fixture(scope="module")
def mortal_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of the module's own, which its tests may kill."""
    yield from _server()


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's connections run on asyncio only."""
    return "asyncio"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'audit.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url()


@pytest.fixture
def prefix() -> str:
    """The beginning of the names of the test's tables."""
    return f"p{next(_numbers)}_"


@pytest.fixture
def make(url: str, prefix: str) -> Callable[..., SQLAuditLogger]:
    """Make a logger on the log of this test, which does not log reads."""
    return lambda **options: SQLAuditLogger(
        **{"url": url, "table_prefix": prefix, "audit_reads": False, **options},
    )


@pytest.fixture
def by_hand(url: str, prefix: str) -> Callable[..., Any]:
    """Run statements as somebody would who has the database's password; `{p}` is the prefix of the tables."""

    async def on_server(statements: tuple[str, ...]) -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                return [[tuple(row) for row in await connection.fetch(each)] for each in statements]
        finally:
            await connection.close()

    def run(*statements: str) -> Any:
        texts = tuple(each.replace("{p}", prefix) for each in statements)
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
                results = [connection.execute(each).fetchall() for each in texts]
                connection.commit()
        else:
            with ThreadPoolExecutor(1) as pool:
                results = pool.submit(asyncio.run, on_server(texts)).result()
        return results[-1]

    return run
