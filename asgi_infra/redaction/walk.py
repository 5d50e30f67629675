"""What one walk over a value keeps in mind, and how copied items become a container again."""

from __future__ import annotations

from collections.abc import Set
from typing import Any


class Walk:
    """What is left of the limits, and the containers that are open.

    Args:
        items: Items that may still be copied.
        chars: Characters of long texts that may still be scanned.
    """

    __slots__ = ("chars", "items", "open")

    def __init__(self, items: int, chars: int) -> None:
        self.items = items
        self.chars = chars
        self.open: list[int] = []

    def take(self, size: int, width: int) -> int:
        """Take `size` items, or as many as the limits allow, and return how many are left out.

        If any are left out, one place is kept for the mark that says so.
        """
        if size <= width and size <= self.items:
            self.items -= size
            return 0
        allowed = min(width, self.items)
        if allowed < 2:
            return size
        self.items -= allowed
        return size - allowed + 1


def like(value: Any, copied: list[Any]) -> Any:
    """Return the copied items in the container that `value` is, as far as that can be."""
    if isinstance(value, tuple):
        return tuple(copied)
    if isinstance(value, Set):
        try:
            return frozenset(copied) if isinstance(value, frozenset) else set(copied)
        except TypeError:  # what was hashable became a dict
            return copied
    return copied
