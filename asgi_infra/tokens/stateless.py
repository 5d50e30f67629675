"""Tokens that are not stored, such as signed JWTs: how they are refused before they expire."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from secrets import token_bytes
from typing import TYPE_CHECKING

from asgi_infra.tokens.clock import to_microseconds
from asgi_infra.tokens.life import StoreLife
from asgi_infra.tokens.model import require_aware, require_identifier

if TYPE_CHECKING:
    from datetime import datetime


class StatelessTokens(StoreLife):
    """One token is refused by `deny`; all of a user's by a new generation, without storing any of them."""

    async def deny(self, jti: str, until: datetime) -> None:
        """Refuse a token that is not stored, such as a signed JWT.

        Args:
            jti: Its identifier, or its digest for tokens without one.
            until: When it expires by itself, aware; the entry is kept for `leeway` longer. One in the past is no error.

        Raises:
            ConfigurationError: `jti` can't be an identifier, or `until` is naive.
            StoreFullError: A bound is reached; the token is not denied.
        """
        require_identifier("jti", jti)
        end = to_microseconds(require_aware("until", until)) + round(self._settings.leeway * 1_000_000)
        await self.open()
        now = self._now()
        if end > now:
            await self._ending(self._deny(self._hashing.digest(jti), end, now))

    async def is_denied(self, jti: str) -> bool:
        """Return whether `deny` was called for a token that has not expired since."""
        digests = self._lookup(jti)
        await self.open()
        return digests is not None and await self._counted(self._is_denied(digests, self._now()))

    async def generation(self, user_id: str) -> str:
        """Return a user's generation, to be put into the tokens that are signed for them; made when there is none.

        Example:
            >>> claims = {"sub": "alice", "gen": await store.generation("alice")}
        """
        return await self._generated(user_id, renew=False)

    async def renew_generation(self, user_id: str) -> str:
        """Give a user a new generation: every token that carries the one before is refused, none has to be stored."""
        return await self._generated(user_id, renew=True)

    async def is_current(self, user_id: str, generation: str | None) -> bool:
        """Return whether a token's generation is the user's; `False` where either is missing."""
        require_identifier("user_id", user_id)
        await self.open()
        if not isinstance(generation, str):
            return False
        return await self._counted(self._current_generation(user_id, self._now())) == generation

    async def _generated(self, user_id: str, *, renew: bool) -> str:
        require_identifier("user_id", user_id)
        await self.open()
        now = self._now()
        fresh = urlsafe_b64encode(token_bytes(12)).decode("ascii")
        until = now + round(self._settings.generation_lifetime * 1_000_000)
        counted = self._ending if renew else self._counted
        return await counted(self._set_generation(user_id, fresh, until, renew, now))
