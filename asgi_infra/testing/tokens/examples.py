# ruff: noqa: S101
"""Examples of the contract: what saving, finding, revoking and touching mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra.testing.tokens.base import ALICE, BOB, StoreTests, live
from asgi_infra.tokens import DuplicateTokenError, RotationStatus, StoreClosedError, StoredToken

if TYPE_CHECKING:
    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore

METADATA = {"device": "phone", "address": "192.0.2.7", "nested": {"list": [1, 2.5, None, True, "é"]}}


class Examples(StoreTests):
    """One store, one caller."""

    # Saving and finding

    async def test_a_saved_token_is_found_with_all_its_fields(self, store: TokenStore, issue: Issue) -> None:
        token = issue(client_id="shop-app", metadata=METADATA)
        await store.save(token)
        assert await store.get(token.jti) == token
        assert await store.get(token.jti, user_id=ALICE) == token
        assert not await store.is_revoked(token.jti)
        assert not await store.is_revoked(token.jti, user_id=ALICE)

    async def test_an_identifier_made_elsewhere_is_found_too(self, store: TokenStore, issue: Issue) -> None:
        token = issue(jti="6f0c9c1e-demo", family_id="family-of-elsewhere")
        await store.save(token)
        assert await store.get(token.jti) == token
        assert await store.get(token.jti, user_id=ALICE) == token

    async def test_times_are_kept_to_the_microsecond(self, store: TokenStore, issue: Issue, clock: ManualClock) -> None:
        clock.advance(0.000001)
        token = issue(lifetime=60.000007)
        await store.save(token)
        found = await store.get(token.jti)
        assert found is not None
        assert (found.issued_at, found.expires_at) == (clock(), clock.after(60.000007))

    async def test_what_was_never_saved_is_not_there(self, store: TokenStore, issue: Issue) -> None:
        unknown = issue().jti
        assert await store.get(unknown) is None
        assert await store.get("unknown", user_id=ALICE) is None
        assert await store.is_revoked(unknown)
        assert not await store.revoke(unknown)
        assert not await store.touch(unknown)
        assert await store.revoke_family("unknown") == 0
        assert await store.revoke_all_for_user(ALICE) == 0
        assert await store.list_for_user(ALICE) == []

    async def test_a_token_of_another_user_is_not_there(self, store: TokenStore, issue: Issue) -> None:
        for token in (issue(), issue(jti="made-elsewhere")):
            await store.save(token)
            assert await store.get(token.jti, user_id=BOB) is None
            assert await store.is_revoked(token.jti, user_id=BOB)
            assert not await store.revoke(token.jti, user_id=BOB)
            assert not await store.touch(token.jti, user_id=BOB)
            assert await store.revoke_family(token.family_id, user_id=BOB) == 0
            assert await store.get(token.jti) == token

    @pytest.mark.parametrize("jti", [None, "made-elsewhere"])
    async def test_a_second_token_with_the_same_jti_is_an_error_and_changes_nothing(
        self, store: TokenStore, issue: Issue, jti: str | None
    ) -> None:
        token = issue(jti=jti, metadata={"device": "phone"})
        await store.save(token)
        for again in (token, issue(jti=token.jti, lifetime=7200), token.replaced(metadata={"device": "other"})):
            with pytest.raises(DuplicateTokenError) as caught:
                await store.save(again)
            assert not caught.value.retryable
        assert await store.get(token.jti) == token
        assert await store.list_for_user(ALICE) == [await _listed(store, token)]

    async def test_the_jti_of_a_used_token_is_taken(self, store: TokenStore, issue: Issue) -> None:
        token = issue()
        await store.save(token)
        await store.rotate(token.jti, token.successor(clock=lambda: token.issued_at))
        with pytest.raises(DuplicateTokenError):
            await store.save(token)

    async def test_only_a_live_token_can_be_saved(self, store: TokenStore, issue: Issue, clock: ManualClock) -> None:
        token = issue(lifetime=10)
        clock.advance(10)
        with pytest.raises(ValueError, match="expires_at"):
            await store.save(token)
        for wrong in (None, token.jti, token.to_dict()):
            with pytest.raises(ValueError, match="token must be a StoredToken"):
                await store.save(wrong)  # type: ignore[arg-type]
        assert await store.list_for_user(ALICE) == []

    async def test_metadata_may_be_as_large_as_a_token_allows(self, store: TokenStore, issue: Issue) -> None:
        token = issue(metadata={"é": '\N{GRINNING FACE}\\"\u2028' * 200})
        await store.save(token)
        assert await store.get(token.jti) == token

    async def test_identifiers_may_be_as_long_as_a_token_allows(self, store: TokenStore, issue: Issue) -> None:
        wide = "\N{GRINNING FACE}" * 255
        token = issue(wide, jti=wide, family_id=wide, client_id=wide)
        await store.save(token)
        assert await store.get(wide) == token
        successor = token.successor(jti="\N{WINKING FACE}" * 255, clock=lambda: token.issued_at)
        assert (await store.rotate(wide, successor)).token == successor
        assert (await store.rotate(wide, issue(wide))).token == successor
        assert await store.revoke_all_for_user(wide) == 1

    # Revoking

    @pytest.mark.parametrize("jti", [None, "made-elsewhere"])
    async def test_a_revoked_token_is_gone_and_others_are_not(
        self, store: TokenStore, issue: Issue, jti: str | None
    ) -> None:
        token, other = issue(jti=jti), issue()
        await store.save(token)
        await store.save(other)
        assert await store.revoke(token.jti, reason="lost phone") is True
        assert await store.revoke(token.jti) is False
        assert await live(store, token, other) == [False, True]
        assert await store.is_revoked(token.jti)
        assert not await store.touch(token.jti)
        assert (await store.rotate(token.jti, issue())).status is RotationStatus.UNKNOWN
        assert len(await store.list_for_user(ALICE)) == 1

    async def test_revoking_a_used_token_revokes_what_replaced_it(self, store: TokenStore, issue: Issue) -> None:
        token = issue()
        await store.save(token)
        second = (await store.rotate(token.jti, issue())).token
        assert second is not None
        assert await store.revoke(token.jti) is True
        assert await live(store, token, second) == [False, False]
        assert await store.revoke(token.jti) is False

    async def test_a_family_is_revoked_by_its_name(self, store: TokenStore, issue: Issue) -> None:
        first, twin = issue(family_id="phones"), issue(family_id="phones")
        other = issue()
        for token in (first, twin, other):
            await store.save(token)
        assert await store.revoke_family("phones", reason="stolen") == 2
        assert await store.revoke_family("phones") == 0
        assert await live(store, first, twin, other) == [False, False, True]
        assert await store.revoke_family(other.family_id, user_id=ALICE) == 1

    async def test_all_of_a_user_are_revoked_and_nobody_elses(self, store: TokenStore, issue: Issue) -> None:
        mine = [issue() for _ in range(5)]
        theirs = issue(BOB)
        for token in (*mine, theirs):
            await store.save(token)
        assert await store.revoke_all_for_user(ALICE, reason="password changed") == 5
        assert await store.revoke_all_for_user(ALICE) == 0
        assert await live(store, *mine, theirs) == [False] * 5 + [True]
        assert await store.list_for_user(ALICE) == []
        later = issue()
        await store.save(later)
        assert await live(store, later) == [True]

    @pytest.mark.parametrize("jti", [None, "made-elsewhere"])
    async def test_all_but_one_of_a_user_are_revoked(self, store: TokenStore, issue: Issue, jti: str | None) -> None:
        kept, *others = [issue(jti=jti), issue(), issue()]
        for token in (kept, *others):
            await store.save(token)
        assert await store.revoke_all_for_user(ALICE, except_jti=kept.jti) == 2
        assert await live(store, kept, *others) == [True, False, False]
        assert await store.get(kept.jti) == kept
        assert await store.revoke_all_for_user(ALICE, except_jti=others[0].jti) == 1

    async def test_a_token_of_another_user_can_not_be_excepted(self, store: TokenStore, issue: Issue) -> None:
        mine, theirs = issue(), issue(BOB)
        await store.save(mine)
        await store.save(theirs)
        assert await store.revoke_all_for_user(ALICE, except_jti=theirs.jti) == 1
        assert await live(store, mine, theirs) == [False, True]

    async def test_revoking_all_forgets_used_tokens_too(self, store: TokenStore, issue: Issue) -> None:
        token = issue()
        await store.save(token)
        await store.rotate(token.jti, issue())
        assert await store.revoke_all_for_user(ALICE) == 1
        assert (await store.rotate(token.jti, issue())).status is RotationStatus.UNKNOWN

    # Listing

    async def test_live_tokens_are_listed_the_latest_first(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        devices = ["phone", "laptop", "tablet"]
        for device in devices:
            await store.save(issue(metadata={"device": device}))
            clock.advance(1)
        await store.save(issue(BOB))
        expired, used, revoked = issue(lifetime=1), issue(), issue()
        for token in (expired, used, revoked):
            await store.save(token)
        await store.rotate(used.jti, issue(metadata={"device": "car"}))
        await store.revoke(revoked.jti)
        clock.advance(1)
        listed = await store.list_for_user(ALICE)
        assert [token.metadata["device"] for token in listed] == ["car", "tablet", "laptop", "phone"]
        assert {token.user_id for token in listed} == {ALICE}

    # Touching

    async def test_touch_notes_the_time_once_in_an_interval(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(touch_interval=60)
        token = issue()
        await store.save(token)
        seen: list[Any] = []
        for seconds in (0, 59, 1, 30, 29, 1):
            clock.advance(seconds)
            assert await store.touch(token.jti) is True
            found = await store.get(token.jti, user_id=ALICE)
            assert found is not None
            used = found.last_used_at
            seen.append(None if used is None else (used - token.issued_at).total_seconds())
            assert found == token.replaced(last_used_at=used)
        assert seen == [None, None, 60, 60, 60, 120]

    async def test_touch_without_an_interval_notes_every_time(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(touch_interval=0)
        token = issue(jti="made-elsewhere")
        await store.save(token)
        for _ in range(3):
            clock.advance(1)
            assert await store.touch(token.jti, user_id=ALICE)
            found = await store.get(token.jti)
            assert found is not None
            assert found.last_used_at == clock()

    async def test_touch_does_not_bring_anything_back(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        store = make_store(touch_interval=0)
        revoked, used, expired = issue(), issue(), issue(lifetime=5)
        for token in (revoked, used, expired):
            await store.save(token)
        await store.revoke(revoked.jti)
        await store.rotate(used.jti, issue())
        clock.advance(5)
        for token in (revoked, used, expired):
            assert await store.touch(token.jti) is False
            assert await store.get(token.jti) is None
        assert len(await store.list_for_user(ALICE)) == 1

    # Upkeep and the end

    async def test_purging_removes_what_nobody_needs_and_nothing_else(
        self, store: TokenStore, issue: Issue, clock: ManualClock
    ) -> None:
        for number in range(7):
            await store.save(issue(lifetime=10))
            await store.deny(f"denied-{number}", clock.after(10))
        used, kept = issue(), issue()
        await store.save(used)
        await store.save(kept)
        successor = (await store.rotate(used.jti, issue())).token
        assert successor is not None
        await store.deny("still-denied", clock.after(3600))
        clock.advance(3000)
        purged: list[int] = []
        while not purged or purged[-1]:
            assert len(purged) <= 15
            purged.append(await store.purge_expired(limit=3))
        assert max(purged) <= 3
        assert sum(purged) <= 15
        assert await live(store, kept, successor) == [True, True]
        assert await store.is_denied("still-denied")
        assert await store.purge_expired() == 0

    async def test_the_counters_add_up(self, make_store: MakeStore, issue: Issue, clock: ManualClock) -> None:
        store = make_store(max_sessions=3, grace=5)
        tokens = []
        for _ in range(4):
            tokens.append(issue())
            await store.save(tokens[-1])
            clock.advance(0.001)  # else chance decides which of them was issued first
        with pytest.raises(DuplicateTokenError):
            await store.save(tokens[-1])
        await store.rotate(tokens[-1].jti, issue())
        await store.rotate(tokens[-1].jti, issue())
        clock.advance(6)
        await store.rotate(tokens[-1].jti, issue())
        await store.revoke(tokens[-2].jti)
        await store.revoke(tokens[-2].jti)
        await store.save(issue(BOB))
        stats = await store.stats()
        assert (stats.saved, stats.evicted, stats.failed) == (5, 1, 1)
        assert (stats.rotated, stats.superseded, stats.reused) == (1, 1, 1)
        assert stats.revoked == 2
        assert stats.tokens is None or stats.tokens >= 2
        await store.deny("denied", clock.after(60))
        denied = (await store.stats()).denied
        assert denied is None or denied == 1

    async def test_a_store_that_answers_says_so(self, store: TokenStore) -> None:
        await store.ping()

    async def test_a_store_opens_itself_and_closes_after_async_with(self, make_store: MakeStore, issue: Issue) -> None:
        async with make_store() as store:
            await store.open()
            token = issue()
            await store.save(token)
            assert await store.get(token.jti) == token
        with pytest.raises(StoreClosedError):
            await store.get(token.jti)

    async def test_after_aclose_every_operation_says_that_the_store_is_closed(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        for used in (True, False):
            store = make_store()
            if used:
                await store.ping()
            await store.aclose()
            await store.aclose()
            token = issue()
            calls = [
                store.open(),
                store.save(token),
                store.get(token.jti),
                store.is_revoked(token.jti),
                store.rotate(token.jti, issue()),
                store.rotate(token.jti, StoredToken.successor),
                store.revoke(token.jti),
                store.revoke_family(token.family_id),
                store.revoke_all_for_user(ALICE),
                store.list_for_user(ALICE),
                store.touch(token.jti),
                store.deny("denied", clock.after(60)),
                store.is_denied("denied"),
                store.generation(ALICE),
                store.renew_generation(ALICE),
                store.is_current(ALICE, "generation"),
                store.purge_expired(),
                store.stats(),
                store.ping(),
            ]
            for call in calls:
                with pytest.raises(StoreClosedError) as caught:
                    await call
                assert not caught.value.retryable


async def _listed(store: TokenStore, token: StoredToken) -> StoredToken:
    """Return a token as it is listed: its `jti` is a handle where the store does not know better."""
    (listed,) = await store.list_for_user(token.user_id)
    return token.replaced(jti=listed.jti)
