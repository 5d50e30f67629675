from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from servers import PostgresServer, ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


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
