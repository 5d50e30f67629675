# ruff: noqa: S101, S311
"""Many callers at once, in one process: one winner, and nothing revoked comes back."""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asgi_infra.testing.tokens.base import ALICE, StoreTests, live
from asgi_infra.tokens import DuplicateTokenError, RotationStatus, StoredToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import Rotation, TokenStore


async def together(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Start all calls at once, and return what they returned."""
    results: list[Any] = [None] * len(calls)

    async def run(number: int, call: Callable[[], Awaitable[Any]]) -> None:
        results[number] = await call()

    async with anyio.create_task_group() as group:
        for number, call in enumerate(calls):
            group.start_soon(run, number, call)
    return results


def assert_one_winner(rotations: list[Rotation]) -> StoredToken:
    """Check that one rotation won, and that all the others were told its successor, which is returned."""
    statuses = Counter(rotation.status for rotation in rotations)
    assert statuses == {
        RotationStatus.ROTATED: 1,
        **({RotationStatus.SUPERSEDED: len(rotations) - 1} if len(rotations) > 1 else {}),
    }
    assert len({rotation.token for rotation in rotations}) == 1
    token = rotations[0].token
    assert token is not None
    return token


class Races(StoreTests):
    """Tasks of one event loop, on one store."""

    racers: ClassVar[int] = 64
    race_rounds: ClassVar[int] = 5
    interleavings: ClassVar[int] = 25

    @pytest.mark.parametrize("by", ["token", "function"])
    async def test_of_many_rotations_of_one_token_one_wins_and_all_get_its_successor(
        self, store: TokenStore, issue: Issue, clock: ManualClock, by: str
    ) -> None:
        token = issue()
        await store.save(token)
        for _ in range(self.race_rounds):

            def call(jti: str = token.jti) -> Awaitable[Rotation]:
                return store.rotate(jti, issue() if by == "token" else lambda old: old.successor(clock=clock))

            successor = assert_one_winner(await together(*[call] * self.racers))
            assert await store.get(successor.jti) == successor
            assert len(await store.list_for_user(ALICE)) == 1
            token = successor

    async def test_the_same_call_many_times_at_once_is_one_rotation(self, store: TokenStore, issue: Issue) -> None:
        token = issue()
        await store.save(token)
        for _ in range(self.race_rounds):
            successor = issue()

            def call(jti: str = token.jti, new: StoredToken = successor) -> Awaitable[Rotation]:
                return store.rotate(jti, new)

            rotations = await together(*[call] * 16)
            assert {rotation.status for rotation in rotations} == {RotationStatus.ROTATED}
            assert len({rotation.token for rotation in rotations}) == 1
            assert len(await store.list_for_user(ALICE)) == 1
            token = successor

    async def test_of_many_saves_of_one_jti_one_succeeds(self, store: TokenStore, issue: Issue) -> None:
        for jti in (issue().jti, "made-elsewhere"):
            tokens = [issue(jti=jti, metadata={"number": number}) for number in range(16)]

            async def save(token: StoredToken) -> StoredToken | None:
                try:
                    await store.save(token)
                except DuplicateTokenError:
                    return None
                return token

            saved = await together(*[partial(save, token) for token in tokens])
            winners = [token for token in saved if token is not None]
            assert len(winners) == 1
            assert await store.get(jti) == winners[0]

    async def test_nobody_ever_has_more_tokens_than_allowed(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(max_sessions=3)
        for _ in range(self.race_rounds):
            clock.advance(1)
            tokens = [issue() for _ in range(16)]
            counts: list[int] = []

            async def save(token: StoredToken, counts: list[int] = counts) -> None:
                await store.save(token)
                counts.append(len(await store.list_for_user(ALICE)))

            await together(*[partial(save, token) for token in tokens])
            assert max(counts) <= 3
            assert sum(await live(store, *tokens)) == 3
        stats = await store.stats()
        assert stats.evicted == stats.saved - 3

    async def test_revoking_all_of_a_user_takes_every_token_that_was_saved_before(
        self, store: TokenStore, issue: Issue
    ) -> None:
        for _ in range(self.race_rounds):
            before, during = [issue() for _ in range(4)], [issue() for _ in range(8)]
            for token in before:
                await store.save(token)
            calls: list[Callable[[], Awaitable[Any]]] = [partial(store.save, token) for token in during]
            calls[4:4] = [partial(store.revoke_all_for_user, ALICE)]
            revoked = (await together(*calls))[4]
            left = await store.list_for_user(ALICE)
            assert not any(await live(store, *before))
            assert revoked + len(left) == len(before) + len(during)
            assert await store.revoke_all_for_user(ALICE) == len(left)

    async def test_of_many_revocations_of_one_token_one_revokes(self, store: TokenStore, issue: Issue) -> None:
        for _ in range(self.race_rounds):
            token = issue()
            await store.save(token)
            calls: list[Callable[[], Awaitable[int]]] = [
                partial(store.revoke, token.jti),
                partial(store.revoke_family, token.family_id),
                partial(store.revoke_all_for_user, ALICE),
            ]
            assert sum(await together(*calls * 4)) == 1

    async def test_a_user_gets_one_generation_from_many_calls(self, store: TokenStore) -> None:
        generations = await together(*[lambda: store.generation(ALICE)] * 16)
        assert len(set(generations)) == 1
        renewed = await together(*[lambda: store.renew_generation(ALICE)] * 8)
        assert not await store.is_current(ALICE, generations[0])
        assert sum([await store.is_current(ALICE, each) for each in renewed]) == 1

    async def test_nothing_revoked_comes_back_whatever_the_order(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(touch_interval=0)
        for seed in range(self.interleavings):
            random = Random(seed)
            user_id = f"user-{seed}"
            tokens = [issue(user_id, jti=random.choice([None, f"made-elsewhere-{seed}-{n}"])) for n in range(3)]
            for token in tokens:
                await store.save(token)
            doomed = tokens[: random.randint(1, 3)]
            everything = random.random() < 0.3
            calls: list[Callable[[], Awaitable[Any]]] = [
                partial(_use, store, token, Random(random.random()), clock) for token in tokens * 3
            ]
            calls += [partial(_end, store, token, Random(random.random())) for token in doomed]
            if everything:
                calls.append(partial(store.revoke_all_for_user, user_id))
                doomed = tokens
            random.shuffle(calls)
            made = await together(*calls)
            clock.advance(1)
            families = {token.family_id for token in doomed}
            left = await store.list_for_user(user_id)
            assert len(left) == len(tokens) - len(doomed), f"seed {seed}"
            assert not families & {token.family_id for token in left}, f"seed {seed}"
            for token in [*doomed, *(token for some in made if isinstance(some, list) for token in some)]:
                if token.family_id in families:
                    assert await store.get(token.jti) is None, f"seed {seed}"
                    assert not await store.touch(token.jti), f"seed {seed}"


async def _use(store: TokenStore, token: StoredToken, random: Random, clock: ManualClock) -> list[StoredToken]:
    """Do what a client does: touch and rotate, from token to token."""
    made = [token]
    for _ in range(random.randint(1, 4)):
        for _ in range(random.randint(0, 3)):
            await checkpoint()
        if random.random() < 0.4:
            await store.touch(made[-1].jti)
            continue
        rotation = await store.rotate(made[-1].jti, lambda old: old.successor(clock=clock))
        if rotation.token is None:
            break
        made.append(rotation.token)
    return made


async def _end(store: TokenStore, token: StoredToken, random: Random) -> None:
    """Revoke a token that others are rotating, in one of the ways there are."""
    for _ in range(random.randint(0, 6)):
        await checkpoint()
    if random.random() < 0.5:
        await store.revoke_family(token.family_id)
    else:
        await store.revoke(token.jti)
    assert await store.get(token.jti) is None
