# ruff: noqa: S101
"""Identifiers that were made elsewhere: they do not tell whose they are, and are one user's at a time all the same."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import pytest

from asgi_infra.testing.tokens.base import ALICE, BOB, StoreTests, live
from asgi_infra.testing.tokens.races import together
from asgi_infra.tokens import DuplicateTokenError, RotationStatus, StoredToken

if TYPE_CHECKING:
    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore


class Elsewhere(StoreTests):
    """One identifier and several users."""

    race_rounds: ClassVar[int] = 5

    async def test_of_many_users_with_one_jti_one_succeeds(self, store: TokenStore, issue: Issue) -> None:
        for number in range(self.race_rounds):
            tokens = [issue(f"user-{each}", jti=f"made-elsewhere-{number}") for each in range(8)]

            async def save(token: StoredToken) -> bool:
                try:
                    await store.save(token)
                except DuplicateTokenError:
                    return False
                return True

            saved = await together(*[partial(save, token) for token in tokens])
            assert sum(saved) == 1
            assert await store.get(tokens[0].jti) == tokens[saved.index(True)]
            found = [await store.get(token.jti, user_id=token.user_id) is not None for token in tokens]
            assert found == saved
            assert await store.revoke(tokens[0].jti) is True
            assert not any([await store.get(token.jti, user_id=token.user_id) for token in tokens])

    async def test_of_many_users_who_rotate_to_one_jti_one_succeeds(self, store: TokenStore, issue: Issue) -> None:
        for number in range(self.race_rounds):
            olds = [issue(f"user-{each}") for each in range(8)]
            news = [issue(f"user-{each}", jti=f"made-elsewhere-{number}") for each in range(8)]
            for old in olds:
                await store.save(old)

            async def rotate(old: StoredToken, new: StoredToken) -> bool:
                try:
                    return (await store.rotate(old.jti, new)).status is RotationStatus.ROTATED
                except DuplicateTokenError:
                    return False

            rotated = await together(*map(partial(partial, rotate), olds, news))
            assert sum(rotated) == 1
            assert await live(store, *olds) == [not each for each in rotated]
            found = await store.get(news[0].jti)
            assert found is not None
            assert found.user_id == news[rotated.index(True)].user_id

    @pytest.mark.parametrize("ended_by", ["revocation", "revocation of all", "expiry"])
    async def test_a_jti_may_go_to_another_user_when_its_token_has_ended(
        self, store: TokenStore, issue: Issue, clock: ManualClock, ended_by: str
    ) -> None:
        for user_id in (ALICE, BOB, ALICE, ALICE, BOB):
            token = issue(user_id, jti="made-elsewhere", lifetime=3600 if user_id == BOB else 86400)
            await store.save(token)
            for other in (ALICE, BOB):
                with pytest.raises(DuplicateTokenError):
                    await store.save(issue(other, jti="made-elsewhere"))
            assert await store.get("made-elsewhere") == token
            assert await store.get("made-elsewhere", user_id=user_id) == token
            assert await store.touch("made-elsewhere")
            if ended_by == "revocation":
                assert await store.revoke("made-elsewhere") is True
            elif ended_by == "revocation of all":
                assert await store.revoke_all_for_user(user_id) == 1
            else:
                clock.advance(86400)
            assert await store.get("made-elsewhere") is None

    async def test_the_jti_of_a_used_token_is_not_free_yet(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(grace=5)
        await store.save(issue(jti="made-elsewhere"))
        await store.rotate("made-elsewhere", issue(jti="made-elsewhere-2"))
        for taken in ("made-elsewhere", "made-elsewhere-2"):
            with pytest.raises(DuplicateTokenError):
                await store.save(issue(BOB, jti=taken))
        clock.advance(10)
        token = issue(BOB, jti="made-elsewhere")
        await store.save(token)
        assert await store.get("made-elsewhere") == token

    async def test_a_successor_whose_jti_another_user_has_changes_nothing(
        self, store: TokenStore, issue: Issue
    ) -> None:
        mine, theirs = issue(), issue(BOB, jti="made-elsewhere")
        await store.save(mine)
        await store.save(theirs)
        with pytest.raises(DuplicateTokenError):
            await store.rotate(mine.jti, issue(jti="made-elsewhere"))
        assert await live(store, mine, theirs) == [True, True]
        successor = issue()
        assert (await store.rotate(mine.jti, successor)).token == successor.replaced(family_id=mine.family_id)
        assert (await store.rotate(mine.jti, issue(jti="made-elsewhere"))).status is RotationStatus.SUPERSEDED
        unknown = issue()
        assert (await store.rotate(unknown.jti, issue(jti="made-elsewhere"))).status is RotationStatus.UNKNOWN
        assert await store.get("made-elsewhere") == theirs

    async def test_a_family_is_found_by_its_name_after_it_was_another_users(
        self, store: TokenStore, issue: Issue
    ) -> None:
        await store.save(issue(jti="made-elsewhere", family_id="family", lifetime=86400))
        assert await store.revoke_family("family") == 1
        token = issue(BOB, jti="made-elsewhere-2", family_id="family")
        await store.save(token)
        assert await store.revoke_family("family") == 1
        assert await live(store, token) == [False]
