"""What a store has done, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """What a store has done since this process opened it, and what it holds.

    Attributes:
        tokens: Tokens in the store, used and expired ones that were not removed yet included; `None` where counting
            them would take the server more than a moment.
        denied: Entries of the deny-list; `None` likewise.
        saved: Tokens saved.
        rotated: Rotations that replaced a token.
        superseded: Rotations that came second, within the grace period.
        reused: Rotations of a token that had been used before: thefts, or clients that are broken.
        revoked: Tokens revoked, by whatever operation.
        evicted: Tokens dropped to keep a bound: `max_entries` or `max_sessions`.
        purged: Expired and used tokens removed by `purge_expired`.
        failed: Operations that ended in a `TokenStoreError`.
    """

    tokens: int | None = None
    denied: int | None = None
    saved: int = 0
    rotated: int = 0
    superseded: int = 0
    reused: int = 0
    revoked: int = 0
    evicted: int = 0
    purged: int = 0
    failed: int = 0


class Counts:
    """Counters that threads share."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, int] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Add to the counter of a name, a field of `StoreStats`."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + amount

    def stats(self, *, tokens: int | None, denied: int | None) -> StoreStats:
        """Return all counters, with what the store holds."""
        with self._lock:
            return StoreStats(tokens=tokens, denied=denied, **self._counts)
