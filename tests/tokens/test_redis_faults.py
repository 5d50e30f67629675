"""What becomes of operations when servers, ways and clients fail."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from valkey_servers import ValkeyCluster, ValkeyServer

from asgi_infra.testing import CuttingProxy
from asgi_infra.tokens import (
    CorruptRecordError,
    OutcomeUnknownError,
    RotationStatus,
    StoreClosedError,
    StoredToken,
    StoreFullError,
    StoreUnavailableError,
)
from asgi_infra.tokens.backends.redis import RedisTokenStore
from asgi_infra.tokens.identifiers import Hashing, route_of

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
    with ValkeyCluster(cluster_require_full_coverage="no") as cluster:
        yield cluster


@pytest.fixture
def own_server():
    with ValkeyServer(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def prefix():
    return f"test:{uuid4().hex[:12]}"


def issue(user="alice", **values):
    return StoredToken.issue(user, lifetime=DAY, **values)


async def test_scripts_are_sent_again_when_the_server_has_forgotten_them(server, prefix):
    async with RedisTokenStore(server.url(), prefix=prefix) as store:
        token, successor = issue(), issue()
        for operation in (store.save(token), store.get(token.jti), store.rotate(token.jti, successor), store.ping()):
            server.call("SCRIPT", "FLUSH")
            await operation
        server.call("SCRIPT", "FLUSH")
        assert await store.revoke_all_for_user("alice") == 1


@pytest.mark.parametrize("layout", ["fields", "keys"])
async def test_what_was_acknowledged_survives_a_crash_and_a_restart(own_server, layout):
    async with RedisTokenStore(own_server.url(), layout=layout, durable=(1, 0), timeout=20) as store:
        kept, revoked = issue(), issue()
        await store.save(kept)
        await store.save(revoked)
        assert await store.revoke(revoked.jti)
        own_server.kill()
        restarting = asyncio.get_running_loop().run_in_executor(None, own_server.start)
        assert await store.get(kept.jti) == kept
        assert await store.get(revoked.jti) is None
        await restarting
        # An idle connection that died with the server is not what a save is sent to.
        await store.save(issue())


async def test_a_server_that_is_away_is_an_error_within_the_time_and_names_no_password(prefix):
    with ValkeyServer() as server:
        address = f"redis://:a-secret@127.0.0.1:{server.port}/0"
    store = RedisTokenStore(address, prefix=prefix, timeout=0.3)
    with pytest.raises(StoreUnavailableError, match=r"could not be reached in 0.3 s; nothing was changed") as caught:
        await store.save(issue())
    assert caught.value.retryable
    assert "a-secret" not in repr(caught.value) + repr(caught.value.__cause__) + repr(store)
    await store.aclose()


async def test_a_password_that_is_wrong_is_refused_at_once(prefix):
    with ValkeyServer(requirepass="right") as server:
        store = RedisTokenStore(f"redis://:wrong@127.0.0.1:{server.port}/0", prefix=prefix, timeout=600)
        with pytest.raises(StoreUnavailableError, match="refused") as caught:
            await store.ping()
        assert not caught.value.retryable
        await store.aclose()


async def test_a_server_that_does_not_answer_leaves_the_outcome_of_a_save_open_and_is_given_up_in_time():
    with ValkeyServer() as server:
        async with RedisTokenStore(server.url(), timeout=0.5, pointers=False) as store:
            token = issue()
            server.pause()
            try:
                with pytest.raises(OutcomeUnknownError) as caught:
                    await store.save(token)
                assert not caught.value.retryable
                with pytest.raises(StoreUnavailableError) as read:
                    await store.get(token.jti)
                assert read.value.retryable
                # Now no connection is left that the server has answered on.
                with pytest.raises(StoreUnavailableError, match="nothing was changed"):
                    await store.revoke(token.jti)
            finally:
                server.resume()
            assert await store.revoke_all_for_user("alice") in (0, 1)
            await store.save(issue())


@pytest.mark.parametrize("cut", ["cut_request", "cut_reply"])
async def test_a_rotation_that_is_cut_in_the_middle_has_one_successor(server, prefix, cut):
    async with CuttingProxy("127.0.0.1", server.port) as proxy:
        store = RedisTokenStore(f"redis://127.0.0.1:{proxy.port}/0", prefix=prefix, timeout=10, pointers=False)
        async with store:
            for _ in range(20):
                token, successor = issue(), issue()
                await store.save(token)
                getattr(proxy, cut)()
                rotation = await store.rotate(token.jti, successor, user_id="alice")
                assert rotation.status is RotationStatus.ROTATED
                assert [each.metadata for each in await store.list_for_user("alice")] == [successor.metadata]
                assert await store.get(successor.jti) == rotation.token
                assert await store.revoke_all_for_user("alice") == 1


async def test_a_pool_with_nothing_free_is_an_error_that_names_it(server, prefix):
    async with CuttingProxy("127.0.0.1", server.port) as proxy:
        store = RedisTokenStore(
            f"redis://127.0.0.1:{proxy.port}/0", prefix=prefix, timeout=0.5, pool_size=1, pointers=False
        )
        async with store:
            proxy.stall()
            calls = [asyncio.create_task(store.revoke_all_for_user(f"user-{number}")) for number in range(3)]
            errors = await asyncio.gather(*calls, return_exceptions=True)
            proxy.resume()
            assert isinstance(errors[0], OutcomeUnknownError)
            assert errors[0].retryable
            assert all(isinstance(error, StoreUnavailableError) for error in errors[1:])
            assert all("pool_size is 1" in str(error) for error in errors[1:])
            await store.ping()


async def test_many_callers_wait_for_few_connections(server, prefix):
    async with RedisTokenStore(server.url(), prefix=prefix, pool_size=2, timeout=60) as store:
        tokens = [issue(f"user-{number % 7}") for number in range(300)]
        await asyncio.gather(*(store.save(token) for token in tokens))
        assert await asyncio.gather(*(store.get(token.jti) for token in tokens)) == tokens
        assert len(server.call("CLIENT", "LIST").splitlines()) <= 4


async def test_cancelled_callers_leave_no_answer_to_others(server, prefix):
    async with CuttingProxy("127.0.0.1", server.port) as proxy:
        store = RedisTokenStore(f"redis://127.0.0.1:{proxy.port}/0", prefix=prefix, timeout=30, pool_size=2)
        async with store:
            tokens = [issue(f"user-{number}") for number in range(8)]
            await asyncio.gather(*(store.save(token) for token in tokens))
            for pause in (0, 0, 0.001, 0.002, 0.005):
                proxy.delay = 0.003
                given_up = [asyncio.create_task(store.get(token.jti)) for token in tokens[:4]]
                given_up += [asyncio.create_task(store.list_for_user(token.user_id)) for token in tokens[:4]]
                patient = [asyncio.create_task(store.get(token.jti)) for token in tokens[4:]]
                await asyncio.sleep(pause)
                for task in given_up:
                    task.cancel()
                await asyncio.gather(*given_up, return_exceptions=True)
                assert await asyncio.gather(*patient) == tokens[4:]
                proxy.delay = 0
                for token in tokens:
                    assert [each.issued_at for each in await store.list_for_user(token.user_id)] == [token.issued_at]


async def test_reads_in_one_tick_share_a_round_trip_and_a_failure_reaches_each(server, prefix):
    async with CuttingProxy("127.0.0.1", server.port) as proxy:
        store = RedisTokenStore(f"redis://127.0.0.1:{proxy.port}/0", prefix=prefix, timeout=0.5)
        async with store:
            tokens = [issue(f"user-{number}") for number in range(200)]
            await asyncio.gather(*(store.save(token) for token in tokens))
            server.call("CONFIG", "RESETSTAT")
            assert await asyncio.gather(*(store.get(token.jti) for token in tokens)) == tokens
            stats = server.call("INFO", "commandstats").decode()
            assert "cmdstat_evalsha:calls=1," in stats or "cmdstat_eval:calls=1," in stats
            proxy.stall()
            errors = await asyncio.gather(*(store.get(token.jti) for token in tokens), return_exceptions=True)
            assert [type(error) for error in errors] == [StoreUnavailableError] * 200
            assert len({id(error) for error in errors}) == 200
            proxy.resume()
            assert await store.get(tokens[0].jti) == tokens[0]


async def test_what_something_else_wrote_is_an_error_and_revoking_goes_on(server, prefix):
    async with RedisTokenStore(server.url(), prefix=prefix, layout="fields") as store:
        token = issue()
        await store.save(token)
        key = f"{prefix}:u:{{{route_of('alice')}}}"
        for junk in (b"junk", b"", b"L" + bytes(200), b"L" * 300, b"U" + b"\xff" * 300, b"U" * 30):
            server.call("HSETEX", key, "PX", 10**7, "FIELDS", 1, Hashing().digest("junk"), junk)
            if not junk.startswith(b"U"):
                with pytest.raises(CorruptRecordError, match="can't be read"):
                    await store.get("junk", user_id="alice")
                with pytest.raises(CorruptRecordError):
                    await store.list_for_user("alice")
            assert await store.get(token.jti) == token
            successor = token.successor()
            assert (await store.rotate(token.jti, successor)).ok
            token = successor
        assert await store.revoke_family((await store.get(token.jti)).family_id, user_id="alice") == 1
        server.call("DEL", key)
        server.call("SET", key, "a string")
        for operation in (
            store.get(token.jti),
            store.list_for_user("alice"),
            store.revoke(token.jti),
            store.save(issue()),
        ):
            with pytest.raises(CorruptRecordError):
                await operation


async def test_a_full_server_says_so_and_still_revokes(prefix):
    with ValkeyServer() as server:
        async with RedisTokenStore(server.url(), prefix=prefix) as store:
            token = issue()
            await store.save(token)
            server.call("CONFIG", "SET", "maxmemory", 1)
            with pytest.raises(StoreFullError, match="maxmemory"):
                await store.save(issue())
            assert await store.get(token.jti) == token
            assert await store.revoke(token.jti)
            assert await store.revoke_all_for_user("alice") == 0


class TestOnACluster:
    async def test_a_slot_that_moves_takes_its_tokens_along(self, cluster, prefix):
        async with RedisTokenStore(cluster.url(), prefix=prefix, timeout=20) as store:
            token = issue()
            await store.save(token)
            key = f"{prefix}:u:{{{route_of('alice')}}}"
            source = cluster.server_of(key)
            target = next(server for server in cluster.servers if server is not source)
            slot = source.call("CLUSTER", "KEYSLOT", key)
            target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.identity(source))
            source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.identity(target))
            # What is still here is changed here; what is not, there.
            successor = issue()
            assert (await store.rotate(token.jti, successor)).status is RotationStatus.ROTATED
            source.call("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
            assert (await store.get(successor.jti)).jti == successor.jti
            last = issue()
            assert (await store.rotate(successor.jti, last)).status is RotationStatus.ROTATED
            for server in (target, source, *cluster.servers):
                server.call("CLUSTER", "SETSLOT", slot, "NODE", cluster.identity(target))
            assert (await store.get(last.jti)).jti == last.jti
            assert await store.revoke_all_for_user("alice") == 1
            assert target.call("EXISTS", key) == 0

    async def test_scripts_are_sent_again_to_each_node(self, cluster, prefix):
        async with RedisTokenStore(cluster.url(), prefix=prefix, timeout=20) as store:
            for server in cluster.servers:
                server.call("SCRIPT", "FLUSH")
            tokens = [issue(f"user-{number}") for number in range(12)]
            for token in tokens:
                await store.save(token)
            assert [await store.revoke(token.jti) for token in tokens] == [True] * 12

    async def test_a_node_that_dies_takes_only_its_users_with_it_and_they_come_back(self, cluster, prefix):
        async with RedisTokenStore(cluster.url(), prefix=prefix, timeout=1, pointers=False) as store:
            tokens = {}
            for number in range(40):
                token = issue(f"user-{number}")
                owner = cluster.server_of(f"{prefix}:u:{{{route_of(token.user_id)}}}")
                await store.save(token)
                tokens.setdefault(owner.port, token)
            dead = cluster.servers[0]
            dead.kill()
            with pytest.raises(StoreUnavailableError):
                await store.get(tokens[dead.port].jti)
            for port, token in tokens.items():
                if port != dead.port:
                    assert await store.get(token.jti) == token
            dead.start()
            cluster.wait_until_ok()
            await store.save(issue(tokens[dead.port].user_id))

    async def test_nodes_that_send_each_other_every_call_are_given_up_in_time(self, cluster, prefix):
        async with RedisTokenStore(cluster.url(), prefix=prefix, timeout=0.5, pointers=False) as store:
            await store.ping()
            key = f"{prefix}:u:{{{route_of('alice')}}}"
            owner = cluster.server_of(key)
            other, third = (server for server in cluster.servers if server is not owner)
            slot = owner.call("CLUSTER", "KEYSLOT", key)
            owner.call("CLUSTER", "SETSLOT", slot, "NODE", cluster.identity(other))
            other.call("CLUSTER", "SETSLOT", slot, "NODE", cluster.identity(third))
            try:
                with pytest.raises(StoreUnavailableError, match="refused"):
                    await store.save(issue())
            finally:
                for server in cluster.servers:
                    server.call("CLUSTER", "SETSLOT", slot, "NODE", cluster.identity(owner))


async def test_an_operation_that_is_between_two_steps_at_the_end_opens_nothing_new(server, prefix, monkeypatch):
    store = RedisTokenStore(server.url(), prefix=prefix, touch_interval=0)
    token = issue()
    await store.save(token)
    find = store._find

    async def find_and_close(*arguments):
        record = await find(*arguments)
        await store.aclose()
        return record

    monkeypatch.setattr(store, "_find", find_and_close)
    with pytest.raises(StoreClosedError):
        await store.touch(token.jti)
    assert len(store._sessions) == 0
