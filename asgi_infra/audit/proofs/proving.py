"""Inclusion and consistency proofs, from any source of nodes.

A proof is a list of subtrees' hashes. Which subtrees is a matter of the sizes alone, so it is worked out first, as
ranges of leaves (`inclusion_ranges`, `consistency_ranges`). A backend that reads asynchronously fetches what they need
in one go (`asgi_infra.audit.proofs.tiles.tiles_for`), and then the hashes are computed without waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from asgi_infra.audit.proofs.merkle import EMPTY_ROOT, CompactRange, fold
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Nodes(Protocol):
    """Where the hashes of full subtrees come from, whatever keeps them."""

    def __call__(self, level: int, index: int, /) -> bytes:
        """Return the hash of the subtree of the leaves from `index << level` up to `(index + 1) << level`."""
        ...


class Range(NamedTuple):
    """The leaves from `start` up to `end`, which the tree has a subtree for."""

    start: int
    end: int

    def nodes(self) -> Iterator[tuple[int, int]]:
        """Yield level and index of the full subtrees that make up the range, the largest first.

        Example:
            >>> list(Range(4, 7).nodes())
            [(1, 2), (0, 6)]
        """
        at, left = self.start, self.end - self.start
        while left:
            level = left.bit_length() - 1
            yield level, at >> level
            at += 1 << level
            left -= 1 << level

    def hash(self, nodes: Nodes) -> bytes:
        """Return the hash of the subtree."""
        return fold([nodes(level, index) for level, index in self.nodes()])


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the subtrees of the inclusion proof, the leaf's sibling first (RFC 6962, section 2.1.1).

    Raises:
        ConfigurationError: The tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ConfigurationError(f"index must be from 0 to {size - 1} in a tree of {size} leaves, not {index}")
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = _split(start, end)
        if index < middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(size1: int, size2: int) -> list[Range]:
    """Return the subtrees of the consistency proof from `size1` to `size2` leaves (RFC 6962, section 2.1.2).

    From an empty tree and between equal sizes the proof is empty.

    Raises:
        ConfigurationError: `size1` is negative or larger than `size2`.
    """
    if not 0 <= size1 <= size2:
        raise ConfigurationError(f"size1 must be from 0 to size2 ({size2}), not {size1}")
    if not size1:
        return []
    ranges: list[Range] = []
    start, end = 0, size2
    while size1 != end:
        middle = _split(start, end)
        if size1 <= middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start = middle
    if start:  # else the old tree is itself a subtree, and the verifier knows its root
        ranges.append(Range(start, end))
    return ranges[::-1]


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of the first `size` leaves.

    Args:
        index: Of the leaf, from 0.
        size: Leaves of the tree.
        nodes: Where the hashes come from.

    Raises:
        ConfigurationError: The tree has no such leaf.
    """
    return [each.hash(nodes) for each in inclusion_ranges(index, size)]


def consistency_proof(size1: int, size2: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that the tree of `size2` leaves begins with the tree of `size1` leaves.

    Raises:
        ConfigurationError: `size1` is negative or larger than `size2`.
    """
    return [each.hash(nodes) for each in consistency_ranges(size1, size2)]


def root_at(size: int, nodes: Nodes) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return Range(0, size).hash(nodes) if size else EMPTY_ROOT


def range_at(size: int, nodes: Nodes) -> CompactRange:
    """Return the edge of the tree of the first `size` leaves, for a log that is opened again."""
    return CompactRange(size, [nodes(level, index) for level, index in Range(0, size).nodes()])


def _split(start: int, end: int) -> int:
    """Return where a subtree of two leaves or more parts: at the largest power of two below its size."""
    return start + (1 << (end - start - 1).bit_length() - 1)
