# ruff: noqa: S101
"""Revoking all tokens of a user but one: the session that is kept stays whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_infra.testing.tokens.base import ALICE, BOB, StoreTests, live
from asgi_infra.tokens import RotationStatus

if TYPE_CHECKING:
    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import StoredToken, TokenStore


async def rotated(store: TokenStore, issue: Issue, token: StoredToken, times: int = 1) -> list[StoredToken]:
    """Save a token and rotate it; return it and what replaced it, as it is stored."""
    await store.save(token)
    tokens = [token]
    for _ in range(times):
        successor = (await store.rotate(tokens[-1].jti, issue(token.user_id))).token
        assert successor is not None
        tokens.append(successor)
    return tokens


class Sparing(StoreTests):
    """`except_jti` after a rotation."""

    @pytest.mark.parametrize("jti", [None, "made-elsewhere"])
    async def test_who_comes_second_is_told_the_token_that_was_kept(
        self, store: TokenStore, issue: Issue, jti: str | None
    ) -> None:
        first, kept = await rotated(store, issue, issue(jti=jti))
        other = issue()
        await store.save(other)
        assert await store.revoke_all_for_user(ALICE, except_jti=kept.jti) == 1
        assert await live(store, kept, other) == [True, False]
        again = await store.rotate(first.jti, issue())
        assert (again.status, again.token) == (RotationStatus.SUPERSEDED, kept)
        assert await live(store, kept) == [True]

    async def test_the_call_that_made_the_token_that_was_kept_can_be_repeated(
        self, store: TokenStore, issue: Issue
    ) -> None:
        token, successor = issue(), issue()
        await store.save(token)
        first = await store.rotate(token.jti, successor)
        assert await store.revoke_all_for_user(ALICE, except_jti=successor.jti) == 0
        assert await store.rotate(token.jti, successor) == first

    async def test_reuse_after_the_grace_period_revokes_the_token_that_was_kept(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(grace=5)
        first, kept = await rotated(store, issue, issue())
        assert await store.revoke_all_for_user(ALICE, except_jti=kept.jti) == 0
        clock.advance(5)
        again = await store.rotate(first.jti, issue())
        assert (again.status, again.revoked) == (RotationStatus.REUSED, 1)
        assert await live(store, kept) == [False]

    @pytest.mark.parametrize("times", [1, 3])
    @pytest.mark.parametrize("jti", [None, "made-elsewhere"])
    async def test_a_used_token_keeps_what_replaced_it(
        self, store: TokenStore, issue: Issue, jti: str | None, times: int
    ) -> None:
        first, *_, last = await rotated(store, issue, issue(jti=jti), times)
        other = issue()
        await store.save(other)
        assert await store.revoke_all_for_user(ALICE, except_jti=first.jti) == 1
        assert await live(store, last, other) == [True, False]
        assert len(await store.list_for_user(ALICE)) == 1
        assert (await store.rotate(last.jti, issue())).ok

    async def test_a_used_token_whose_successor_was_revoked_keeps_nothing_live(
        self, store: TokenStore, issue: Issue
    ) -> None:
        first, second = await rotated(store, issue, issue())
        assert await store.revoke(second.jti)
        other = issue(family_id=first.family_id)
        await store.save(other)
        assert await store.revoke_all_for_user(ALICE, except_jti=first.jti) == 1
        assert await live(store, first, second, other) == [False] * 3

    async def test_another_live_token_of_the_family_is_not_kept(self, store: TokenStore, issue: Issue) -> None:
        _, kept = await rotated(store, issue, issue())
        other = issue(family_id=kept.family_id)
        await store.save(other)
        assert await store.revoke_all_for_user(ALICE, except_jti=kept.jti) == 1
        assert await live(store, kept, other) == [True, False]

    async def test_used_tokens_of_other_families_and_users_keep_nothing(
        self, make_store: MakeStore, issue: Issue
    ) -> None:
        store = make_store()
        kept = issue()
        await store.save(kept)
        used, other = await rotated(store, issue, issue(jti="made-elsewhere"))
        theirs, their_last = await rotated(store, issue, issue(BOB))
        assert await store.revoke_all_for_user(ALICE, except_jti=kept.jti) == 1
        assert await live(store, kept, other, their_last) == [True, False, True]
        assert (await store.rotate(used.jti, issue())).status is RotationStatus.UNKNOWN
        assert await store.revoke_all_for_user(ALICE, except_jti=theirs.jti) == 1
        assert await live(store, kept, their_last) == [False, True]
