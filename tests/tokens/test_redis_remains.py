"""What a store leaves behind on the server: how much, for how long, and what it tells."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from uuid import uuid4

import anyio
import pytest
from valkey_servers import ValkeyServer

from asgi_infra.testing import ManualClock
from asgi_infra.tokens import RedisTokenStore, RotationStatus, StoredToken
from asgi_infra.tokens.identifiers import route_of

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)
LAYOUTS = pytest.mark.parametrize("layout", ["fields", "keys"])


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def server():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def prefix():
    return f"test:{uuid4().hex[:12]}"


def issue(user="alice", **values):
    return StoredToken.issue(user, lifetime=values.pop("lifetime", DAY), **values)


@LAYOUTS
async def test_no_key_is_left_when_all_tokens_have_expired(layout):
    with ValkeyServer() as server:
        async with RedisTokenStore(server.url(), layout=layout, leeway=0, grace=0, generation_lifetime=0.3) as store:
            brief = timedelta(milliseconds=300)
            for user in range(10):
                for number in range(5):
                    made_elsewhere = f"jti-{user}-{number}" if number % 2 else None
                    await store.save(issue(f"user-{user}", lifetime=brief, jti=made_elsewhere))
            await store.deny("denied", issue(lifetime=brief).expires_at)
            await store.generation("alice")
            kinds = {key.split(b":")[2] for key in server.call("KEYS", "*")}
            assert kinds == {b"u", b"p", b"d", b"g"} | ({b"i"} if layout == "keys" else set())
            for _ in range(600):
                left = server.call("KEYS", "*")
                if not left:
                    break
                await asyncio.sleep(0.05)
            assert left == []


@LAYOUTS
async def test_used_tokens_are_gone_when_their_time_is_over(server, prefix, layout, monkeypatch):
    monkeypatch.setattr("asgi_infra.tokens.options._RETRY_SECONDS", 0.2)
    async with RedisTokenStore(server.url(), prefix=prefix, layout=layout, grace=0) as store:
        token = issue()
        await store.save(token)
        for _ in range(100):
            successor = token.successor()
            assert (await store.rotate(token.jti, successor)).ok
            token = successor
        await asyncio.sleep(0.3)
        last = token.successor()
        await store.rotate(token.jti, last)
        await asyncio.sleep(0.3)
        if layout == "keys":  # tidied by the next change
            await store.save(issue())
        key = f"{prefix}:u:{{{route_of('alice')}}}"
        fields = server.call("HGETALL", key)
        assert len(fields[::2]) == (2 if layout == "keys" else 1)
        assert (await store.rotate(token.jti, issue())).status is RotationStatus.REUSED


@LAYOUTS
async def test_nothing_that_is_stored_tells_an_identifier(server, prefix, layout):
    async with RedisTokenStore(server.url(), prefix=prefix, layout=layout, key=b"k" * 32) as store:
        tokens = [issue(), issue(jti="made-elsewhere-1"), issue("bob")]
        for token in tokens:
            await store.save(token)
        successor = tokens[0].successor()
        await store.rotate(tokens[0].jti, successor)
        await store.deny("a-denied-jti", successor.expires_at)
        stored = server.contents(f"{prefix}:*")
        assert tokens[2].family_id.encode() in stored
        for jti in (*(token.jti for token in tokens), successor.jti, "a-denied-jti"):
            for part in jti.split("."):
                assert part == route_of("alice") or part == route_of("bob") or part.encode() not in stored


async def test_tokens_take_little_memory():
    with ValkeyServer() as server:
        async with RedisTokenStore(server.url(), timeout=60) as store:
            await store.ping()
            # A rehearsal, so that what the server allocates once does not count.
            await _fill(store, "rehearsal", 100)
            server.call("FLUSHALL", "SYNC")
            before = server.used_memory()
            size = await _fill(store, "user", 300)
            per_token = (server.used_memory() - before) / 3000
            assert 180 < size < 330
            assert 50 < per_token < 260


async def _fill(store, name, users):
    tokens = [issue(f"{name}-{number}", metadata={"device": "phone"}) for number in range(users) for _ in range(10)]
    for start in range(0, len(tokens), 500):
        await asyncio.gather(*(store.save(token) for token in tokens[start : start + 500]))
    return len(json.dumps(tokens[0].to_dict()))


@LAYOUTS
async def test_all_of_a_user_with_very_many_tokens_go_in_one_step(server, prefix, layout):
    async with RedisTokenStore(server.url(), prefix=prefix, layout=layout, pointers=False, timeout=60) as store:
        tokens = [issue() for _ in range(1500)]
        await asyncio.gather(*(store.save(token) for token in tokens))
        await store.rotate(tokens[0].jti, issue())
        assert await store.revoke_all_for_user("alice", except_jti=tokens[7].jti) in (1499, 1500)
        assert [token.issued_at for token in await store.list_for_user("alice")] == [tokens[7].issued_at]
        assert (await store.rotate(tokens[7].jti, issue())).ok
        assert await store.revoke_all_for_user("alice") == 1
        assert server.keys(f"{prefix}:*") == []


@LAYOUTS
async def test_of_a_user_with_very_many_tokens_the_one_that_is_kept_stays_whole(server, prefix, layout):
    async with RedisTokenStore(server.url(), prefix=prefix, layout=layout, pointers=False, timeout=60) as store:
        await asyncio.gather(*(store.save(issue()) for _ in range(1100)))
        used = [issue() for _ in range(3)]
        for token in used:
            await store.save(token)
        kept = issue()
        for old, new in zip(used[:2], (used[2].successor(), kept), strict=True):
            assert (await store.rotate(old.jti, new)).ok
        for excepted, left in ((kept, 1), (used[1], 0)):
            assert await store.revoke_all_for_user("alice", except_jti=excepted.jti) >= left
            assert [token.issued_at for token in await store.list_for_user("alice")] == [kept.issued_at]
            again = await store.rotate(used[1].jti, issue())
            assert (again.status, again.token.jti) == (RotationStatus.SUPERSEDED, kept.jti)
            assert (await store.rotate(used[0].jti, issue())).status is RotationStatus.UNKNOWN


async def test_a_server_that_learns_to_expire_fields_takes_over_what_is_there(server, prefix):
    brief, long = issue(lifetime=timedelta(seconds=100)), issue(lifetime=timedelta(days=2))
    async with RedisTokenStore(server.url(), prefix=prefix, layout="keys") as store:
        await store.save(brief)
        await store.save(long)
    async with RedisTokenStore(server.url(), prefix=prefix, layout="fields", pointers=False) as store:
        last = issue(lifetime=timedelta(days=30))
        await store.save(last)
        assert await asyncio.gather(*(store.get(token.jti) for token in (brief, long, last))) == [brief, long, last]
        key = f"{prefix}:u:{{{route_of('alice')}}}"
        assert server.call("PTTL", key) == -1
        fields = server.call("HKEYS", key)
        ttls = sorted(server.call("HTTL", key, "FIELDS", len(fields), *fields))
        assert [ttl > most - 100 for ttl, most in zip(ttls, (100, 2 * 86400, 30 * 86400), strict=True)] == [True] * 3
        assert ttls[0] <= 100


async def test_without_pointers_the_user_must_be_named(server, prefix):
    async with RedisTokenStore(server.url(), prefix=prefix, pointers=False) as store:
        here, elsewhere = issue(), issue(jti="made-elsewhere")
        await store.save(here)
        await store.save(elsewhere)
        assert await store.get(here.jti) == here
        assert await store.get("made-elsewhere") is None
        assert await store.get("made-elsewhere", user_id="alice") == elsewhere
        given = issue(family_id="a-name-that-was-given")
        await store.save(given)
        assert await store.revoke_family(here.family_id) == 1
        assert await store.revoke_family(given.family_id) == 0
        assert await store.revoke_family(given.family_id, user_id="alice") == 1
        assert all(b":u:" in key for key in server.keys(f"{prefix}:*"))


async def test_a_family_is_found_by_its_name_however_often_it_was_rotated(server, prefix):
    clock = ManualClock()
    async with RedisTokenStore(server.url(), prefix=prefix, clock=clock) as store:
        token, given = issue(clock=clock), issue(clock=clock, family_id="a-name-that-was-given")
        await store.save(token)
        await store.save(given)
        for _ in range(5):
            clock.advance(3600)
            token, last = token.successor(clock=clock), token
            assert (await store.rotate(last.jti, token)).ok
            given, last = given.successor(lifetime=DAY * 3, clock=clock), given
            assert (await store.rotate(last.jti, given)).ok
        (bucket,) = server.keys(f"{prefix}:p:*")  # only the name that was given needs a note
        (field,) = server.call("HKEYS", bucket)
        left = server.call("HTTL", bucket, "FIELDS", 1, field)[0]
        assert 2 * 86400 < left <= 30 * 86400
        assert await store.revoke_family(token.family_id) == 1
        assert await store.revoke_family(given.family_id) == 1


async def test_no_key_outlives_the_tokens(server, prefix):
    async with RedisTokenStore(server.url(), prefix=prefix, grace=0) as store:
        for number in range(20):
            await store.save(issue(f"user-{number}", lifetime=timedelta(seconds=1)))
            await store.save(issue(f"user-{number}", lifetime=timedelta(seconds=1), jti=f"made-elsewhere-{number}"))
        assert len(server.keys(f"{prefix}:*")) > 20
        with anyio.fail_after(20):
            while server.keys(f"{prefix}:*"):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)


async def test_the_handles_that_listing_tells_name_the_place(server, prefix):
    async with RedisTokenStore(server.url(), prefix=prefix, pointers=False) as store:
        token = issue()
        await store.save(token)
        (listed,) = await store.list_for_user("alice")
        assert listed.jti.startswith("~")
        assert await store.get(listed.jti) is None
        assert await store.touch(listed.jti)
        assert await store.revoke(listed.jti)
        assert await store.get(token.jti) is None
