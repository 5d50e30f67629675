# ruff: noqa: S101, S311
"""Examples of the contract: identifiers that want to be more than identifiers, and what errors and logs tell."""

from __future__ import annotations

import logging
import traceback
from functools import partial
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest

from asgi_infra.testing.tokens.base import ALICE, KEY, StoreTests, live
from asgi_infra.tokens import DuplicateTokenError, Rotation, RotationStatus, StoredToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore

ODD = [
    "alice:", ":alice", "al:ice", "{alice}", "alice}", "{alice", "{}", "}{", "{{alice}}",
    " alice", "alice ", "ALICE", "Alice", "a*", "a?ice", "[a]lice", "%", "_lice", "al%", "*",
    "alice'", "'; DROP TABLE tokens; --", "' OR '1'='1", 'a"b', "a\\b", "a\\'b", "`alice`", "$1", "%s", "%(a)s", ":1",
    "?", "#{KEYS[1]}", "redis.call('FLUSHALL')", "]]", "--[[", "{0}", "${alice}", "../alice", "/", "~", "~alice",
    "\u00e9", "e\u0301", "\N{LATIN SMALL LETTER SHARP S}", "ss", "\N{KELVIN SIGN}", "K", "k",
    "\N{ARABIC LETTER BEH}", "\N{GRINNING FACE}", "\N{ZERO WIDTH JOINER}", "\N{RIGHT-TO-LEFT OVERRIDE}ecila",
    "\ufeffalice", "alice\u00a0", "\ufffd", "\U0010ffff", "null", "None", "0", "00", "-1", "true", "x" * 255,
]  # fmt: skip
"""Identifiers that may be stored, each another one than all the rest."""

IMPOSSIBLE = [
    "", " ", "\t", "\u3000", "a\0b", "\0", "a\nb", "a\rb", "a\x7f", "a\x85b", "a\u2028b", "a\u2029b", "\ud800",
    "a\udfffb", "x" * 256, "x" * 10_000, "\N{GRINNING FACE}" * 10_000,
]  # fmt: skip
"""Identifiers that may not be stored."""


class Hostile(StoreTests):
    """Identifiers come from requests."""

    async def test_odd_identifiers_are_told_apart(self, make_store: MakeStore, issue: Issue) -> None:
        store = make_store(key=KEY)
        random = Random(1)
        tokens = [issue(name, jti=name, family_id=name, client_id=name) for name in ODD]
        for token in tokens:
            await store.save(token)
        for token in tokens:
            assert await store.get(token.jti) == token
            assert await store.get(token.jti, user_id=token.user_id) == token
            assert len(await store.list_for_user(token.user_id)) == 1
        for number, token in enumerate(tokens):
            revoking: list[Callable[[], Awaitable[int]]] = [
                partial(store.revoke, token.jti, user_id=token.user_id),
                partial(store.revoke_family, token.family_id),
                partial(store.revoke_all_for_user, token.user_id),
            ]
            random.shuffle(revoking)
            assert [await revoke() for revoke in revoking] == [1, 0, 0]
            assert await store.get(token.jti) is None
            if number + 1 < len(tokens):
                assert await live(store, tokens[number + 1]) == [True]

    async def test_odd_identifiers_are_denied_apart(self, store: TokenStore, clock: ManualClock) -> None:
        for name in ODD[::2]:
            await store.deny(name, clock.after(60))
        assert [name for name in ODD if await store.is_denied(name)] == ODD[::2]

    async def test_odd_users_have_generations_of_their_own(self, store: TokenStore) -> None:
        generations = [await store.generation(name) for name in ODD]
        assert len(set(generations)) == len(ODD)
        assert [await store.generation(name) for name in ODD] == generations

    async def test_odd_identifiers_rotate(self, store: TokenStore, issue: Issue, clock: ManualClock) -> None:
        for name, other in pairwise(ODD):
            token = issue(name, jti=name)
            await store.save(token)
            successor = token.successor(jti=other, clock=clock)
            assert (await store.rotate(name, successor)).token == successor
            assert (await store.rotate(name, issue(name))).token == successor
            assert await store.revoke_all_for_user(name) == 1

    async def test_what_can_not_be_stored_is_not_there(self, store: TokenStore, issue: Issue) -> None:
        token = issue()
        await store.save(token)
        for number, jti in enumerate([*IMPOSSIBLE, *ODD]):
            user_id = None if number % 2 else ALICE
            assert await store.get(jti, user_id=user_id) is None
            assert await store.is_revoked(jti, user_id=user_id)
            assert not await store.revoke(jti, user_id=user_id)
            assert not await store.touch(jti, user_id=user_id)
            assert await store.rotate(jti, issue()) == Rotation(RotationStatus.UNKNOWN)
            assert await store.rotate(jti, StoredToken.successor) == Rotation(RotationStatus.UNKNOWN)
            assert not await store.is_denied(jti)
        assert await live(store, token) == [True]

    async def test_what_the_application_says_is_checked(self, store: TokenStore, issue: Issue) -> None:
        jti = issue().jti
        for wrong in [*IMPOSSIBLE, 5, b"alice"]:
            for call in (
                store.get(jti, user_id=wrong),  # type: ignore[arg-type]
                store.is_revoked(jti, user_id=wrong),  # type: ignore[arg-type]
                store.revoke(jti, user_id=wrong),  # type: ignore[arg-type]
                store.touch(jti, user_id=wrong),  # type: ignore[arg-type]
                store.rotate(jti, issue(), user_id=wrong),  # type: ignore[arg-type]
                store.revoke_family(jti, user_id=wrong),  # type: ignore[arg-type]
                store.list_for_user(wrong),  # type: ignore[arg-type]
                store.revoke_all_for_user(wrong),  # type: ignore[arg-type]
                store.generation(wrong),  # type: ignore[arg-type]
                store.renew_generation(wrong),  # type: ignore[arg-type]
                store.is_current(wrong, "generation"),  # type: ignore[arg-type]
            ):
                with pytest.raises(ValueError, match="user_id must"):
                    await call
            with pytest.raises(ValueError, match="family_id must"):
                await store.revoke_family(wrong)  # type: ignore[arg-type]
        for wrong_jti in (None, 5, b"alice"):
            with pytest.raises(ValueError, match="jti must be a str"):
                await store.get(wrong_jti)  # type: ignore[arg-type]
        for limit in (0, -1, True, 1.5, None):
            with pytest.raises(ValueError, match="limit"):
                await store.purge_expired(limit=limit)  # type: ignore[arg-type]

    async def test_except_jti_may_be_anything(self, store: TokenStore, issue: Issue) -> None:
        for jti in [*IMPOSSIBLE, *ODD[:5]]:
            await store.save(issue())
            assert await store.revoke_all_for_user(ALICE, except_jti=jti) == 1

    @pytest.mark.parametrize("key", [None, KEY], ids=["without a key", "with a key"])
    async def test_neither_errors_nor_logs_tell_an_identifier(
        self,
        make_store: MakeStore,
        issue: Issue,
        clock: ManualClock,
        caplog: pytest.LogCaptureFixture,
        key: bytes | None,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        store = make_store(key=key, grace=0)
        token = issue("secret-user", jti="secret-jti", metadata={"device": "secret-phone"})
        other = issue("secret-user", jti="secret-other")
        await store.save(token)
        await store.save(other)
        told = []
        for call in (store.save(token), store.rotate(token.jti, other)):
            with pytest.raises(DuplicateTokenError) as caught:
                await call
            told += [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
        await store.rotate(token.jti, issue("secret-user", jti="secret-third"))
        clock.advance(1)
        await store.rotate(token.jti, issue("secret-user", jti="secret-fourth"))
        await store.revoke(other.jti, reason="lost phone")
        await store.save(issue("secret-user", jti="secret-fifth"))
        await store.revoke_all_for_user("secret-user", reason="password changed")
        told += [record.getMessage() for record in caplog.records]
        told += [repr(store), str(store), repr(await store.stats())]
        assert not [line for line in told if "secret-" in line]
        assert "lost phone" in caplog.text
        assert "password changed" in caplog.text
