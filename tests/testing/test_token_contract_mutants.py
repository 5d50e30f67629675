"""Stores that break the contract, and the tests of the contract that must notice it."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asgi_infra.testing import ManualClock, TokenStoreContract
from asgi_infra.testing.tokens.base import issuing
from asgi_infra.tokens import DuplicateTokenError, InMemoryTokenStore
from asgi_infra.tokens.records import Replaced
from asgi_infra.tokens.rotation import RotationStatus

if TYPE_CHECKING:
    from asgi_infra.tokens import TokenStore

UNKNOWN = Replaced(RotationStatus.UNKNOWN)


class Overwriting(InMemoryTokenStore):
    async def _insert(self, record: Any, others: Any, now: int) -> int:
        self._table.remove(record.digest)
        return await super()._insert(record, others, now)


class CheckingThenActing(InMemoryTokenStore):
    """What goes wrong most often: a look, a wait, an act."""

    async def _replace(self, digests: Any, jti: str, successor: Any, sealed: bytes, user_id: Any, now: int) -> Any:
        entry = self._live(digests, user_id, now)
        await checkpoint()
        if entry is None or successor is None:
            return await super()._replace(digests, jti, successor, sealed, user_id, now)
        record = entry.record.followed_by(successor, self._settings)
        entry.used_at, entry.successor, entry.sealed = now, record.digest, sealed
        self._table.postpone(entry, now + self._kept)
        self._add(record, now, now)
        return Replaced(RotationStatus.ROTATED, record)


class ResurrectingByTouch(InMemoryTokenStore):
    async def _touch(self, digests: Any, jti: str, user_id: Any, before: int, now: int) -> bool:
        record = await self._find(digests, jti, user_id, now)
        await checkpoint()
        if record is not None and self._stored(record.digest, now) is None:
            self._add(record, now, now)
        return record is not None and await super()._touch(digests, jti, user_id, before, now)


class ForgettingTheRetry(InMemoryTokenStore):
    async def _replace(self, digests: Any, jti: str, successor: Any, sealed: bytes, user_id: Any, now: int) -> Any:
        renamed = None if successor is None else replace(successor, digest=successor.digest[::-1])
        if self._live(digests, user_id, now) is not None:
            renamed = successor
        return await super()._replace(digests, jti, renamed, sealed, user_id, now)


class ForgivingReuse(InMemoryTokenStore):
    def _reused(self, family_id: str, now: int) -> Replaced:
        return Replaced(RotationStatus.REUSED, family_id=family_id)


class ForgettingLineage(InMemoryTokenStore):
    def _forgotten(self, *_: Any) -> Replaced:
        return UNKNOWN


class RevokingPartly(InMemoryTokenStore):
    async def _remove_user(self, user_id: str, kept: Any, now: int) -> int:
        entries = [entry for entry in self._table.of_user(user_id) if entry.record.digest not in kept]
        removed = 0
        for entry in entries:
            await checkpoint()
            removed += self._remove_all([entry], now)
        return removed


class IgnoringTheUser(InMemoryTokenStore):
    async def _find(self, digests: Any, jti: str, user_id: Any, now: int) -> Any:
        return await super()._find(digests, jti, None, now)


class IgnoringExpiry(InMemoryTokenStore):
    async def _list(self, user_id: str, now: int) -> Any:
        return [entry.record for entry in self._table.of_user(user_id) if entry.used_at is None]


class ShorteningDenials(InMemoryTokenStore):
    async def _deny(self, digest: bytes, until: int, now: int) -> None:
        self._denials._until.pop(digest, None)
        await super()._deny(digest, until, now)


class TakingHandlesForCredentials(InMemoryTokenStore):
    def _lookup(self, jti: str, *, handles: bool = False) -> Any:
        return super()._lookup(jti, handles=True)

    async def _list(self, user_id: str, now: int) -> Any:
        records = await super()._list(user_id, now)
        return [replace(each, token=each.token.replaced(jti=self._codec.reveal(None, each.digest))) for each in records]


class CountingNothing(InMemoryTokenStore):
    async def _remove_family(self, family_id: str, user_id: Any, now: int) -> int:
        await super()._remove_family(family_id, user_id, now)
        return 0


class HalfSaving(InMemoryTokenStore):
    """Takes the place before it is sure to fill it."""

    taken: set[bytes]

    async def _insert(self, record: Any, others: Any, now: int) -> int:
        self.taken = getattr(self, "taken", set())
        if record.digest in self.taken:
            raise DuplicateTokenError("a token with this jti is stored already")
        self.taken.add(record.digest)
        await checkpoint()
        return await super()._insert(record, others, now)


MUTANTS: list[tuple[type[InMemoryTokenStore], str, dict[str, Any]]] = [
    (Overwriting, "a_second_token_with_the_same_jti_is_an_error_and_changes_nothing", {"jti": None}),
    (Overwriting, "of_many_saves_of_one_jti_one_succeeds", {}),
    (CheckingThenActing, "of_many_rotations_of_one_token_one_wins_and_all_get_its_successor", {"by": "token"}),
    (ResurrectingByTouch, "nothing_revoked_comes_back_whatever_the_order", {}),
    (ForgettingTheRetry, "the_same_call_again_answers_the_same", {"made_here": True}),
    (ForgettingTheRetry, "a_rotation_that_was_given_up_can_be_repeated", {}),
    (ForgivingReuse, "a_token_used_again_after_the_grace_period_revokes_its_family", {"grace": 5, "made_here": True}),
    (ForgettingLineage, "reuse_of_an_identifier_made_here_is_noticed_for_ever", {"by": "token", "purged": True}),
    (RevokingPartly, "a_revocation_that_was_given_up_was_done_or_not", {}),
    (IgnoringTheUser, "a_token_of_another_user_is_not_there", {}),
    (IgnoringExpiry, "a_token_is_good_until_it_expires", {}),
    (ShorteningDenials, "denying_again_never_shortens", {}),
    (TakingHandlesForCredentials, "a_handle_is_no_credential", {}),
    (CountingNothing, "a_family_is_revoked_by_its_name", {}),
    (HalfSaving, "a_save_that_was_given_up_was_done_or_not", {}),
]


async def try_out(factory: type[InMemoryTokenStore], name: str, given: dict[str, Any]) -> None:
    """Run one test of the contract on a store, with the fixtures that it asks for."""
    clock = ManualClock()
    async with AsyncExitStack() as stack:

        def make_store(**options: Any) -> TokenStore:
            store = factory(**{"clock": clock, **options})
            stack.push_async_callback(store.aclose)
            return store

        fixtures = {
            "clock": clock,
            "issue": issuing(clock),
            "make_store": make_store,
            "store": make_store(),
            **given,
        }
        test = getattr(TokenStoreContract(), f"test_{name}")
        await test(**{each: fixtures[each] for each in inspect.signature(test).parameters})


@pytest.mark.parametrize(("mutant", "name", "given"), MUTANTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_store_that_breaks_the_contract_is_found_out(
    mutant: type[InMemoryTokenStore], name: str, given: dict[str, Any]
) -> None:
    with pytest.raises((AssertionError, BaseExceptionGroup, pytest.fail.Exception)) as caught:
        anyio.run(try_out, mutant, name, given)
    if isinstance(caught.value, BaseExceptionGroup):
        assert caught.value.subgroup(AssertionError) is not None


@pytest.mark.parametrize(("mutant", "name", "given"), MUTANTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_store_that_keeps_the_contract_is_not(
    mutant: type[InMemoryTokenStore], name: str, given: dict[str, Any]
) -> None:
    anyio.run(try_out, InMemoryTokenStore, name, given)
