"""The contract, on a file, in memory, and on a server."""

from __future__ import annotations

from functools import partial

import pytest

from asgi_infra.testing.tokens import TokenStoreContract
from asgi_infra.tokens.backends.sql import SQLTokenStore


class TestSQLiteFile(TokenStoreContract):
    @pytest.fixture
    def store_factory(self, sqlite_url):
        return partial(SQLTokenStore, sqlite_url)

    @pytest.fixture
    def stored(self, tmp_path):
        async def stored():
            return b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))

        return stored


class TestSQLiteMemory(TokenStoreContract):
    """The same statements in the same thread as for a file: in shorter rounds."""

    shared = False
    race_rounds = 2
    interleavings = 10
    machine_examples = 5
    cancellations = 15

    @pytest.fixture
    def store_factory(self):
        return partial(SQLTokenStore, "sqlite://")


class TestPostgreSQL(TokenStoreContract):
    @pytest.fixture
    def store_factory(self, postgres, prefix):
        return partial(SQLTokenStore, postgres.url(), table_prefix=prefix)

    @pytest.fixture
    def stored(self, postgres, prefix):
        async def stored():
            import asyncpg

            connection = await asyncpg.connect(postgres.url())
            try:
                found = await connection.fetch("SELECT tablename FROM pg_tables WHERE tablename LIKE $1", f"{prefix}%")
                rows = [row for (name,) in found for row in await connection.fetch(f'SELECT * FROM "{name}"')]
            finally:
                await connection.close()
            values = [value for row in rows for value in row.values()]
            return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)

        return stored
