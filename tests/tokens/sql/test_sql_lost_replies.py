"""PostgreSQL whose answers do not arrive."""

from __future__ import annotations

import pytest

from asgi_infra.testing import LostRepliesContract
from asgi_infra.tokens.backends.sql import SQLTokenStore


class TestPostgreSQLWithFaults(LostRepliesContract):
    @pytest.fixture
    def upstream(self, postgres):
        return "127.0.0.1", postgres.port

    @pytest.fixture
    def store_factory_at(self, prefix):
        def make(host, port, **options):
            url = f"postgresql://postgres@{host}:{port}/postgres"
            return SQLTokenStore(url, timeout=1, table_prefix=prefix, **options)

        return make
