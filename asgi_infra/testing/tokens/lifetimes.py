# ruff: noqa: S101
"""Examples of the contract: how long tokens are good, and how many a user may have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from asgi_infra.testing.tokens.base import ALICE, BOB, StoreTests, live
from asgi_infra.tokens import RotationStatus

if TYPE_CHECKING:
    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore


class Lifetimes(StoreTests):
    """One store, and a clock that is set."""

    async def test_a_token_is_good_until_it_expires(self, store: TokenStore, issue: Issue, clock: ManualClock) -> None:
        token = issue(lifetime=10)
        await store.save(token)
        clock.advance(9.999999)
        assert await store.get(token.jti) == token
        clock.advance(0.000001)
        assert await store.get(token.jti) is None
        assert await store.is_revoked(token.jti)
        assert await store.list_for_user(ALICE) == []
        assert not await store.touch(token.jti)
        assert not await store.revoke(token.jti)
        assert await store.revoke_family(token.family_id) == 0
        assert await store.revoke_all_for_user(ALICE) == 0

    async def test_a_token_may_be_good_for_all_time_there_is(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        token = issue().replaced(expires_at=datetime.max.replace(tzinfo=UTC))
        store = make_store(touch_interval=0)
        await store.save(token)
        assert await store.get(token.jti) == token
        clock.advance(900 * 365 * 86400)
        assert await store.touch(token.jti)
        rotation = await store.rotate(token.jti, issue().replaced(expires_at=token.expires_at))
        assert rotation.token is not None
        assert await store.get(rotation.token.jti) == rotation.token
        assert await store.revoke_all_for_user(ALICE) == 1

    async def test_an_expired_token_can_not_be_rotated(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        for token in (issue(lifetime=10), issue(lifetime=10, jti="made-elsewhere")):
            await store.save(token)
        clock.advance(10)
        for jti in (token.jti, "made-elsewhere"):
            assert (await store.rotate(jti, issue())).status is RotationStatus.UNKNOWN
            assert (await store.rotate(jti, lambda old: old.successor(clock=clock))).status is RotationStatus.UNKNOWN
        assert await store.list_for_user(ALICE) == []

    async def test_the_jti_of_an_expired_token_is_free(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        await store.save(issue(jti="again", lifetime=10))
        clock.advance(10)
        token = issue(jti="again", lifetime=20)
        await store.save(token)
        assert await store.get("again") == token
        clock.advance(10)
        assert await store.get("again", user_id=ALICE) == token
        assert len(await store.list_for_user(ALICE)) == 1

    async def test_the_jti_of_an_expired_token_is_free_for_another_user(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        await store.save(issue(jti="again", lifetime=10))
        clock.advance(10)
        token = issue(BOB, jti="again")
        await store.save(token)
        assert await store.get("again") == token
        assert await store.list_for_user(ALICE) == []
        assert await store.revoke_all_for_user(ALICE) == 0
        assert await live(store, token) == [True]

    async def test_a_token_that_idles_is_no_longer_good(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(idle_lifetime=100, touch_interval=10)
        token = issue()
        await store.save(token)
        clock.advance(99)
        assert await store.touch(token.jti)
        clock.advance(99)
        assert await store.touch(token.jti)
        clock.advance(100)
        assert not await store.touch(token.jti)
        assert await live(store, token) == [False]
        assert await store.list_for_user(ALICE) == []
        assert (await store.rotate(token.jti, issue())).status is RotationStatus.UNKNOWN

    async def test_looking_is_no_use(self, make_store: MakeStore, issue: Issue, clock: ManualClock) -> None:
        store = make_store(idle_lifetime=100)
        token = issue()
        await store.save(token)
        clock.advance(99)
        assert await live(store, token) == [True]
        await store.list_for_user(ALICE)
        clock.advance(1)
        assert await live(store, token) == [False]

    async def test_a_rotation_is_a_use(self, make_store: MakeStore, issue: Issue, clock: ManualClock) -> None:
        store = make_store(idle_lifetime=100)
        token = issue()
        await store.save(token)
        for _ in range(3):
            clock.advance(99)
            successor = (await store.rotate(token.jti, issue())).token
            assert successor is not None
            token = successor
        assert await live(store, token) == [True]

    async def test_a_family_ends_whatever_its_rotations(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(absolute_lifetime=300)
        end = clock.after(300)
        token = issue(lifetime=1000)
        await store.save(token)
        for seconds in (0, 100, 100, 99):
            clock.advance(seconds)
            rotation = await store.rotate(token.jti, issue(lifetime=1000))
            assert rotation.status is RotationStatus.ROTATED
            assert rotation.token is not None
            assert rotation.token.expires_at == end
            token = rotation.token
            assert await store.get(token.jti) == token
        clock.advance(1)
        assert await live(store, token) == [False]
        assert (await store.rotate(token.jti, issue())).status is RotationStatus.UNKNOWN

    async def test_a_token_that_is_saved_ends_with_its_family_too(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(absolute_lifetime=300)
        long, short = issue(lifetime=301), issue(lifetime=299)
        await store.save(long)
        await store.save(short)
        found = await store.get(long.jti)
        assert found is not None
        assert found == long.replaced(expires_at=clock.after(300))
        assert await store.get(short.jti) == short

    # Clocks that jump

    async def test_a_clock_that_jumps_forward_ends_what_has_expired(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        short, long = issue(lifetime=60), issue(lifetime=90 * 86400)
        await store.save(short)
        await store.save(long)
        clock.advance(30 * 86400)
        assert await live(store, short, long) == [False, True]

    async def test_a_clock_that_is_set_back_brings_nothing_revoked_back(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        revoked, kept, used = issue(), issue(), issue()
        for token in (revoked, kept, used):
            await store.save(token)
        await store.revoke(revoked.jti)
        successor = (await store.rotate(used.jti, issue())).token
        assert successor is not None
        clock.advance(-86400)
        assert await live(store, revoked, kept, used, successor) == [False, True, False, True]
        assert (await store.rotate(revoked.jti, issue())).status is RotationStatus.UNKNOWN
        again = await store.rotate(used.jti, issue())
        assert (again.status, again.token) == (RotationStatus.SUPERSEDED, successor)
        assert await store.touch(kept.jti)
        early = issue()
        await store.save(early)
        assert (await store.rotate(early.jti, issue())).ok
        assert await store.revoke_all_for_user(ALICE) == 3

    # At most so many

    async def test_the_oldest_token_goes_when_a_user_has_too_many(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(max_sessions=2)
        tokens = []
        for _ in range(5):
            tokens.append(issue())
            await store.save(tokens[-1])
            clock.advance(1)
        other = issue(BOB)
        await store.save(other)
        assert await live(store, *tokens, other) == [False, False, False, True, True, True]
        assert (await store.rotate(tokens[2].jti, issue())).status is RotationStatus.UNKNOWN

    async def test_only_live_tokens_count_for_the_most_that_a_user_may_have(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(max_sessions=2)
        expired, revoked, kept = issue(lifetime=1), issue(), issue()
        await store.save(expired)
        await store.save(revoked)
        clock.advance(1)
        await store.save(kept)
        await store.revoke(revoked.jti)
        clock.advance(1)
        successor = (await store.rotate(kept.jti, issue())).token
        assert successor is not None
        last = issue()
        await store.save(last)
        assert await live(store, successor, last) == [True, True]

    async def test_a_rotation_takes_nobodys_place(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(max_sessions=2)
        first, second = issue(), issue()
        await store.save(first)
        await store.save(second)
        for _ in range(4):
            clock.advance(1)
            successor = (await store.rotate(second.jti, issue())).token
            assert successor is not None
            second = successor
        assert await live(store, first, second) == [True, True]

    async def test_a_token_that_was_just_saved_is_live(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(max_sessions=1)
        old = issue()
        clock.advance(1)
        new = issue()
        await store.save(new)
        await store.save(old)
        assert await live(store, new, old) == [False, True]

    @pytest.mark.parametrize(
        "option", [{"idle_lifetime": 100.0}, {"absolute_lifetime": 100.0}, {"max_sessions": 2}, {"grace": 5.0}]
    )
    async def test_a_wrong_bound_is_refused_when_the_store_is_made(
        self, make_store: MakeStore, option: dict[str, float]
    ) -> None:
        ((name, _),) = option.items()
        await make_store(**option).ping()
        with pytest.raises(ValueError, match=name):
            make_store(**{name: -1})
