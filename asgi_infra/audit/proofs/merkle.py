"""Hashes of the Merkle tree of RFC 6962, section 2.1, and its right edge.

A tree splits at the largest power of two below its size, and nothing is ever duplicated to fill it up. So a subtree of
`2**level` leaves that is full stays as it is for ever. Such a subtree is a node: node `index` at `level` covers the
leaves from `index << level` up to `(index + 1) << level`.

```text
leaf(data)        SHA-256(0x00 || data)
node(left, right) SHA-256(0x01 || left || right)
no leaves         SHA-256("")
```
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.proofs.errors import MalformedProofError
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

HASH_SIZE: Final = 32
"""Bytes of a hash."""

MAX_SIZE: Final = 2**63 - 1
"""The most leaves that a tree may have."""

EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves."""

TILE_HEIGHT: Final = 8
"""Levels of the tree that one tile spans (C2SP tlog-tiles)."""


@dataclass(frozen=True, slots=True)
class Subtree:
    """A full subtree that a tile has a place for: its level counted in tiles, its index there, and its hash."""

    tile_level: int
    index: int
    hash: bytes


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf.

    Example:
        >>> leaf_hash(b"").hex()[:16]
        '6e340b9cffb37a98'
    """
    return sha256(b"\x00" + data).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Return the hashes of many leaves; quicker than one by one."""
    digest = sha256
    return [digest(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The right edge of a growing tree: the hashes of its largest full subtrees, at most 63, from left to right.

    It is all that appending and the root need: two hashes an entry, and no other node is read. Not thread-safe.

    Args:
        size: How many leaves there are.
        edge: One hash for each bit that is set in `size`, the highest bit first.

    Raises:
        ConfigurationError: `size` is negative or too large, or `edge` doesn't fit it.

    Example:
        >>> tree = CompactRange()
        >>> tree.extend([leaf_hash(b"a"), leaf_hash(b"b")])
        []
        >>> tree.size, tree.root() == node_hash(leaf_hash(b"a"), leaf_hash(b"b"))
        (2, True)
    """

    __slots__ = ("_edge", "_size")

    def __init__(self, size: int = 0, edge: Iterable[bytes] = ()) -> None:
        hashes = list(edge)
        if not 0 <= size <= MAX_SIZE:
            raise ConfigurationError(f"size must be from 0 to 2**63 - 1, not {size}")
        if len(hashes) != size.bit_count() or not _are_hashes(hashes):
            raise ConfigurationError(f"edge must be {size.bit_count()} hashes of 32 bytes for a tree of {size} leaves")
        self._size = size
        self._edge = hashes

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    @property
    def edge(self) -> tuple[bytes, ...]:
        """The hashes of the edge, the largest subtree first."""
        return tuple(self._edge)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one leaf.

        Raises:
            ConfigurationError: It is no hash; the tree is as it was.
        """
        if len(leaf) != HASH_SIZE:
            raise ConfigurationError(f"leaf must be a hash of 32 bytes, not {len(leaf)}")
        edge, size, digest = self._edge, self._size, sha256
        while size & 1:
            leaf = digest(b"\x01" + edge.pop() + leaf).digest()
            size >>= 1
        edge.append(leaf)
        self._size += 1

    def extend(self, leaves: Iterable[bytes]) -> list[Subtree]:
        """Add the hashes of many leaves, level by level: quicker than one by one.

        Returns:
            The subtrees of 256, 65 536, ... leaves that are full now, lower levels first: what the tiles above the
            lowest level gain.

        Raises:
            ConfigurationError: One of them is no hash; the tree is as it was.
        """
        row = list(leaves)
        if not _are_hashes(row):
            raise ConfigurationError("leaves must be hashes of 32 bytes")
        full: list[Subtree] = []
        low: list[bytes] = []  # the new edge below the levels that change no more, smallest first
        high = self._edge.copy()
        size, level, added, digest = self._size, 0, len(row), sha256
        while row:
            first = size >> level
            if level and level % TILE_HEIGHT == 0:
                full += [Subtree(level // TILE_HEIGHT, first + at, value) for at, value in enumerate(row)]
            if first & 1:
                row.insert(0, high.pop())
            if len(row) & 1:
                low.append(row.pop())
            pairs = iter(row)
            row = [digest(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            level += 1
        self._edge = high + low[::-1]
        self._size = size + added
        return full

    def root(self) -> bytes:
        """Return the root of the tree as it is."""
        return fold(self._edge)

    def copy(self) -> CompactRange:
        """Return another one with the same leaves, which grows on its own."""
        return CompactRange(self._size, self._edge)

    def to_bytes(self) -> bytes:
        """Return the size (8 bytes, big-endian) and the hashes of the edge."""
        return self._size.to_bytes(8, "big") + b"".join(self._edge)

    @classmethod
    def from_bytes(cls, data: bytes) -> CompactRange:
        """Return what `to_bytes` was made of.

        Raises:
            MalformedProofError: `data` is no such thing.
        """
        size, hashes = int.from_bytes(data[:8], "big"), data[8:]
        if len(data) < 8 or size > MAX_SIZE or len(hashes) != HASH_SIZE * size.bit_count():
            raise MalformedProofError(f"{len(data)} bytes are not the edge of a tree")
        return cls(size, split_hashes(hashes))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompactRange):
            return NotImplemented
        return self._size == other._size and self._edge == other._edge

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"CompactRange(size={self._size}, root={self.root().hex()})"


def fold(edge: list[bytes]) -> bytes:
    """Return the root above neighbouring full subtrees, which go from the largest to the smallest."""
    if not edge:
        return EMPTY_ROOT
    value = edge[-1]
    for left in reversed(edge[:-1]):
        value = node_hash(left, value)
    return value


def split_hashes(data: bytes) -> list[bytes]:
    """Return concatenated hashes one by one; what is left over at the end is dropped."""
    return [data[at : at + HASH_SIZE] for at in range(0, len(data) - HASH_SIZE + 1, HASH_SIZE)]


def _are_hashes(values: list[bytes]) -> bool:
    return not values or set(map(len, values)) == {HASH_SIZE}
