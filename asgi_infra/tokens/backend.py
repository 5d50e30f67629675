"""What a backend of a token store implements.

Identifiers arrive as digests, times as microseconds of Unix time. Arguments have been checked. Every method is one step
for whoever looks from outside, and translates what its driver raises into the errors of `asgi_infra.tokens.errors`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgi_infra.tokens.records import Record, Replaced


class TokenBackend(ABC):
    """The operations that differ between backends; `TokenStore` makes the contract of them."""

    @abstractmethod
    async def _open(self) -> None:
        """Connect and prepare; may run several times at once, and again after a failure."""

    @abstractmethod
    async def _close(self) -> None:
        """Let go of everything; runs at most once, and only after `_open`."""

    @abstractmethod
    async def _insert(self, record: Record, others: tuple[bytes, ...], now: int) -> int:
        """Store a new token, and drop the oldest live ones of its user over `max_sessions`.

        Args:
            record: What to store.
            others: What the same `jti` would be stored under with older keys.
            now: The time.

        Returns:
            How many tokens were dropped.

        Raises:
            DuplicateTokenError: Something is stored under this digest or one of `others`, used tokens included.
        """

    @abstractmethod
    async def _find(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> Record | None:
        """Return the live token that is stored under one of the digests; its `jti` is the one given."""

    @abstractmethod
    async def _replace(
        self,
        digests: tuple[bytes, ...],
        jti: str,
        successor: Record | None,
        sealed: bytes,
        user_id: str | None,
        now: int,
    ) -> Replaced:
        """Replace a token in one step, or tell why that can't be done.

        1. Stored, live, and there is a successor: the successor is stored, with the family, the `started_at` and the
           ancestors (`Record.ancestors_of_successor`) that follow, and capped by `absolute_lifetime`. The token becomes
           a used one, which keeps the successor's digest and `sealed` for `Settings.kept_used` seconds: `rotated`.
        2. Used, by this very successor: `rotated` again.
        3. Used, within the grace period, by another: `superseded`. In 2 and 3 with the successor's record, also when
           that has been used since; `unknown` when it is gone.
        4. Used before the grace period; or not stored, but a live token of the user has it among its ancestors, or
           is of the family that `jti` names (`identifiers.family_of`): everything of the family is removed: `reused`.
        5. `unknown` otherwise, also when there is no successor and the token is live.

        Args:
            digests: What the token may be stored under.
            jti: Its identifier.
            successor: The token to replace it with.
            sealed: To keep for who comes second.
            user_id: Whose token it is, the successor's if there is one.
            now: The time.

        Raises:
            DuplicateTokenError: The successor's digest is taken by another token.
        """

    @abstractmethod
    async def _remove(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> int:
        """Remove a token, or the family of a used one; returns how many live tokens were removed."""

    @abstractmethod
    async def _remove_family(self, family_id: str, user_id: str | None, now: int) -> int:
        """Remove everything of a family; returns how many live tokens were removed."""

    @abstractmethod
    async def _remove_user(self, user_id: str, kept: tuple[bytes, ...], now: int) -> int:
        """Remove everything of a user but the token under one of the digests in `kept`; returns how many were live."""

    @abstractmethod
    async def _list(self, user_id: str, now: int) -> list[Record]:
        """Return the live tokens of a user."""

    @abstractmethod
    async def _touch(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, before: int, now: int) -> bool:
        """Return whether a token is live; `last_used_at` becomes `now` if it, or `issued_at`, is at most `before`."""

    @abstractmethod
    async def _deny(self, digest: bytes, until: int, now: int) -> None:
        """Keep a digest until a moment, or longer if it is kept longer already."""

    @abstractmethod
    async def _is_denied(self, digests: tuple[bytes, ...], now: int) -> bool:
        """Return whether one of the digests is kept."""

    @abstractmethod
    async def _set_generation(self, user_id: str, fresh: str, until: int, renew: bool, now: int) -> str:
        """Return the user's generation, kept until `until` at least; `fresh` if there is none, or to `renew` it."""

    @abstractmethod
    async def _current_generation(self, user_id: str, now: int) -> str | None:
        """Return the user's generation, if there is one."""

    @abstractmethod
    async def _purge(self, limit: int, now: int) -> int:
        """Remove what has expired and what was used before the grace period; returns how many."""

    @abstractmethod
    async def _sizes(self) -> tuple[int | None, int | None]:
        """Return how many tokens and deny entries there are, `None` for what can't be counted quickly."""

    @abstractmethod
    async def _ping(self) -> None:
        """Ask the store for a sign of life."""
