"""The contract of every token store.

What holds for all of them, whatever the backend:

- **Live.** A token is live from `save` until it expires, idles, is revoked or is replaced. Only live tokens are found.
- **Lookups take anything.** An identifier comes from a request: one that can't be stored is simply not there. What the
  application itself says (a user, a moment, a bound) is checked, and a fault is a `ValueError`.
- **`user_id=`** says whose token it is, which spares a look-up on some backends; a token of another user is not found.
- **Expired** means not there, for every operation; whether the record is removed already can't be told from outside.
- **Twice.** `save` of the same `jti` is an error and changes nothing; all else does nothing the second time.
- **Concurrently.** Every operation is one step: callers see it done or not done, whatever the number of tasks, threads,
  processes and machines. A revoked token never comes back.
- **Handles.** A store that keeps digests can't tell the `jti` of a token that it lists. With a key it can; without one
  the listed token's `jti` is a handle, which `revoke`, `touch` and `except_jti` take in its place, and which is no
  credential.
- **After `aclose`** every operation raises `StoreClosedError`; `aclose` itself does nothing more.
- **Faults** are `TokenStoreError`s with `retryable`. A cancelled operation was done or not done, never half.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from asgi_infra.errors import ConfigurationError, TokenStoreError
from asgi_infra.forks import forks
from asgi_infra.options import require_integer
from asgi_infra.tokens.clock import from_microseconds, to_microseconds
from asgi_infra.tokens.identifiers import digest_in, seal, unseal
from asgi_infra.tokens.model import StoredToken, require_identifier
from asgi_infra.tokens.records import Record
from asgi_infra.tokens.rotation import Rotation, RotationStatus
from asgi_infra.tokens.stateless import StatelessTokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.tokens.records import Replaced

logger = logging.getLogger("asgi_infra.tokens")

_MAX_PURGE = 1_000_000


class TokenStore(StatelessTokens):
    """Keeps the tokens of users: revocable, rotating, race-free.

    Backends implement the methods of `TokenBackend`; applications call those below. A store opens itself when it is
    first used; `async with` opens and closes it.

    Args:
        key: Secret for the digests of identifiers, 16 to 64 bytes; a list to change it: the first is for writing, the
            others for what was written before. Without one digests are unkeyed, which is enough for identifiers of
            128 random bits.
        grace: For how many seconds a token that was replaced answers with its successor, 0 to 300; 30 by default.
        idle_lifetime: After how many seconds without use (`save`, `rotate`, `touch`) a token is no longer good.
        absolute_lifetime: After how many seconds since its first token a family is no longer good.
        max_sessions: How many live tokens a user may have; when another is saved, the oldest by issue is dropped.
        touch_interval: `touch` writes at most once in so many seconds; 60 by default.
        leeway: For how many seconds a deny entry outlives its token, since clocks differ; 60 by default.
        generation_lifetime: For how many seconds a user's generation is kept after it was last asked for: at least the
            longest life of a token that carries one; 90 days by default.
        encrypt: Turns the bytes of `metadata` into what is stored, for example `Fernet(key).encrypt`.
        decrypt: The reverse.
        clock: Returns the time now, aware.

    Raises:
        ConfigurationError: An option is wrong; it is a `ValueError`, and its message names the option.
    """

    # Tokens

    async def save(self, token: StoredToken) -> None:
        """Store a token; when this returns, it is live.

        Raises:
            ConfigurationError: It is no `StoredToken`, or expired, or its `jti` has the form of a handle.
            DuplicateTokenError: One with this `jti` is stored already; nothing was changed.
            OutcomeUnknownError: Not to be repeated here: `get` tells whether it is stored.
        """
        _require_storable("token", token)
        if self._opened_in != forks():
            await self.open()
        now = self._now()
        digests = self._hashing.digests(token.jti)
        record = self._record(token, digests[0], now)
        evicted = None
        try:
            evicted = await self._insert(record, digests[1:], now)
        except TokenStoreError:
            self._counts.add("failed")
            raise
        finally:
            if evicted != 0:  # or nobody knows
                self._revision = next(self._revisions)
        self._counts.add("saved")
        if evicted:
            self._counts.add("evicted", evicted)

    async def get(self, jti: str, *, user_id: str | None = None) -> StoredToken | None:
        """Return a live token, or `None`.

        Args:
            jti: Its identifier.
            user_id: Whose it is, if that is known.
        """
        digests = self._lookup(jti)
        if user_id is not None:
            require_identifier("user_id", user_id)
        if self._opened_in != forks():  # what open() would find; this is what applications call for every request
            await self.open()
        if digests is None:
            return None
        try:
            record = await self._find(digests, jti, user_id, self._now())
        except TokenStoreError:
            self._counts.add("failed")
            raise
        return None if record is None else record.token

    async def is_revoked(self, jti: str, *, user_id: str | None = None) -> bool:
        """Return whether a token is not live: revoked, replaced, expired or never issued."""
        return await self.get(jti, user_id=user_id) is None

    async def rotate(
        self,
        jti: str,
        successor: StoredToken | Callable[[StoredToken], StoredToken],
        *,
        user_id: str | None = None,
    ) -> Rotation:
        """Replace a token by its successor.

        Of any number of callers one wins; the others get its successor, within the grace period. Who presents the token
        after that gets the family revoked. That it was used is known from the tokens that came after it, which remember
        the last 16, and for identifiers made by `StoredToken.issue` from the identifier itself, without limit.

        Calling again with the same two tokens is safe for 10 seconds at least, and answers `rotated` again. The
        successor joins the family, and expires no later than `absolute_lifetime` allows.

        Args:
            jti: The identifier of the token that was presented.
            successor: The token to replace it, of the same user; or a function that makes it from the one that is
                replaced, such as `lambda token: token.successor()`, for callers who know nothing but the `jti`.
            user_id: Whose it is, if that is known; of `successor` it is.

        Raises:
            ConfigurationError: `successor` is no token, expired, has the same `jti` or that of a handle, or is not
                of the user `user_id`.
            DuplicateTokenError: The successor's `jti` is stored already, for another token.
        """
        digests = self._lookup(jti)
        if user_id is not None:
            require_identifier("user_id", user_id)
        if not isinstance(successor, StoredToken) and not callable(successor):
            raise ConfigurationError(f"successor must be a StoredToken or a function, not {type(successor).__name__}")
        await self.open()
        if digests is None:
            return Rotation(RotationStatus.UNKNOWN)
        new: StoredToken | None
        if isinstance(successor, StoredToken):
            new = _require_storable("successor", successor)
        else:
            found = await self._counted(self._find(digests, jti, user_id, self._now()))
            new = None if found is None else _require_storable("successor", successor(found.token))
        now = self._now()
        if new is None:
            replaced = await self._ending(self._replace(digests, jti, None, b"", user_id, now))
        else:
            record = self._successor(new, jti, user_id, now)
            sealed = seal(new.jti, by=jti)
            replaced = await self._ending(self._replace(digests, jti, record, sealed, record.token.user_id, now))
        return self._told(replaced, jti, new)

    async def revoke(self, jti: str, *, user_id: str | None = None, reason: str | None = None) -> bool:
        """Revoke a token; of one that has been replaced, the family.

        Args:
            jti: Its identifier or handle.
            user_id: Whose it is, if that is known.
            reason: Why, for the log.

        Returns:
            Whether a live token was revoked by this call.
        """
        digests = self._lookup(jti, handles=True)
        if user_id is not None:
            require_identifier("user_id", user_id)
        await self.open()
        revoked = 0 if digests is None else await self._ending(self._remove(digests, jti, user_id, self._now()))
        return self._revoked(revoked, "token", reason) > 0

    async def revoke_family(self, family_id: str, *, user_id: str | None = None, reason: str | None = None) -> int:
        """Revoke a token and all that replaced it.

        Args:
            family_id: The family's name, as `StoredToken.family_id` tells it.
            user_id: Whose it is, if that is known.
            reason: Why, for the log.

        Returns:
            How many live tokens were revoked by this call.
        """
        require_identifier("family_id", family_id)
        if user_id is not None:
            require_identifier("user_id", user_id)
        await self.open()
        revoked = await self._ending(self._remove_family(family_id, user_id, self._now()))
        return self._revoked(revoked, "family", reason)

    async def revoke_all_for_user(
        self, user_id: str, *, except_jti: str | None = None, reason: str | None = None
    ) -> int:
        """Revoke all tokens of a user, in one step.

        Args:
            user_id: Whose.
            except_jti: The one to keep, its identifier or handle: "log out everywhere else".
            reason: Why, for the log.

        Returns:
            How many live tokens were revoked by this call.
        """
        require_identifier("user_id", user_id)
        kept = () if except_jti is None else self._lookup(except_jti, handles=True) or ()
        await self.open()
        return self._revoked(await self._ending(self._remove_user(user_id, kept, self._now())), "user", reason)

    async def list_for_user(self, user_id: str) -> list[StoredToken]:
        """Return the live tokens of a user, the latest issued first; their `jti` may be handles, see above."""
        require_identifier("user_id", user_id)
        await self.open()
        records = await self._counted(self._list(user_id, self._now()))
        tokens = [record.token for record in records]
        return sorted(tokens, key=lambda token: (token.issued_at, token.jti), reverse=True)

    async def touch(self, jti: str, *, user_id: str | None = None) -> bool:
        """Note that a token is in use; writes at most once in `touch_interval`.

        Returns:
            Whether the token is live.
        """
        digests = self._lookup(jti, handles=True)
        if user_id is not None:
            require_identifier("user_id", user_id)
        await self.open()
        if digests is None:
            return False
        now = self._now()
        before = now - round(self._settings.touch_interval * 1_000_000)
        return await self._counted(self._touch(digests, jti, user_id, before, now))

    # Upkeep

    async def purge_expired(self, *, limit: int = 1000) -> int:
        """Remove expired and used tokens and deny entries that are no longer needed; returns how many.

        Stores do this by themselves as far as they can; calling it is never wrong.

        Args:
            limit: How many at most.
        """
        require_integer("limit", limit, minimum=1)
        await self.open()
        purged = await self._counted(self._purge(min(limit, _MAX_PURGE), self._now()))
        self._counts.add("purged", purged)
        return purged

    # How they do it

    def _record(self, token: StoredToken, digest: bytes, now: int) -> Record:
        started_at = to_microseconds(token.issued_at)
        expires_at = to_microseconds(token.expires_at)
        lifetime = self._settings.absolute_lifetime
        if lifetime is not None:
            end = started_at + round(lifetime * 1_000_000)
            if expires_at > end:
                expires_at = end
                token = token.replaced(expires_at=from_microseconds(end))
        if expires_at <= now:
            token.require_unexpired(from_microseconds(now))
        record = Record(digest, token, started_at)
        if self._settings.idle_lifetime is not None and record.deadline(self._settings) <= now:
            raise ConfigurationError(
                "issued_at lies further back than idle_lifetime; this token would have idled out from the start"
            )
        return record

    def _successor(self, token: StoredToken, jti: str, user_id: str | None, now: int) -> Record:
        if token.jti == jti:
            raise ConfigurationError("successor must have another jti than the token that it replaces")
        if user_id is not None and token.user_id != user_id:
            raise ConfigurationError("successor must belong to the user that user_id names")
        token.require_unexpired(from_microseconds(now))
        return Record(self._hashing.digest(token.jti), token, now)

    def _told(self, replaced: Replaced, jti: str, new: StoredToken | None) -> Rotation:
        status = replaced.status
        if status is RotationStatus.UNKNOWN:
            return Rotation(status)
        self._counts.add(status.value)
        if status is RotationStatus.REUSED:
            self._counts.add("revoked", replaced.revoked)
            logger.warning("A used token was presented again; live tokens of its family revoked: %d", replaced.revoked)
            return Rotation(status, family_id=replaced.family_id, revoked=replaced.revoked)
        record = replaced.record
        if record is None:
            raise TypeError(f"{type(self).__name__}._replace has answered {status.value} without a record")
        if status is RotationStatus.SUPERSEDED:
            told = None if replaced.sealed is None else unseal(replaced.sealed, by=jti)
        else:
            told = None if new is None else new.jti
        token = record.token
        return Rotation(status, token=token if told is None or told == token.jti else token.replaced(jti=told))

    def _revoked(self, count: int, what: str, reason: str | None) -> int:
        if count:
            self._counts.add("revoked", count)
            logger.info("Tokens revoked: %d (by %s, reason: %s)", count, what, reason)
        return count


def _require_storable(name: str, value: object) -> StoredToken:
    if not isinstance(value, StoredToken):
        raise ConfigurationError(f"{name} must be a StoredToken, not {type(value).__name__}")
    if value.jti[0] == "~" and digest_in(value.jti) is not None:
        raise ConfigurationError("jti must not have the form of a handle, as that of a listed token; make a new one")
    return value
