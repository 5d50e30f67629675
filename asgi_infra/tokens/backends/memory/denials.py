"""The deny-list in memory."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from asgi_infra.tokens.errors import StoreFullError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Denials:
    """Digests, each until a moment. Not thread-safe: the store has the lock.

    Args:
        most: How many to keep; one that still matters is never dropped to make room.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._until: dict[bytes, int] = {}
        self._ends: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._until)

    def add(self, digest: bytes, until: int, now: int) -> None:
        """Keep a digest until a moment, or longer if it is kept longer already.

        Raises:
            StoreFullError: The list is full of entries that still matter.
        """
        known = self._until.get(digest, 0)
        if until <= known:
            return
        if not known and len(self._until) >= self._most and not self.drop_ended(now, len(self._until)):
            raise StoreFullError("the deny-list is full of tokens that have not expired; raise max_entries")
        self._until[digest] = until
        heappush(self._ends, (until, digest))

    def holds(self, digest: bytes, now: int) -> bool:
        """Return whether a digest is kept."""
        return self._until.get(digest, 0) > now

    def drop_ended(self, now: int, limit: int) -> int:
        """Remove digests whose time is over, at most `limit`; returns how many."""
        dropped = 0
        while dropped < limit and self._ends and self._ends[0][0] <= now:
            until, digest = heappop(self._ends)
            if self._until.get(digest) == until:
                del self._until[digest]
                dropped += 1
        return dropped

    def items(self) -> list[tuple[bytes, int]]:
        """Return everything, for a snapshot."""
        return list(self._until.items())

    def restore(self, items: Iterable[tuple[bytes, int]]) -> None:
        """Take what `items` returned."""
        self._until.update(items)
        self._ends = [(until, digest) for digest, until in self._until.items()]
        heapify(self._ends)
