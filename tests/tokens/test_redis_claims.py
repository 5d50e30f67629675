"""Identifiers made elsewhere, one user's at a time: at every point where another save may come in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from valkey_servers import ValkeyServer

from asgi_infra.tokens import DuplicateTokenError, RedisTokenStore, RotationStatus, StoredToken
from asgi_infra.tokens.backends.redis.calls import Calls

pytestmark = pytest.mark.anyio
JTI = "made-elsewhere"
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


@pytest.fixture
def interrupted(monkeypatch):
    """Runs an operation, and others before its steps of some numbers or after the last; tells how many there were."""

    async def run(operation, interruptions):
        left = dict(interruptions)
        task = asyncio.current_task()
        steps = 0

        def patched(original):
            async def call(self, *arguments, **options):
                nonlocal steps
                if asyncio.current_task() is task:
                    steps += 1
                    if steps in left:
                        await asyncio.create_task(left.pop(steps))
                return await original(self, *arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("run", "command", "read"):
                patch.setattr(Calls, name, patched(getattr(Calls, name)))
            result = await operation
        for other in left.values():
            await other
        return result, steps

    return run


def issue(user="alice", **values):
    return StoredToken.issue(user, lifetime=values.pop("lifetime", timedelta(days=1)), **values)


async def saved(store, user):
    try:
        await store.save(issue(user, jti=JTI))
    except DuplicateTokenError:
        return False
    return True


async def rotated(store, user, old):
    try:
        rotation = await store.rotate(old.jti, issue(user, jti=JTI))
    except DuplicateTokenError:
        assert await store.get(old.jti) == old
        return False
    assert rotation.status is RotationStatus.ROTATED
    return True


async def users_of(store, users=("alice", "bob", "carol")):
    owners = [user for user in users if await store.get(JTI, user_id=user) is not None]
    found = await store.get(JTI)
    assert owners == ([] if found is None else [found.user_id])
    return owners


async def prepared(store, before):
    """Bring about what the pointer may say before."""
    if before is not None:
        await store.save(issue(before, jti=JTI))
        assert await store.revoke(JTI)


@LAYOUTS
@pytest.mark.parametrize("before", [None, "alice", "bob", "carol"])
@pytest.mark.parametrize("kind", ["save", "rotate"])
async def test_wherever_another_user_comes_in_between_one_of_the_two_succeeds(
    server, prefix, layout, before, kind, interrupted
):
    step, steps = 0, 1
    while step < steps:
        step += 1
        async with RedisTokenStore(server.url(), prefix=f"{prefix}:{step}", layout=layout) as store:
            old = issue()
            await store.save(old)
            await prepared(store, before)
            outcome = []

            async def other(store=store, outcome=outcome):
                outcome.append(await saved(store, "bob"))

            operation = saved(store, "alice") if kind == "save" else rotated(store, "alice", old)
            succeeded, steps = await interrupted(operation, {step: other()})
            assert outcome == [not succeeded]
            assert await users_of(store) == ["alice" if succeeded else "bob"]
    assert step >= 3


@LAYOUTS
async def test_wherever_two_other_users_come_in_between_one_of_the_three_succeeds(server, prefix, layout, interrupted):
    for first in range(1, 7):
        for second in range(first + 1, 8):
            async with RedisTokenStore(server.url(), prefix=f"{prefix}:{first}:{second}", layout=layout) as store:
                await prepared(store, "dora")
                outcome = []

                async def other(user, store=store, outcome=outcome):
                    outcome.append(await saved(store, user))

                interruptions = {first: other("bob"), second: other("carol")}
                succeeded, _ = await interrupted(saved(store, "alice"), interruptions)
                assert [succeeded, *outcome].count(True) == 1
                assert len(await users_of(store)) == 1


@LAYOUTS
async def test_the_same_user_twice_at_once_has_one_token(server, prefix, layout, interrupted):
    for step in range(1, 5):
        async with RedisTokenStore(server.url(), prefix=f"{prefix}:{step}", layout=layout) as store:
            outcome = []

            async def other(store=store, outcome=outcome):
                outcome.append(await saved(store, "alice"))

            succeeded, _ = await interrupted(saved(store, "alice"), {step: other()})
            assert outcome == [not succeeded]
            assert await users_of(store) == ["alice"]


@LAYOUTS
async def test_one_rotation_asked_for_many_times_at_once_is_done_for_all(server, prefix, layout):
    async with RedisTokenStore(server.url(), prefix=prefix, layout=layout) as store:
        for number in range(5):
            old, new = issue(), issue(jti=f"{JTI}-{number}")
            await store.save(old)
            rotations = await asyncio.gather(*(store.rotate(old.jti, new) for _ in range(8)))
            assert {rotation.status for rotation in rotations} == {RotationStatus.ROTATED}
            assert await store.get(new.jti) == rotations[0].token


@LAYOUTS
async def test_who_is_refused_leaves_no_claim(server, prefix, layout):
    async with RedisTokenStore(server.url(), prefix=prefix, layout=layout) as store:
        assert [await saved(store, user) for user in ("alice", "bob", "alice")] == [True, False, False]
        assert server.keys(f"{prefix}:c:*") == []


async def test_a_claim_that_was_given_up_goes_away_and_is_in_nobodys_way(server, prefix, interrupted):
    async def give_up():
        raise ZeroDivisionError

    async with RedisTokenStore(server.url(), prefix=prefix) as store:
        with pytest.raises(ZeroDivisionError):
            await interrupted(store.save(issue(jti=JTI)), {3: give_up()})
        (claim,) = server.keys(f"{prefix}:c:*")
        assert 0 < server.call("PTTL", claim) <= 600_000
        assert await saved(store, "bob")
        assert server.keys(f"{prefix}:c:*") == []
        assert await users_of(store) == ["bob"]
