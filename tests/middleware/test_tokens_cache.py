"""Answers of the store: asked once for many, believed for as long as was said, and never after a revocation here."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from token_driver import DOWN, Moody, Visited, guarded, issued, new_clock, request

from asgi_infra.middleware import token_lookups
from asgi_infra.middleware.token_checks import find_stored
from asgi_infra.middleware.token_lookups import Lookups
from asgi_infra.testing import drive
from asgi_infra.tokens.identity import TokenIdentity


class Setup:
    def __init__(self, seconds: float = 10.0) -> None:
        self.clock = new_clock()
        self.store = Moody(clock=self.clock)
        self.seconds = 0.0
        self.lookups = Lookups(self.store, self.find, seconds=seconds, clock=self.clock, monotonic=lambda: self.seconds)

    async def find(self, identity: TokenIdentity) -> TokenIdentity | None:
        return await find_stored(self.store, identity)

    async def issue(self, **named: Any) -> Any:
        token = issued(self.clock, **named)
        await self.store.save(token)
        return token

    async def is_live(self, token: Any) -> bool | None:
        return (await self.lookups(TokenIdentity(jti=token.jti))).live


# What is kept


@pytest.mark.anyio
async def test_an_answer_is_kept_for_as_long_as_was_said():
    setup = Setup(seconds=10)
    token = await setup.issue()
    for setup.seconds in (0, 5, 9.9):
        assert await setup.is_live(token)
    assert setup.store.asked == ["get"]
    setup.seconds = 10
    assert await setup.is_live(token)
    assert setup.store.asked == ["get", "get"]


@pytest.mark.anyio
async def test_by_default_nothing_is_kept():
    clock, app = new_clock(), Visited()
    store = Moody(clock=clock)
    token = issued(clock)
    await store.save(token)
    guard = guarded(app, store, clock=clock)
    for _ in range(2):
        await drive(guard, request(token))
    assert store.asked == ["get", "get"]


@pytest.mark.anyio
async def test_only_a_yes_is_kept():
    setup = Setup()
    token = issued(setup.clock)
    assert await setup.is_live(token) is False
    await setup.store.save(token)
    assert await setup.is_live(token) is True


@pytest.mark.anyio
async def test_a_failure_is_not_kept():
    setup = Setup()
    token = await setup.issue()
    setup.store.error = DOWN
    assert await setup.is_live(token) is None
    setup.store.error = None
    assert await setup.is_live(token) is True


@pytest.mark.anyio
async def test_a_token_that_expires_while_it_is_kept_is_no_longer_good():
    setup = Setup(seconds=60)
    token = await setup.issue()
    setup.clock.advance(3599)
    assert await setup.is_live(token)
    setup.clock.advance(1)
    assert not await setup.is_live(token)


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["revoke", "family", "user", "rotate"])
async def test_a_revocation_through_the_same_store_is_seen_at_once(how):
    setup = Setup(seconds=60)
    token = await setup.issue()
    assert await setup.is_live(token)
    if how == "revoke":
        await setup.store.revoke(token.jti)
    elif how == "family":
        await setup.store.revoke_family(token.family_id)
    elif how == "user":
        await setup.store.revoke_all_for_user("alice")
    else:
        await setup.store.rotate(token.jti, lambda token: token.successor(clock=setup.clock))
    assert not await setup.is_live(token)


@pytest.mark.anyio
async def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(token_lookups, "_MAX_CACHED", 3)
    setup = Setup()
    tokens = [await setup.issue() for _ in range(5)]
    for token in tokens:
        await setup.is_live(token)
    assert len(setup.lookups._kept) == 3
    setup.store.asked.clear()
    assert await setup.is_live(tokens[-1])
    assert setup.store.asked == []
    assert await setup.is_live(tokens[0])
    assert setup.store.asked == ["get"]


@pytest.mark.anyio
async def test_what_is_kept_holds_no_identifier():
    setup = Setup()
    token = await setup.issue()
    await setup.is_live(token)
    assert token.jti not in repr(vars(setup.lookups))


@pytest.mark.anyio
async def test_whose_token_it_is_said_to_be_is_part_of_the_question():
    setup = Setup()
    token = await setup.issue()
    assert (await setup.lookups(TokenIdentity(jti=token.jti, user_id="alice"))).live
    assert not (await setup.lookups(TokenIdentity(jti=token.jti, user_id="bob"))).live


@pytest.mark.anyio
async def test_claims_of_another_token_with_the_same_identifier_are_not_taken_over():
    clock, app = new_clock(), Visited()
    store = Moody(clock=clock)
    token = issued(clock)
    await store.save(token)

    def extract(scope: Any) -> TokenIdentity:
        return TokenIdentity(jti=token.jti, claims={"path": scope["path"]})

    guard = guarded(app, store, extract=extract, cache_seconds=60, clock=clock)
    for path in ("/a", "/b"):
        await drive(guard, request(path=path))
    assert [identity.claims["path"] for identity in app.tokens] == ["/a", "/b"]
    assert [identity.stored for identity in app.tokens] == [token, token]


# What is on its way


@pytest.mark.anyio
async def test_identical_questions_at_the_same_time_are_asked_once():
    setup = Setup(seconds=0)
    token, other = await setup.issue(), await setup.issue()
    setup.store.before = checkpoint
    answers: list[Any] = []

    async def ask(token: Any) -> None:
        answers.append(await setup.is_live(token))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask, token)
        tasks.start_soon(ask, other)
    assert answers == [True] * 11
    assert setup.store.asked == ["get", "get"]
    assert setup.lookups._flights == {}


@pytest.mark.anyio
async def test_a_failure_is_shared_too():
    setup = Setup(seconds=0)
    token = await setup.issue()
    setup.store.before, setup.store.error = checkpoint, DOWN
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await setup.is_live(token))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    assert answers == [None] * 3
    assert setup.store.asked == ["get"]


@pytest.mark.anyio
async def test_who_waits_asks_again_when_the_one_that_asked_was_cancelled():
    setup = Setup(seconds=0)
    token = await setup.issue()
    asked, answers = anyio.Event(), list[Any]()

    async def hang() -> None:
        asked.set()
        await anyio.sleep_forever()

    setup.store.before = hang
    first = anyio.CancelScope()

    async def ask_and_be_cancelled() -> None:
        with first:
            await setup.is_live(token)

    async def ask() -> None:
        answers.append(await setup.is_live(token))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask_and_be_cancelled)
        await asked.wait()
        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        setup.store.before = checkpoint
        first.cancel()
    assert answers == [True] * 3
    assert setup.store.asked == ["get", "get"]
    assert setup.lookups._flights == {}


@pytest.mark.anyio
async def test_an_unexpected_error_is_everybodys_own():
    setup = Setup(seconds=0)
    token = await setup.issue()
    setup.store.before, setup.store.error = checkpoint, ZeroDivisionError()
    errors: list[Any] = []

    async def ask() -> None:
        try:
            await setup.is_live(token)
        except ZeroDivisionError as exc:
            errors.append(exc)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    assert len(errors) == 3
    assert setup.lookups._flights == {}


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, 60])
async def test_who_asks_after_a_revocation_never_gets_an_answer_from_before(seconds):
    """The question is on its way, the store has said yes, and the answer arrives when the token is revoked."""
    setup = Setup(seconds=seconds)
    token = await setup.issue()
    answered, go_on = anyio.Event(), anyio.Event()
    late: list[Any] = []

    async def hold() -> None:
        answered.set()
        await go_on.wait()

    async def ask() -> None:
        late.append(await setup.is_live(token))

    setup.store.after = hold
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await answered.wait()
        await setup.store.revoke(token.jti)
        setup.store.after = None
        assert await setup.is_live(token) is False
        go_on.set()
    assert late == [True]  # it was asked before the revocation
    assert await setup.is_live(token) is False
    assert setup.lookups._flights == {}


def test_event_loops_in_several_threads_do_not_wait_for_each_other():
    setup = Setup(seconds=0)
    token = anyio.run(setup.issue)
    setup.store.before = checkpoint
    answers: list[Any] = []

    async def many() -> None:
        async def ask() -> None:
            answers.append(await setup.is_live(token))

        for _ in range(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(ask)

    threads = [threading.Thread(target=anyio.run, args=(many,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert answers == [True] * 400
