"""Digests in the order of a moment each."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush


class Timeline:
    """Gives digests back in the order of their moments, at constant cost for those that arrive in that order.

    Tokens are mostly issued and mostly expire in the order in which they are saved; the others take a heap.
    """

    __slots__ = ("_ordered", "_others")

    def __init__(self) -> None:
        self._ordered: deque[tuple[int, bytes]] = deque()
        self._others: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._ordered) + len(self._others)

    def put(self, moment: int, digest: bytes) -> None:
        """Add a digest."""
        ordered = self._ordered
        if not ordered or moment >= ordered[-1][0]:
            ordered.append((moment, digest))
        else:
            heappush(self._others, (moment, digest))

    def first(self) -> int | None:
        """Return the earliest moment, `None` if there is nothing."""
        ordered, others = self._ordered, self._others
        if ordered and (not others or ordered[0] <= others[0]):
            return ordered[0][0]
        return others[0][0] if others else None

    def pop(self) -> tuple[int, bytes]:
        """Remove the earliest and return it.

        Raises:
            IndexError: There is nothing.
        """
        ordered, others = self._ordered, self._others
        if ordered and (not others or ordered[0] <= others[0]):
            return ordered.popleft()
        return heappop(others)
