# ruff: noqa: S101
"""Examples of the contract: keys, handles and the encryption of metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_infra.testing.tokens.base import ALICE, BOB, KEY, NEW_KEY, StoreTests, live
from asgi_infra.tokens import CorruptRecordError, DuplicateTokenError, RotationStatus, StoredToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore

METADATA = {"device": "secret-phone", "list": [1, {"deep": "secret-é"}]}


class Cipher:
    """Stands for `Fernet`: what it was not given it refuses."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def encrypt(self, plain: bytes) -> bytes:
        return b"sealed:" + bytes(byte ^ self._pad for byte in b"plain:" + plain)

    def decrypt(self, data: bytes) -> bytes:
        plain = bytes(byte ^ self._pad for byte in data.removeprefix(b"sealed:"))
        if not plain.startswith(b"plain:"):
            raise ValueError("another key")
        return plain.removeprefix(b"plain:")


class Keys(StoreTests):
    """What is kept of identifiers and metadata."""

    @pytest.fixture
    def stored(self) -> Callable[[], Awaitable[bytes]] | None:
        """Override it to return a function that returns everything that is stored, in whatever form."""
        return None

    # Handles

    async def test_with_a_key_the_true_jti_is_listed(self, make_store: MakeStore, issue: Issue) -> None:
        store = make_store(key=KEY)
        tokens = {issue(), issue(jti="made-elsewhere", metadata={"device": "phone"})}
        for token in tokens:
            await store.save(token)
        assert set(await store.list_for_user(ALICE)) == tokens

    async def test_a_listed_token_can_be_touched_and_revoked(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        for key in (None, KEY):
            store = make_store(key=key, touch_interval=0)
            user_id = BOB if key else ALICE
            revoked = issue(user_id)
            await store.save(revoked)
            clock.advance(1)
            kept = issue(user_id, jti=f"made-elsewhere-{bool(key)}")
            await store.save(kept)
            second, first = [token.jti for token in await store.list_for_user(user_id)]
            assert await store.touch(second)
            assert await store.revoke(first) is True
            assert await store.revoke(first, user_id=user_id) is False
            assert await live(store, revoked, kept) == [False, True]
            await store.save(issue(user_id))
            assert await store.revoke_all_for_user(user_id, except_jti=second) == 1
            assert await live(store, kept) == [True]
            assert await store.revoke(second, user_id=user_id) is True

    async def test_a_listed_token_has_all_its_fields(self, store: TokenStore, issue: Issue) -> None:
        token = issue(metadata=METADATA, client_id="shop-app")
        await store.save(token)
        (listed,) = await store.list_for_user(ALICE)
        assert listed.replaced(jti=token.jti) == token

    async def test_a_handle_is_no_credential(self, make_store: MakeStore, issue: Issue, clock: ManualClock) -> None:
        store = make_store()
        token = issue(jti="made-elsewhere")
        await store.save(token)
        (listed,) = await store.list_for_user(ALICE)
        if listed.jti == token.jti:
            # A store may know it: one that keeps it in its own process, for example.
            return
        for user_id in (None, ALICE):
            assert await store.get(listed.jti, user_id=user_id) is None
            assert await store.is_revoked(listed.jti, user_id=user_id)
        assert (await store.rotate(listed.jti, issue())).status is RotationStatus.UNKNOWN
        assert (await store.rotate(listed.jti, StoredToken.successor)).status is RotationStatus.UNKNOWN
        assert await live(store, token) == [True]

    # Keys

    @pytest.mark.usefixtures("several")
    async def test_a_key_can_be_replaced_by_another(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        old, both = make_store(key=KEY), make_store(key=[NEW_KEY, KEY])
        tokens = [issue(), issue(jti="made-elsewhere")]
        for token in tokens:
            await old.save(token)
        await old.deny("denied", clock.after(100))
        for token in tokens:
            assert await both.get(token.jti) == token
            assert await both.get(token.jti, user_id=ALICE) == token
            with pytest.raises(DuplicateTokenError):
                await both.save(token)
            assert await both.touch(token.jti)
        assert set(await both.list_for_user(ALICE)) == set(tokens)
        assert await both.is_denied("denied")
        assert await both.revoke_all_for_user(ALICE, except_jti=tokens[0].jti) == 1
        assert await live(both, *tokens) == [True, False]
        assert await both.revoke(tokens[0].jti) is True

    @pytest.mark.usefixtures("several")
    @pytest.mark.parametrize("jti", [None, "made-elsewhere"])
    async def test_rotation_and_reuse_work_across_a_change_of_keys(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock, jti: str | None
    ) -> None:
        old, both, new = (make_store(key=key, grace=5) for key in (KEY, [NEW_KEY, KEY], NEW_KEY))
        first = issue(jti=jti)
        await old.save(first)
        second = (await both.rotate(first.jti, issue())).token
        assert second is not None
        assert await old.get(second.jti) is None
        assert await new.get(second.jti) == second
        again = await both.rotate(first.jti, issue())
        assert (again.status, again.token) == (RotationStatus.SUPERSEDED, second)
        clock.advance(5)
        reuse = await both.rotate(first.jti, issue())
        assert (reuse.status, reuse.revoked) == (RotationStatus.REUSED, 1)
        assert await live(new, second) == [False]

    @pytest.mark.usefixtures("several")
    async def test_reuse_is_noticed_long_after_a_change_of_keys(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        old, both = (make_store(key=key, grace=5) for key in (KEY, [NEW_KEY, KEY]))
        first = issue(jti="made-elsewhere")
        await old.save(first)
        second = (await old.rotate(first.jti, issue())).token
        assert second is not None
        third = (await both.rotate(second.jti, issue())).token
        assert third is not None
        clock.advance(1000)
        while await both.purge_expired():
            pass
        reuse = await both.rotate(first.jti, issue())
        assert (reuse.status, reuse.revoked) == (RotationStatus.REUSED, 1)
        assert await live(both, third) == [False]

    @pytest.mark.usefixtures("several")
    async def test_with_another_key_nothing_is_found(
        self, make_store: MakeStore, issue: Issue, clock: ManualClock
    ) -> None:
        token = issue()
        store, other = make_store(key=KEY), make_store(key=NEW_KEY)
        await store.save(token)
        await store.deny("denied", clock.after(100))
        for stranger in (other, make_store()):
            assert await stranger.get(token.jti) is None
            assert await stranger.get(token.jti, user_id=ALICE) is None
            assert not await stranger.is_denied("denied")
        assert await store.get(token.jti) == token

    @pytest.mark.parametrize("key", ["short", b"x" * 15, b"x" * 65, [b"k" * 32, b"short"], [], 5, [None]])
    async def test_a_wrong_key_is_refused(self, make_store: MakeStore, key: object) -> None:
        with pytest.raises(ValueError, match="key must") as caught:
            make_store(key=key)
        assert "short" not in str(caught.value).replace("shorter", "")

    # Metadata

    async def test_encrypted_metadata_comes_back(self, make_store: MakeStore, issue: Issue, clock: ManualClock) -> None:
        cipher = Cipher(0x55)
        store = make_store(encrypt=cipher.encrypt, decrypt=cipher.decrypt, touch_interval=0)
        for metadata in (METADATA, {}):
            token = issue(metadata=metadata)
            await store.save(token)
            clock.advance(1)
            assert await store.touch(token.jti)
            found = await store.get(token.jti)
            assert found is not None
            assert found == token.replaced(last_used_at=clock())
            rotation = await store.rotate(token.jti, lambda old: old.successor(clock=clock))
            assert rotation.token is not None
            assert rotation.token.metadata == metadata
            again = await store.rotate(token.jti, issue())
            assert again.token == rotation.token
            (listed,) = await store.list_for_user(ALICE)
            assert listed.metadata == metadata
            await store.revoke_all_for_user(ALICE)

    @pytest.mark.usefixtures("several")
    async def test_metadata_that_needs_another_key_is_an_error(self, make_store: MakeStore, issue: Issue) -> None:
        right, wrong = Cipher(0x55), Cipher(0x66)
        token = issue(metadata=METADATA)
        await make_store(encrypt=right.encrypt, decrypt=right.decrypt).save(token)
        for options in ({"encrypt": wrong.encrypt, "decrypt": wrong.decrypt}, {}):
            store = make_store(**options)
            for call in (store.get(token.jti), store.list_for_user(ALICE)):
                with pytest.raises(CorruptRecordError) as caught:
                    await call
                assert caught.value.__cause__ is not None
                assert not caught.value.retryable
            assert (await store.stats()).failed == 2
        assert await store.revoke_all_for_user(ALICE) == 1

    async def test_nothing_is_stored_that_lets_a_reader_act_as_a_user(
        self,
        make_store: MakeStore,
        issue: Issue,
        clock: ManualClock,
        stored: Callable[[], Awaitable[bytes]] | None,
    ) -> None:
        if stored is None:
            pytest.skip("this test class gives no fixture `stored` that returns what is stored")
        cipher = Cipher(0x55)
        for key in (None, KEY):
            store = make_store(key=key, encrypt=cipher.encrypt, decrypt=cipher.decrypt)
            tokens = [issue(metadata=METADATA), issue(jti=f"secret-jti-{bool(key)}", metadata=METADATA)]
            for token in tokens:
                await store.save(token)
                await store.rotate(token.jti, issue(jti=f"secret-successor-{token.jti[-4:]}"))
            await store.deny("secret-denied", clock.after(100))
            data = await stored()
            assert data
            assert b"secret-" not in data
            for token in tokens:
                assert token.jti.encode() not in data
