# ruff: noqa: S101
"""Callers who give up, at each place where they can: what they asked for was done or not done, never half."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from asgi_infra.testing.tokens.base import ALICE, StoreTests, live
from asgi_infra.tokens import DuplicateTokenError, RotationStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore


class _GivingUp:
    """Awaits something, and cancels a scope the n-th time that it waits."""

    def __init__(self, operation: Awaitable[Any], scope: anyio.CancelScope, at: int) -> None:
        self._operation = operation
        self._scope = scope
        self._at = at
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner: Any = self._operation.__await__()
        resume: Callable[[], Any] = partial(inner.send, None)
        while True:
            try:
                waiting_for = resume()
            except StopIteration as done:
                return done.value
            self.waits += 1
            if self.waits == self._at:
                self._scope.cancel()
            try:
                resume = partial(inner.send, (yield waiting_for))
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as exc:  # noqa: BLE001 - whatever the event loop throws in goes on to the operation
                resume = partial(inner.throw, exc)


async def given_up(call: Callable[[], Awaitable[Any]], at: int) -> bool:
    """Make a call and cancel it the `at`-th time that it waits; returns whether it waited that often."""
    scope = anyio.CancelScope()
    giving_up = _GivingUp(call(), scope, at)
    with scope:
        await giving_up
    return giving_up.waits >= at


class Cancellation(StoreTests):
    """One store whose callers give up."""

    cancellations: ClassVar[int] = 25
    """At how many places, at most, each operation is given up."""

    async def test_a_save_that_was_given_up_was_done_or_not(self, make_store: MakeStore, issue: Issue) -> None:
        store = make_store()
        for at in range(1, self.cancellations):
            token = issue()
            waited = await given_up(partial(store.save, token), at)
            found = await store.get(token.jti)
            assert found in ((None, token) if waited else (token,))
            try:
                await store.save(token)
            except DuplicateTokenError:
                assert await store.get(token.jti) == token
            assert await store.get(token.jti) == token
            if not waited:
                break

    async def test_a_rotation_that_was_given_up_can_be_repeated(self, make_store: MakeStore, issue: Issue) -> None:
        store = make_store(grace=0)
        for at in range(1, self.cancellations):
            token, successor = issue(), issue()
            await store.save(token)
            waited = await given_up(partial(store.rotate, token.jti, successor), at)
            rotation = await store.rotate(token.jti, successor)
            assert rotation.status is RotationStatus.ROTATED
            assert await live(store, token, successor) == [False, True]
            assert len(await store.list_for_user(ALICE)) == 1
            assert await store.revoke_all_for_user(ALICE) == 1
            if not waited:
                break

    async def test_a_revocation_that_was_given_up_was_done_or_not(self, make_store: MakeStore, issue: Issue) -> None:
        store = make_store()
        for at in range(1, self.cancellations):
            tokens = [issue(family_id="phones") for _ in range(3)]
            for token in tokens:
                await store.save(token)
            calls: list[Callable[[], Awaitable[int]]] = [
                partial(store.revoke_all_for_user, ALICE),
                partial(store.revoke_family, "phones"),
                partial(store.revoke, tokens[0].jti),
            ]
            call = calls[at % 3]
            await given_up(call, at)
            left = len(await store.list_for_user(ALICE))
            assert left in ((2, 3) if at % 3 == 2 else (0, 3))
            await call()
            assert len(await store.list_for_user(ALICE)) == (2 if at % 3 == 2 else 0)
            await store.revoke_all_for_user(ALICE)

    async def test_whatever_was_given_up_the_store_goes_on(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(touch_interval=0)
        token = issue()
        await store.save(token)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.get(token.jti),
            lambda: store.list_for_user(ALICE),
            lambda: store.touch(token.jti),
            lambda: store.deny("denied", clock.after(60)),
            lambda: store.is_denied("denied"),
            lambda: store.generation(ALICE),
            store.purge_expired,
            store.stats,
            store.ping,
        ]
        for call in calls:
            for at in range(1, self.cancellations):
                waited = await given_up(call, at)
                assert await store.get(token.jti, user_id=ALICE) is not None
                if not waited:
                    break
        async with anyio.create_task_group() as group:
            for _ in range(32):
                group.start_soon(store.get, token.jti)
        assert await store.is_denied("denied")

    async def test_an_opening_that_was_given_up_can_be_repeated(self, make_store: MakeStore, issue: Issue) -> None:
        for at in range(1, self.cancellations):
            store = make_store()
            waited = await given_up(store.open, at)
            token = issue()
            await store.save(token)
            assert await store.get(token.jti) == token
            await store.aclose()
            if not waited:
                break
