"""The contract, on one server in both layouts, and on a cluster."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

import pytest
from valkey_servers import ValkeyCluster, ValkeyServer

from asgi_infra.testing.tokens import LostRepliesContract, TokenStoreContract
from asgi_infra.tokens.backends.redis import RedisTokenStore


@pytest.fixture(scope="module")
def server():
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="module")
def cluster():
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture
def prefix():
    return f"test:{uuid4().hex[:12]}"


class TestRedisTokenStoreWithFields(TokenStoreContract):
    layout = "fields"

    @pytest.fixture
    def store_factory(self, server, prefix):
        return partial(RedisTokenStore, server.url(), prefix=prefix, layout=self.layout, timeout=20)

    @pytest.fixture
    def stored(self, server, prefix):
        async def stored():
            return server.contents(f"{prefix}:*")

        return stored


class TestRedisTokenStoreWithKeys(TestRedisTokenStoreWithFields):
    layout = "keys"


class TestRedisTokenStoreOnACluster(TokenStoreContract):
    @pytest.fixture
    def store_factory(self, cluster, prefix):
        return partial(RedisTokenStore, cluster.url(), prefix=prefix, timeout=20)

    @pytest.fixture
    def stored(self, cluster, prefix):
        async def stored():
            return b"\n".join(server.contents(f"{prefix}:*") for server in cluster.servers)

        return stored


class TestRedisTokenStoreWithFaults(LostRepliesContract):
    @pytest.fixture
    def upstream(self, server):
        return "127.0.0.1", server.port

    @pytest.fixture
    def store_factory(self, server, prefix):
        return partial(RedisTokenStore, server.url(), prefix=prefix)

    @pytest.fixture
    def store_factory_at(self, prefix):
        def make(host, port, **options):
            return RedisTokenStore(f"redis://{host}:{port}/0", prefix=prefix, timeout=0.5, **options)

        return make
