"""The Merkle tree over the log in memory: its right edge, and the tiles that are not on disk yet."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from asgi_infra.audit.proofs.tiles import TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.audit.proofs.merkle import CompactRange
    from asgi_infra.audit.proofs.tile_edge import TileEdge
    from asgi_infra.audit.proofs.tiles import Tile


class Tree:
    """Grows with the log; nodes are hashed when somebody asks, so that writers don't wait for it. Thread-safe.

    Args:
        edge: The edge of the tree so far.
        tiles: Its partial tiles.
    """

    def __init__(self, edge: TileEdge, tiles: dict[Tile, bytes]) -> None:
        self._lock = Lock()
        self._edge = edge
        self._tiles = {(tile.level, tile.index): data for tile, data in tiles.items()}
        self._waiting: list[bytes] = []

    def add(self, hashes: Sequence[bytes]) -> None:
        """Add the hashes of leaves."""
        with self._lock:
            self._waiting += hashes

    def range(self) -> CompactRange:
        """Return a copy of the edge of the tree over all leaves."""
        with self._lock:
            self._extend()
            return self._edge.range.copy()

    def tile(self, level: int, index: int) -> bytes | None:
        """Return what is in memory of a tile: all of its hashes that there are."""
        with self._lock:
            self._extend()
            return self._tiles.get((level, index))

    def forget(self, size: int) -> None:
        """Give up the tiles that are full in a tree of so many leaves: they are on disk."""
        with self._lock:
            for level, index in list(self._tiles):
                if (index + 1) * TILE_WIDTH <= size >> 8 * level:
                    del self._tiles[level, index]

    def _extend(self) -> None:
        if self._waiting:
            changed = self._edge.extend(self._waiting)
            self._waiting = []
            self._tiles.update({(tile.level, tile.index): data for tile, data in changed.items()})
