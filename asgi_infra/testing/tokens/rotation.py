# ruff: noqa: S101
"""Examples of the contract: what rotating means."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra.testing.tokens.base import ALICE, BOB, StoreTests, live
from asgi_infra.tokens import DuplicateTokenError, Rotation, RotationStatus, StoredToken

if TYPE_CHECKING:
    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore

UNKNOWN = Rotation(RotationStatus.UNKNOWN)
REMEMBERED = 16
"""How many of the tokens before it a token of foreign identifiers knows."""

made_here_or_not = pytest.mark.parametrize("made_here", [True, False], ids=["made here", "made elsewhere"])


class Rotations(StoreTests):
    """One store, one caller after the other."""

    # One winner

    @made_here_or_not
    async def test_a_rotated_token_is_replaced_by_its_successor(
        self, store: TokenStore, issue: Issue, made_here: bool
    ) -> None:
        token = issue(jti=None if made_here else "first", client_id="shop-app")
        successor = issue(jti=None if made_here else "second", metadata={"device": "phone"})
        await store.save(token)
        rotation = await store.rotate(token.jti, successor)
        assert rotation == Rotation(RotationStatus.ROTATED, token=successor.replaced(family_id=token.family_id))
        assert rotation.ok
        assert await live(store, token, successor) == [False, True]
        assert await store.is_revoked(token.jti)
        assert await store.get(successor.jti) == rotation.token
        assert len(await store.list_for_user(ALICE)) == 1

    async def test_the_successor_may_be_made_from_the_token(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        token = issue(metadata={"device": "phone"}, client_id="shop-app")
        await store.save(token)
        clock.advance(10)
        seen: list[StoredToken] = []

        def make(old: StoredToken) -> StoredToken:
            seen.append(old)
            return old.successor(clock=clock)

        rotation = await store.rotate(token.jti, make, user_id=ALICE)
        assert seen == [token]
        assert rotation.status is RotationStatus.ROTATED
        made = rotation.token
        assert made is not None
        assert made.jti != token.jti
        assert (made.family_id, made.client_id, made.metadata) == (token.family_id, "shop-app", token.metadata)
        assert (made.issued_at, made.expires_at) == (clock(), clock() + timedelta(hours=1))
        assert await store.get(made.jti) == made
        again = await store.rotate(token.jti, make)
        assert (again.status, again.token) == (RotationStatus.SUPERSEDED, made)

    async def test_what_was_never_saved_can_not_be_rotated(self, store: TokenStore, issue: Issue) -> None:
        assert await store.rotate("never-saved", issue()) == UNKNOWN
        assert await store.rotate(issue().jti, issue()) == UNKNOWN
        assert await store.rotate(issue().jti, StoredToken.successor) == UNKNOWN
        assert not UNKNOWN.ok
        assert await store.list_for_user(ALICE) == []

    async def test_a_token_of_another_user_can_not_be_rotated(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        for token in (issue(), issue(jti="made-elsewhere")):
            await store.save(token)
            assert await store.rotate(token.jti, issue(BOB)) == UNKNOWN
            assert await store.rotate(token.jti, issue(BOB), user_id=BOB) == UNKNOWN
            assert await store.rotate(token.jti, StoredToken.successor, user_id=BOB) == UNKNOWN
            assert await live(store, token) == [True]
            await store.rotate(token.jti, lambda old: old.successor(clock=clock))
            assert await store.rotate(token.jti, issue(BOB)) == UNKNOWN
        assert await store.list_for_user(BOB) == []
        assert len(await store.list_for_user(ALICE)) == 2

    async def test_a_wrong_successor_is_refused_and_changes_nothing(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        token = issue()
        await store.save(token)
        expired = issue(lifetime=1)
        clock.advance(1)
        wrong: list[Any] = [None, "successor", {}, lambda _: None, lambda _: "successor"]
        for each in wrong:
            with pytest.raises(ValueError, match="successor must be a StoredToken"):
                await store.rotate(token.jti, each)
        for successor, told in ((expired, "expires_at"), (issue(jti=token.jti), "jti")):
            with pytest.raises(ValueError, match=told):
                await store.rotate(token.jti, successor)
        with pytest.raises(ValueError, match="user_id"):
            await store.rotate(token.jti, issue(BOB), user_id=ALICE)
        with pytest.raises(ZeroDivisionError):
            await store.rotate(token.jti, lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
        assert await live(store, token) == [True]
        assert (await store.rotate(token.jti, issue())).status is RotationStatus.ROTATED

    async def test_a_successor_whose_jti_is_taken_is_an_error_and_changes_nothing(
        self, store: TokenStore, issue: Issue
    ) -> None:
        token, other = issue(), issue()
        await store.save(token)
        await store.save(other)
        with pytest.raises(DuplicateTokenError):
            await store.rotate(token.jti, other)
        assert await live(store, token, other) == [True, True]
        assert (await store.rotate(token.jti, issue())).status is RotationStatus.ROTATED

    # Who comes second

    @made_here_or_not
    async def test_the_same_call_again_answers_the_same(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock, made_here: bool
    ) -> None:
        store = make_store(grace=0)
        token = issue(jti=None if made_here else "first")
        successor = issue(jti=None if made_here else "second")
        await store.save(token)
        first = await store.rotate(token.jti, successor)
        assert first.status is RotationStatus.ROTATED
        for _ in range(3):
            clock.advance(3)
            assert await store.rotate(token.jti, successor) == first
        assert len(await store.list_for_user(ALICE)) == 1

    @made_here_or_not
    async def test_who_comes_second_within_the_grace_period_gets_the_same_successor(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock, made_here: bool
    ) -> None:
        store = make_store(grace=20)
        token = issue(jti=None if made_here else "first")
        await store.save(token)
        first = await store.rotate(token.jti, issue(jti=None if made_here else "second"))
        clock.advance(19)
        for number in range(3):
            again = await store.rotate(token.jti, issue(jti=None if made_here else f"third-{number}"))
            assert again == Rotation(RotationStatus.SUPERSEDED, token=first.token)
        again = await store.rotate(token.jti, StoredToken.successor)
        assert again == Rotation(RotationStatus.SUPERSEDED, token=first.token)
        assert len(await store.list_for_user(ALICE)) == 1

    async def test_the_successor_is_told_also_when_it_has_been_used_since(
        self, store: TokenStore, issue: Issue
    ) -> None:
        token = issue()
        await store.save(token)
        second = (await store.rotate(token.jti, issue())).token
        assert second is not None
        third = (await store.rotate(second.jti, issue())).token
        again = await store.rotate(token.jti, issue())
        assert again == Rotation(RotationStatus.SUPERSEDED, token=second)
        again = await store.rotate(second.jti, issue())
        assert again == Rotation(RotationStatus.SUPERSEDED, token=third)

    async def test_a_successor_that_is_gone_is_not_told(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        for ends_by in ("revoking", "expiring"):
            token, second = issue(), issue(lifetime=5)
            await store.save(token)
            assert (await store.rotate(token.jti, second)).ok
            if ends_by == "revoking":
                await store.revoke(second.jti)
            else:
                clock.advance(5)
            assert await store.rotate(token.jti, issue()) == UNKNOWN
            assert await store.rotate(token.jti, StoredToken.successor) == UNKNOWN
        assert await store.list_for_user(ALICE) == []

    async def test_a_used_token_is_known_within_the_grace_period_also_when_it_would_have_expired(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(grace=20)
        token = issue(lifetime=5)
        await store.save(token)
        first = await store.rotate(token.jti, issue())
        clock.advance(10)
        assert (await store.rotate(token.jti, issue())).token == first.token

    # Who comes too late

    @pytest.mark.parametrize("grace", [0, 5, 60])
    @made_here_or_not
    async def test_a_token_used_again_after_the_grace_period_revokes_its_family(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock, grace: int, made_here: bool
    ) -> None:
        store = make_store(grace=grace)
        token = issue(jti=None if made_here else "first")
        other = issue()
        await store.save(token)
        await store.save(other)
        second = await store.rotate(token.jti, issue(jti=None if made_here else "second"))
        assert second.token is not None
        clock.advance(grace)
        reuse = await store.rotate(token.jti, issue(jti=None if made_here else "third"))
        assert reuse == Rotation(RotationStatus.REUSED, family_id=token.family_id, revoked=1)
        assert not reuse.ok
        assert await live(store, token, second.token, other) == [False, False, True]
        assert await store.rotate(token.jti, issue()) == UNKNOWN
        assert await store.rotate(second.token.jti, issue()) == UNKNOWN

    @pytest.mark.parametrize("purged", [False, True])
    @pytest.mark.parametrize("by", ["token", "function"])
    async def test_reuse_of_an_identifier_made_here_is_noticed_for_ever(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock, by: str, purged: bool
    ) -> None:
        store = make_store(grace=5)
        token = first = issue(lifetime=86400)
        await store.save(first)
        for _ in range(REMEMBERED + 4):
            clock.advance(1000)
            rotation = await store.rotate(token.jti, token.successor(clock=clock))
            assert rotation.token is not None
            token = rotation.token
        if purged:
            while await store.purge_expired():
                pass
        clock.advance(1000)
        reuse = await store.rotate(first.jti, issue() if by == "token" else StoredToken.successor)
        assert reuse == Rotation(RotationStatus.REUSED, family_id=first.family_id, revoked=1)
        assert await store.list_for_user(ALICE) == []

    @pytest.mark.parametrize("purged", [False, True])
    @pytest.mark.parametrize("by", ["token", "function"])
    async def test_reuse_of_an_identifier_made_elsewhere_is_noticed_from_those_that_followed(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock, by: str, purged: bool
    ) -> None:
        store = make_store(grace=5)
        first = issue(jti="number-0", lifetime=86400)
        await store.save(first)
        for number in range(REMEMBERED):
            clock.advance(1000)
            assert (await store.rotate(f"number-{number}", issue(jti=f"number-{number + 1}"))).ok
        if purged:
            while await store.purge_expired():
                pass
        clock.advance(1000)
        successor = issue() if by == "token" else StoredToken.successor
        reuse = await store.rotate(first.jti, successor, user_id=ALICE)
        assert reuse == Rotation(RotationStatus.REUSED, family_id=first.family_id, revoked=1)
        assert await store.list_for_user(ALICE) == []

    async def test_reuse_is_not_noticed_for_somebody_else(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(grace=0)
        for first in (issue(), issue(jti="made-elsewhere")):
            await store.save(first)
            second = await store.rotate(first.jti, first.successor(clock=clock))
            assert second.token is not None
            for seconds in (1, 100):
                clock.advance(seconds)
                assert await store.rotate(first.jti, issue(BOB)) == UNKNOWN
                assert await store.rotate(first.jti, StoredToken.successor, user_id=BOB) == UNKNOWN
            assert await live(store, second.token) == [True]

    async def test_a_token_that_was_revoked_unused_is_no_reuse(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        token, other = issue(), issue()
        await store.save(token)
        await store.save(other)
        await store.revoke(token.jti)
        clock.advance(1000)
        assert await store.rotate(token.jti, issue()) == UNKNOWN
        assert await live(store, other) == [True]

    # What is over, whether it has been removed already or not

    @pytest.fixture
    async def crowd(self, store: TokenStore, issue: Issue) -> None:
        """Many tokens that have to be removed before those that the test is about."""
        for _ in range(20):
            await store.save(issue(BOB, lifetime=1))

    @pytest.mark.usefixtures("crowd")
    async def test_an_expired_successor_is_not_told(self, store: TokenStore, issue: Issue, clock: ManualClock) -> None:
        token = issue()
        await store.save(token)
        await store.rotate(token.jti, issue(lifetime=5))
        clock.advance(5)
        assert await store.rotate(token.jti, issue()) == UNKNOWN
        assert await store.rotate(token.jti, StoredToken.successor) == UNKNOWN

    @pytest.mark.usefixtures("crowd")
    @made_here_or_not
    async def test_an_expired_successor_remembers_nothing(
        self, store: TokenStore, issue: Issue, clock: ManualClock, made_here: bool
    ) -> None:
        token = issue(jti=None if made_here else "first")
        await store.save(token)
        await store.rotate(token.jti, token.successor(lifetime=timedelta(seconds=50), clock=clock))
        clock.advance(50)
        assert await store.rotate(token.jti, issue()) == UNKNOWN

    @pytest.mark.usefixtures("crowd")
    @made_here_or_not
    async def test_a_used_token_is_forgotten_when_its_time_is_over(
        self, store: TokenStore, issue: Issue, clock: ManualClock, made_here: bool
    ) -> None:
        token = issue(jti=None if made_here else "first")
        await store.save(token)
        successor = (await store.rotate(token.jti, issue())).token
        assert successor is not None
        clock.advance(30)
        assert await store.revoke(token.jti) is False
        again = issue(jti=token.jti)
        await store.save(again)
        assert await live(store, successor, again) == [True, True]

    # What is left

    async def test_many_rotations_leave_one_token(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(grace=5)
        token = issue()
        await store.save(token)
        for _ in range(40):
            clock.advance(20)
            rotation = await store.rotate(token.jti, issue())
            assert rotation.token is not None
            token = rotation.token
        clock.advance(20)
        while await store.purge_expired():
            pass
        tokens = (await store.stats()).tokens
        assert tokens is None or tokens == 1
        assert [each.family_id for each in await store.list_for_user(ALICE)] == [token.family_id]
