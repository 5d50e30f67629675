# ruff: noqa: S101
"""Several stores on the same data, in one process and in two."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import anyio.to_thread
import pytest

from asgi_infra.testing.clock import ManualClock
from asgi_infra.testing.tokens.base import ALICE, StoreTests, live
from asgi_infra.testing.tokens.races import assert_one_winner, together
from asgi_infra.tokens import Rotation, RotationStatus, StoredToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore


shares = pytest.mark.usefixtures("several")


def in_process(
    factory: Callable[..., TokenStore], now: datetime, jtis: list[str], callers: int
) -> list[list[Rotation]]:
    """Rotate tokens as another process does: each by several callers at once."""

    async def run() -> list[list[Rotation]]:
        clock = ManualClock(now)
        async with factory(clock=clock) as store:
            return [
                await together(*[lambda jti=jti: store.rotate(jti, lambda old: old.successor(clock=clock))] * callers)
                for jti in jtis
            ]

    return anyio.run(run)


def revoke_in_process(factory: Callable[..., TokenStore], now: datetime, user_ids: list[str]) -> int:
    """Revoke all tokens of users, as another process does."""

    async def run() -> int:
        async with factory(clock=ManualClock(now)) as store:
            return sum([await store.revoke_all_for_user(user_id) for user_id in user_ids])

    return anyio.run(run)


class Sharing(StoreTests):
    """Needs stores that share their data."""

    process_rounds: ClassVar[int] = 20

    @shares
    async def test_what_one_store_does_the_others_see_at_once(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        one, other = make_store(touch_interval=0), make_store(touch_interval=0)
        token = issue()
        await one.save(token)
        assert await other.get(token.jti) == token
        clock.advance(1)
        assert await other.touch(token.jti)
        found = await one.get(token.jti)
        assert found is not None
        assert found.last_used_at == clock()
        successor = (await other.rotate(token.jti, issue())).token
        assert successor is not None
        assert await live(one, token, successor) == [False, True]
        assert (await one.rotate(token.jti, issue())).token == successor
        assert await one.revoke(successor.jti) is True
        assert await other.get(successor.jti) is None
        assert await other.revoke(successor.jti) is False
        await one.deny("denied", clock.after(60))
        assert await other.is_denied("denied")
        generation = await one.generation(ALICE)
        assert await other.generation(ALICE) == generation
        await other.renew_generation(ALICE)
        assert not await one.is_current(ALICE, generation)

    @shares
    async def test_what_was_saved_outlives_the_store(self, make_store: MakeStore, issue: Issue) -> None:
        token, revoked, used = issue(), issue(), issue()
        async with make_store() as store:
            for each in (token, revoked, used):
                await store.save(each)
            await store.revoke(revoked.jti)
            successor = (await store.rotate(used.jti, issue())).token
            assert successor is not None
        async with make_store() as store:
            assert await store.get(token.jti) == token
            assert await live(store, revoked, used, successor) == [False, False, True]
            again = await store.rotate(used.jti, issue())
            assert (again.status, again.token) == (RotationStatus.SUPERSEDED, successor)

    @shares
    async def test_many_stores_may_open_at_once(self, make_store: MakeStore, issue: Issue) -> None:
        stores = [make_store() for _ in range(4)]
        await together(*[store.open for store in stores])
        token = issue()
        await stores[0].save(token)
        assert await together(*[partial(store.get, token.jti) for store in stores]) == [token] * 4

    @shares
    async def test_one_caller_of_several_stores_wins(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        stores = [make_store() for _ in range(2)]
        token = issue()
        await stores[0].save(token)
        for _ in range(self.process_rounds):
            calls: list[Callable[[], Awaitable[Rotation]]] = [
                partial(store.rotate, token.jti, lambda old: old.successor(clock=clock)) for store in stores
            ]
            token = assert_one_winner(await together(*calls * 8))
        assert len(await stores[1].list_for_user(ALICE)) == 1

    @shares
    async def test_nobody_has_more_tokens_than_allowed_with_several_stores(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        stores = [make_store(max_sessions=2) for _ in range(2)]
        for _ in range(self.process_rounds):
            clock.advance(1)
            await together(*[partial(store.save, issue()) for store in stores * 3])
            assert len(await stores[0].list_for_user(ALICE)) == 2

    @shares
    async def test_one_caller_of_several_processes_wins(
        self, store_factory: Callable[..., TokenStore], store: TokenStore, clock: ManualClock
    ) -> None:
        tokens = [_issue(f"user-{number}", clock) for number in range(self.process_rounds)]
        for token in tokens:
            await store.save(token)
        jtis = [token.jti for token in tokens]
        results = await _in_processes(
            partial(in_process, store_factory, clock(), jtis, 8),
            partial(in_process, store_factory, clock(), jtis, 8),
        )
        for token, *rotations in zip(tokens, *results, strict=True):
            winner = assert_one_winner([rotation for some in rotations for rotation in some])
            assert await store.get(winner.jti) == winner
            assert len(await store.list_for_user(token.user_id)) == 1

    @shares
    async def test_nothing_revoked_comes_back_from_another_process(
        self, store_factory: Callable[..., TokenStore], store: TokenStore, clock: ManualClock
    ) -> None:
        tokens = [_issue(f"user-{number}", clock) for number in range(self.process_rounds)]
        for token in tokens:
            await store.save(token)
        jtis = [token.jti for token in tokens]
        rotated, revoked = await _in_processes(
            partial(in_process, store_factory, clock(), jtis, 4),
            partial(revoke_in_process, store_factory, clock(), [token.user_id for token in reversed(tokens)]),
        )
        assert revoked == len(tokens)
        for token, rotations in zip(tokens, rotated, strict=True):
            assert await store.list_for_user(token.user_id) == []
            for rotation in rotations:
                assert rotation.token is None or await store.get(rotation.token.jti) is None


def _issue(user_id: str, clock: ManualClock) -> StoredToken:
    return StoredToken.issue(user_id, lifetime=timedelta(hours=1), clock=clock)


async def _in_processes(*calls: Callable[[], Any]) -> list[Any]:
    """Run each call in a process of its own, which is spawned: nothing is inherited."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(calls), mp_context=context) as pool:
        futures = [pool.submit(call) for call in calls]
        return [await anyio.to_thread.run_sync(future.result, 120) for future in futures]
