"""Options, ways to reach a server, and what is left behind on it."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import redis.asyncio
from valkey_servers import ValkeyCluster, ValkeyError, ValkeyServer

from asgi_infra.errors import ConfigurationError
from asgi_infra.tokens import (
    OutcomeUnknownError,
    RedisTokenStore,
    RotationStatus,
    StoredToken,
    StoreUnavailableError,
    open_token_store,
)

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)


@pytest.fixture
def anyio_backend():
    return "asyncio"


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


def issue(user="alice", **values):
    return StoredToken.issue(user, lifetime=values.pop("lifetime", DAY), **values)


async def works(store):
    async with store:
        token, successor = issue(), issue()
        await store.save(token)
        assert await store.get(token.jti) == token
        assert (await store.rotate(token.jti, successor)).status is RotationStatus.ROTATED
        return await store.revoke_all_for_user("alice") == 1


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": "a{b}"}, "prefix must be 1 to 64"),
        ({"prefix": ""}, "prefix must be 1 to 64"),
        ({"prefix": 1}, "prefix must be 1 to 64"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"pool_size": 0}, "pool_size must be at least 1"),
        ({"layout": "lists"}, "layout must be 'auto', 'fields' or 'keys', not 'lists'"),
        ({"pointers": "yes"}, "pointers must be True or False"),
        ({"durable": (2, 0)}, "durable must begin with 0 or 1"),
        ({"durable": (1,)}, "durable must be None or a pair"),
        ({"durable": (True, 1)}, "durable must be None or a pair"),
        ({"grace": -1}, "grace must be"),
    ],
)
def test_options_that_are_wrong_are_refused_by_name(options, message):
    with pytest.raises(ConfigurationError, match=message):
        RedisTokenStore("redis://localhost", **options)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@localhost",
        "redis://user:hunter2@localhost:port/0",
        "redis://user:hunter2@localhost/0?no_such_option=1",
        "redis://user:hunter2@localhost/0?socket_timeout=soon",
        "redis://user:hunter2@localhost/0?max_connections=4",
        "redis://user:hunter2@one,two",
        "redis+cluster://user:hunter2@one,two/3",
        "redis+sentinel://user:hunter2@one,two",
        "redis+other://user:hunter2@one",
        "redis://user:hunter2@localhost/notadb",
        "valkey://user:hunter2@localhost/notadb",
        "rediss://user:hunter2@localhost/1/2",
        "redis://user:hunter2@localhost/-1",
        "redis://user:hunter2@localhost?db=-1",
        "redis+sentinel://user:hunter2@one/shop/notadb",
        "REDIS+CLUSTER://user:hunter2@one,two/3",
    ],
)
def test_a_url_that_is_wrong_is_refused_without_being_shown(url):
    with pytest.raises(ConfigurationError) as caught:
        RedisTokenStore(url)
    assert str(caught.value).startswith("url ")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "redis://localhost/notadb",
            r"^url must have the number of a database after the host, such as /0, or nothing$",
        ),
        ("redis+clustr://one,two", r"\+unix may follow the name, not \+clustr; did you mean '\+cluster'\?$"),
        ("valkeys+tls://one", r"\+unix may follow the name, not \+tls$"),
    ],
)
def test_a_url_that_is_wrong_is_answered_with_what_is_right(url, message):
    with pytest.raises(ConfigurationError, match=message):
        RedisTokenStore(url)


def test_only_urls_and_clients_of_redis_py_are_taken():
    with pytest.raises(ConfigurationError, match=r"url must be a str, or a redis\.asyncio\.Redis"):
        RedisTokenStore(5)


def test_without_redis_py_the_extra_is_named():
    source = (
        "import sys; sys.modules['redis'] = None; from asgi_infra.tokens import *; RedisTokenStore('redis://localhost')"
    )
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert "MissingExtraError: 'redis' is not installed; it is needed for RedisTokenStore" in run.stderr


# Ways to reach a server


async def test_a_store_is_opened_by_the_schemes_of_both_names(server, prefix):
    for scheme in ("redis", "valkey"):
        assert await works(open_token_store(f"{scheme}://127.0.0.1:{server.port}/0", prefix=prefix))


async def test_a_database_of_a_url_is_used(server, prefix):
    async with RedisTokenStore(server.url(3), prefix=prefix) as store:
        await store.save(issue())
        assert server.keys(f"{prefix}:*") == []


async def test_a_database_that_the_server_does_not_have_is_told_at_once(server, prefix):
    store = RedisTokenStore(server.url(99), prefix=prefix, timeout=3600)
    with pytest.raises(StoreUnavailableError, match="no database of the number that url names") as caught:
        async with asyncio.timeout(20):
            await store.ping()
    assert not caught.value.retryable
    await store.aclose()


async def test_a_socket_is_reached(server, prefix):
    assert await works(RedisTokenStore(f"redis+unix://{server.socket}", prefix=prefix))
    assert await works(RedisTokenStore(f"unix://{server.socket}?db=1", prefix=prefix))


async def test_resp3_is_spoken_where_the_url_says_so(server, prefix):
    assert await works(RedisTokenStore(f"{server.url()}?protocol=3", prefix=prefix))


async def test_the_settings_of_a_client_are_taken_and_the_client_is_left_alone(server, prefix):
    async with redis.asyncio.Redis(port=server.port, db=2, decode_responses=True) as client:
        assert await works(RedisTokenStore(client, prefix=prefix))
        assert await client.ping()
        assert [key for key in await client.keys() if ":u:" in key] == []


async def test_a_client_of_a_cluster_is_taken(cluster, prefix):
    port = cluster.servers[0].port
    async with redis.asyncio.RedisCluster(host="127.0.0.1", port=port) as client:
        assert await works(RedisTokenStore(client, prefix=prefix))
        assert await client.ping()


async def test_one_node_of_a_cluster_is_enough_to_find_the_others(cluster, prefix):
    url = f"valkey+cluster://127.0.0.1:{cluster.servers[2].port}"
    async with RedisTokenStore(url, prefix=prefix) as store:
        tokens = [issue(f"user-{number}") for number in range(30)]
        await asyncio.gather(*(store.save(token) for token in tokens))
        assert await asyncio.gather(*(store.get(token.jti) for token in tokens)) == tokens
    assert all(server.keys(f"{prefix}:u:*") for server in cluster.servers)


async def test_sentinels_name_the_server_and_after_a_failover_the_other(prefix):
    with (
        ValkeyServer() as first,
        ValkeyServer(replicaof=f"127.0.0.1 {first.port}") as second,
        ValkeySentinel(first) as sentinel,
    ):
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/tokens/0"
        async with RedisTokenStore(url, prefix=prefix, timeout=30) as store:
            await store.save(issue())
            await eventually(sentinel.fails_over)
            await eventually(lambda: sentinel.master_port() == second.port)
            # The sentinel says so to the old one too, but takes ten seconds for it.
            first.call("REPLICAOF", "127.0.0.1", second.port)
            token = issue()
            await store.save(token)
            assert await store.get(token.jti) == token
            assert second.keys(f"{prefix}:u:*")


async def eventually(condition):
    for _ in range(600):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about")


class ValkeySentinel(ValkeyServer):
    """A sentinel that watches one server, as the service `tokens`."""

    def __init__(self, watched):
        super().__init__()
        configuration = self.directory / "sentinel.conf"
        configuration.write_text(f"sentinel monitor tokens 127.0.0.1 {watched.port} 1\n")
        self._first = [str(configuration), "--sentinel"]
        self._settings = {}

    def fails_over(self):
        try:
            return self.call("SENTINEL", "FAILOVER", "tokens") == b"OK"
        except ValkeyError:  # it has not yet learnt of the replica
            return False

    def master_port(self):
        return int(self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "tokens")[1])


async def test_a_service_that_no_sentinel_knows_is_an_error(server, prefix):
    with ValkeySentinel(server) as sentinel:
        store = RedisTokenStore(f"redis+sentinel://127.0.0.1:{sentinel.port}/others", prefix=prefix, timeout=0.3)
        with pytest.raises(StoreUnavailableError):
            await store.ping()
        await store.aclose()


# Event loops


def test_one_store_serves_event_loops_after_each_other(server, prefix):
    store = RedisTokenStore(server.url(), prefix=prefix)
    token = issue()

    async def save():
        await store.save(token)
        await store._calls().routing.close()

    async def read():
        found = await store.get(token.jti)
        await store.aclose()
        return found

    asyncio.run(save())
    assert asyncio.run(read()) == token


async def test_one_store_serves_event_loops_at_the_same_time(server, prefix):
    store = RedisTokenStore(server.url(), prefix=prefix)
    async with store:
        tokens = [issue(f"user-{number}") for number in range(6)]

        async def save(token):
            await store.save(token)
            assert await store.get(token.jti) == token
            await store._calls().routing.close()

        await asyncio.gather(*(asyncio.to_thread(asyncio.run, save(token)) for token in tokens))
        assert await asyncio.gather(*(store.get(token.jti) for token in tokens)) == tokens


# Set-up of the server


async def test_a_server_that_evicts_is_reported(caplog):
    with ValkeyServer(maxmemory="100mb", maxmemory_policy="allkeys-lru") as server, caplog.at_level(logging.WARNING):
        async with RedisTokenStore(server.url()):
            pass
    (record,) = [record for record in caplog.records if record.name == "asgi_infra.tokens"]
    assert "maxmemory-policy is allkeys-lru" in record.getMessage()
    assert "Set maxmemory-policy to noeviction" in record.getMessage()


async def test_a_server_that_does_not_evict_is_not_reported(server, caplog):
    with caplog.at_level(logging.WARNING, logger="asgi_infra.tokens"):
        async with RedisTokenStore(server.url()):
            pass
    assert caplog.records == []


async def test_what_ends_a_token_waits_for_the_disk_where_that_is_asked_for():
    with ValkeyServer(appendonly="yes", appendfsync="everysec") as server:
        async with RedisTokenStore(server.url(), durable=(1, 0), timeout=20) as store:
            token = issue()
            await store.save(token)
            assert await store.revoke(token.jti)
            await store.deny("jti", token.expires_at)
            calls = re.search(r"cmdstat_waitaof:calls=(\d+)", server.call("INFO", "commandstats").decode())
            assert int(calls[1]) >= 3
        async with RedisTokenStore(server.url(), durable=(0, 1), timeout=0.4) as store:
            with pytest.raises(OutcomeUnknownError, match="not yet on as many disks") as caught:
                await store.revoke_all_for_user("alice")
            assert caught.value.retryable


async def test_durable_needs_a_server_that_can_do_it(server):
    store = RedisTokenStore(server.url(), durable=(1, 0))
    with pytest.raises(StoreUnavailableError, match="appendonly yes") as caught:
        await store.open()
    assert not caught.value.retryable
    await store.aclose()


def test_scripts_are_part_of_the_package():
    package = Path(sys.modules[RedisTokenStore.__module__].__file__).parent
    assert {path.stem for path in (package / "lua").iterdir()} >= {"common", "fields", "keys", "insert", "rotate"}
