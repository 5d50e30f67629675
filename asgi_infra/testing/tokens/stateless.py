# ruff: noqa: S101
"""Examples of the contract: tokens that are not stored, and how they are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from asgi_infra.testing.tokens.base import ALICE, BOB, StoreTests

if TYPE_CHECKING:
    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore


class Stateless(StoreTests):
    """The deny-list, and the generations of users."""

    async def test_a_denied_token_is_denied_until_it_expires_and_a_while_longer(
        self, make_store: MakeStore, clock: ManualClock
    ) -> None:
        store = make_store(leeway=30)
        await store.deny("denied", clock.after(100))
        assert await store.is_denied("denied")
        assert not await store.is_denied("other")
        clock.advance(129)
        assert await store.is_denied("denied")
        clock.advance(2)
        assert not await store.is_denied("denied")

    async def test_a_token_that_has_expired_within_the_leeway_is_denied(
        self, make_store: MakeStore, clock: ManualClock
    ) -> None:
        store = make_store(leeway=30)
        await store.deny("just-expired", clock.after(-10))
        await store.deny("long-expired", clock.after(-31))
        assert await store.is_denied("just-expired")
        assert not await store.is_denied("long-expired")

    async def test_denying_again_never_shortens(self, make_store: MakeStore, clock: ManualClock) -> None:
        store = make_store(leeway=0)
        for seconds in (100, 300, 200, -50):
            await store.deny("denied", clock.after(seconds))
        clock.advance(299)
        assert await store.is_denied("denied")
        clock.advance(2)
        assert not await store.is_denied("denied")
        await store.deny("denied", clock.after(10))
        assert await store.is_denied("denied")

    async def test_a_deny_entry_outlives_years(self, store: TokenStore, clock: ManualClock) -> None:
        await store.deny("denied", clock.after(9 * 365 * 86400))
        clock.advance(9 * 365 * 86400 - 1)
        assert await store.is_denied("denied")

    async def test_a_token_without_an_end_is_denied_without_an_end(self, store: TokenStore, clock: ManualClock) -> None:
        await store.deny("denied", datetime.max.replace(tzinfo=UTC))
        clock.advance(900 * 365 * 86400)
        assert await store.is_denied("denied")

    async def test_a_clock_that_is_set_back_brings_no_denied_token_back(
        self, store: TokenStore, clock: ManualClock
    ) -> None:
        await store.deny("denied", clock.after(100))
        clock.advance(-86400)
        assert await store.is_denied("denied")

    async def test_the_deny_list_and_the_stored_tokens_know_nothing_of_each_other(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        token = issue()
        await store.deny(token.jti, clock.after(100))
        await store.save(token)
        assert await store.get(token.jti) == token
        assert await store.revoke_all_for_user(ALICE) == 1
        assert await store.is_denied(token.jti)
        assert await store.list_for_user(ALICE) == []

    async def test_what_can_not_be_denied_is_refused(self, store: TokenStore, clock: ManualClock) -> None:
        for jti in ("", " ", "a\0b", "x" * 256, None):
            with pytest.raises(ValueError, match="jti"):
                await store.deny(jti, clock.after(100))  # type: ignore[arg-type]
        for until in (clock().replace(tzinfo=None), 100, None):
            with pytest.raises(ValueError, match="until"):
                await store.deny("denied", until)  # type: ignore[arg-type]
        assert not await store.is_denied("denied")

    async def test_a_user_has_one_generation_until_it_is_renewed(self, store: TokenStore) -> None:
        first = await store.generation(ALICE)
        assert await store.generation(ALICE) == first
        assert await store.is_current(ALICE, first)
        second = await store.renew_generation(ALICE)
        assert second != first
        assert await store.generation(ALICE) == second
        assert await store.is_current(ALICE, second)
        assert not await store.is_current(ALICE, first)
        assert await store.renew_generation(ALICE) not in {first, second}

    async def test_each_user_has_a_generation_of_their_own(self, store: TokenStore) -> None:
        mine, theirs = await store.generation(ALICE), await store.generation(BOB)
        assert mine != theirs
        await store.renew_generation(ALICE)
        assert await store.is_current(BOB, theirs)
        assert not await store.is_current(ALICE, theirs)

    async def test_a_missing_generation_is_not_current(self, store: TokenStore) -> None:
        assert not await store.is_current(ALICE, "made-up")
        assert not await store.is_current(ALICE, None)
        await store.generation(ALICE)
        for wrong in (None, "", "made-up", b"bytes", 5):
            assert not await store.is_current(ALICE, wrong)  # type: ignore[arg-type]

    async def test_a_generation_may_be_renewed_before_it_was_asked_for(self, store: TokenStore) -> None:
        renewed = await store.renew_generation(ALICE)
        assert await store.generation(ALICE) == renewed

    async def test_a_generation_is_kept_since_it_was_last_asked_for(
        self, make_store: MakeStore, clock: ManualClock
    ) -> None:
        store = make_store(generation_lifetime=100)
        first = await store.generation(ALICE)
        for _ in range(3):
            clock.advance(90)
            assert await store.generation(ALICE) == first
        clock.advance(99)
        assert await store.is_current(ALICE, first)
        clock.advance(2)
        assert not await store.is_current(ALICE, first)
        assert await store.generation(ALICE) != first

    async def test_revoking_all_of_a_user_keeps_the_generation(self, store: TokenStore, issue: Issue) -> None:
        await store.save(issue())
        generation = await store.generation(ALICE)
        await store.revoke_all_for_user(ALICE)
        assert await store.is_current(ALICE, generation)
