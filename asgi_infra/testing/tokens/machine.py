# ruff: noqa: S101
"""Random calls, one after the other, against the model: every answer must be the model's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from asgi_infra.testing.clock import ManualClock
from asgi_infra.testing.tokens.base import KEY, StoreTests
from asgi_infra.testing.tokens.model import Bounds, Model
from asgi_infra.tokens import DuplicateTokenError, StoredToken

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from asgi_infra.tokens import TokenStore

users = st.sampled_from(["alice", "bob:{x}"])
seconds = st.one_of(st.integers(1, 15), st.sampled_from([30, 59, 60, 100, 400]), st.floats(0.001, 5))
lifetimes = st.sampled_from([5, 40, 150, 3600])
bounds = st.builds(
    Bounds,
    grace=st.sampled_from([0, 5, 30]),
    idle_lifetime=st.sampled_from([None, 90]),
    absolute_lifetime=st.sampled_from([None, 200]),
    max_sessions=st.sampled_from([None, 2]),
    touch_interval=st.sampled_from([0, 20]),
    leeway=st.sampled_from([0, 10]),
)


class TokenStoreMachine(RuleBasedStateMachine):
    """A store and its model, side by side."""

    factory: ClassVar[Callable[..., TokenStore]]
    runs: ClassVar[Iterator[int]]
    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.number = next(self.runs)
        self.made = count()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.saved: list[StoredToken] = []

    @initialize(bounds=bounds)
    def begin(self, bounds: Bounds) -> None:
        self.model = Model(bounds, self.clock)
        self.store = self.factory(key=KEY, clock=self.clock, **vars(bounds))

    def teardown(self) -> None:
        try:
            if hasattr(self, "store"):
                self.call(self._end())
        finally:
            self.runner.close()

    async def _end(self) -> None:
        stats = await self.store.stats()
        assert (stats.revoked, stats.evicted) == (self.model.revoked, self.model.evicted)
        await self.store.aclose()

    def call(self, operation: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(operation)

    def issue(self, user: str, made_here: bool, lifetime: float, family_of: StoredToken | None = None) -> StoredToken:
        self.clock.advance(0.001)  # which of two tokens of one moment is the older is nobody's business
        name = f"made-elsewhere-{self.number}-{next(self.made)}"
        options: Any = {"lifetime": timedelta(seconds=lifetime), "clock": self.clock}
        options |= {"jti": None if made_here else name, "metadata": {"name": name}}
        return (
            StoredToken.issue(f"{user}-{self.number}", **options)
            if family_of is None
            else family_of.successor(**options)
        )

    @rule(target=tokens, user=users, made_here=st.booleans(), lifetime=lifetimes)
    def save(self, user: str, made_here: bool, lifetime: float) -> StoredToken:
        token = self.issue(user, made_here, lifetime)
        assert self.model.save(token)
        self.call(self.store.save(token))
        return token

    @rule(token=tokens)
    def save_again(self, token: StoredToken) -> None:
        if token.expires_at > self.clock() and self.model.there(token.jti) is not None:
            with pytest.raises(DuplicateTokenError):
                self.call(self.store.save(token))

    @rule(
        target=tokens,
        token=tokens,
        made_here=st.booleans(),
        lifetime=lifetimes,
        by_function=st.booleans(),
        again=st.booleans(),
    )
    def rotate(self, token: StoredToken, made_here: bool, lifetime: float, by_function: bool, again: bool) -> Any:
        new = self.issue("", made_here, lifetime, family_of=token)
        for _ in range(1 + again):
            expected = self.model.rotate(
                token.jti,
                new if not by_function or self.model.live(token.jti) else None,
                token.user_id,
            )
            if by_function:
                found = self.call(self.store.rotate(token.jti, lambda _: new, user_id=token.user_id))
            else:
                found = self.call(self.store.rotate(token.jti, new))
            assert found == expected
        return new

    @rule(target=tokens, token=tokens, data=st.data())
    def rotate_to_one_that_was_there(self, token: StoredToken, data: st.DataObject) -> Any:
        others = [
            entry.token
            for entry in self.model.entries.values()
            if entry.token.jti != token.jti and entry.token.expires_at > self.clock()
        ]
        if not others:
            return multiple()
        new = data.draw(st.sampled_from(others))
        expected = self.model.rotate(token.jti, new, new.user_id)
        if expected is None:
            with pytest.raises(DuplicateTokenError):
                self.call(self.store.rotate(token.jti, new))
        else:
            assert self.call(self.store.rotate(token.jti, new)) == expected
        return multiple()

    @rule(token=tokens, whose=st.sampled_from(["nobody's", "theirs", "another's"]))
    def revoke(self, token: StoredToken, whose: str) -> None:
        user_id = {"nobody's": None, "theirs": token.user_id, "another's": "mallory"}[whose]
        assert self.call(self.store.revoke(token.jti, user_id=user_id)) is self.model.revoke(token.jti, user_id)

    @rule(token=tokens)
    def revoke_family(self, token: StoredToken) -> None:
        assert self.call(self.store.revoke_family(token.family_id)) == self.model.revoke_family(token.family_id)

    @rule(token=tokens, keep=st.booleans())
    def revoke_user(self, token: StoredToken, keep: bool) -> None:
        kept = token.jti if keep else None
        expected = self.model.revoke_user(token.user_id, kept)
        assert self.call(self.store.revoke_all_for_user(token.user_id, except_jti=kept)) == expected

    @rule(token=tokens)
    def touch(self, token: StoredToken) -> None:
        assert self.call(self.store.touch(token.jti)) is self.model.touch(token.jti)

    @rule(seconds=seconds)
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(limit=st.integers(1, 5))
    def purge(self, limit: int) -> None:
        assert 0 <= self.call(self.store.purge_expired(limit=limit)) <= limit

    @rule(name=st.sampled_from(["a", "b"]), seconds=st.integers(-20, 100))
    def deny(self, name: str, seconds: int) -> None:
        jti = f"{name}-{self.number}"
        self.call(self.store.deny(jti, self.clock.after(seconds)))
        self.model.deny(jti, self.clock.after(seconds))

    @rule(user=users, renew=st.booleans())
    def generation(self, user: str, renew: bool) -> None:
        user_id = f"{user}-{self.number}"
        call = self.store.renew_generation if renew else self.store.generation
        found = self.call(call(user_id))
        if renew:
            assert self.model.generations.get(user_id) != found
        else:
            assert self.model.generations.get(user_id, found) == found
        self.model.generations[user_id] = found

    @rule(token=tokens)
    def get(self, token: StoredToken) -> None:
        entry = self.model.live(token.jti)
        expected = None if entry is None else entry.token
        assert self.call(self.store.get(token.jti)) == expected
        assert self.call(self.store.get(token.jti, user_id=token.user_id)) == expected
        assert self.call(self.store.is_revoked(token.jti, user_id="mallory"))

    @invariant()
    def lists_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        for user_id in {entry.token.user_id for entry in self.model.entries.values()}:
            listed = self.call(self.store.list_for_user(user_id))
            assert {token.jti: token for token in listed} == {token.jti: token for token in self.model.of_user(user_id)}
        for jti in self.model.denied:
            assert self.call(self.store.is_denied(jti)) is self.model.is_denied(jti)


class Modelled(StoreTests):
    """Every answer is the model's."""

    machine_examples: ClassVar[int] = 15
    machine_steps: ClassVar[int] = 30

    def test_any_sequence_of_calls_is_answered_as_by_the_model(self, store_factory: Callable[..., TokenStore]) -> None:
        machine = type("Machine", (TokenStoreMachine,), {"factory": staticmethod(store_factory), "runs": count()})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=self.machine_examples,
                stateful_step_count=self.machine_steps,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            ),
        )
