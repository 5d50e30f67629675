"""The tiles of a growing log: what each append adds to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.audit.proofs.errors import TileError
from asgi_infra.audit.proofs.merkle import HASH_SIZE, CompactRange
from asgi_infra.audit.proofs.proving import range_at
from asgi_infra.audit.proofs.tile_nodes import FetchedTiles, TileNodes
from asgi_infra.audit.proofs.tiles import TILE_WIDTH, Tile, partial_tiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgi_infra.audit.proofs.tile_nodes import TileReader


class TileEdge:
    """The right edge of a log in tiles: its `CompactRange` and its partial tiles, at most 8 KiB a level.

    Appending hashes each entry once and reads nothing. Not thread-safe. An append that could not be stored is undone by
    going on with the `copy` that was made before it.

    Attributes:
        range: Size, root and edge of the tree. Only read it: `extend` is what moves it.

    Example:
        >>> edge = TileEdge()
        >>> [tile.path for tile in edge.extend([bytes(32)] * 257)]
        ['tile/0/000', 'tile/0/001.p/1', 'tile/1/000.p/1']
    """

    __slots__ = ("_partial", "range")

    def __init__(self) -> None:
        self.range = CompactRange()
        self._partial: dict[int, bytes] = {}

    @classmethod
    def open(cls, reader: TileReader, size: int) -> TileEdge:
        """Return the edge of a log that has been written before.

        Args:
            reader: Its tiles; only those at the edge are read.
            size: How many leaves it has. Compare `range.root()` with the root that you know for this size.

        Raises:
            TileError: A tile is missing or too short.
        """
        tiles = {tile: reader.read_tile(tile.level, tile.index, tile.width) for tile in partial_tiles(size)}
        opened = cls()
        opened.range = range_at(size, TileNodes(FetchedTiles(tiles), size))  # all nodes of the edge are in these tiles
        opened._partial = {tile.level: data[: tile.size] for tile, data in tiles.items()}
        return opened

    def copy(self) -> TileEdge:
        """Return another one of the same log, which grows on its own."""
        copy = TileEdge()
        copy.range = self.range.copy()
        copy._partial = self._partial.copy()
        return copy

    def extend(self, leaves: Iterable[bytes]) -> dict[Tile, bytes]:
        """Add the hashes of leaves.

        Returns:
            The tiles to write, new ones and wider ones, level by level.

        Raises:
            ConfigurationError: One of them is no hash; nothing has changed.
        """
        added: dict[int, list[bytes]] = {0: list(leaves)}
        size = self.range.size
        for subtree in self.range.extend(added[0]):
            added.setdefault(subtree.tile_level, []).append(subtree.hash)
        changed: dict[Tile, bytes] = {}
        for level, hashes in added.items():
            if hashes:
                self._write(level, size, hashes, changed)
                size >>= TILE_WIDTH.bit_length() - 1
        return changed

    def _write(self, level: int, before: int, hashes: list[bytes], changed: dict[Tile, bytes]) -> None:
        data = self._partial.pop(level, b"") + b"".join(hashes)
        index = before // TILE_WIDTH
        whole = TILE_WIDTH * HASH_SIZE
        for at in range(0, len(data), whole):
            part = data[at : at + whole]
            changed[Tile(level, index, len(part) // HASH_SIZE)] = part
            index += 1
        if len(data) % whole:
            self._partial[level] = data[-(len(data) % whole) :]


class MemoryTiles:
    """All tiles of a log, in memory: 33 bytes an entry. A `TileReader`; not thread-safe.

    Attributes:
        range: Size, root and edge of the tree. Only read it: `extend` is what moves it.
    """

    __slots__ = ("_levels", "range")

    def __init__(self) -> None:
        self.range = CompactRange()
        self._levels: dict[int, bytearray] = {}

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add the hashes of leaves.

        Raises:
            ConfigurationError: One of them is no hash; nothing has changed.
        """
        row = list(leaves)
        full = self.range.extend(row)
        self._levels.setdefault(0, bytearray()).extend(b"".join(row))
        for subtree in full:
            self._levels.setdefault(subtree.tile_level, bytearray()).extend(subtree.hash)

    def read_tile(self, level: int, index: int, width: int, /) -> bytes:
        """Return the first `width` hashes of a tile.

        Raises:
            TileError: There are not so many.
        """
        tile = Tile(level, index, width)
        start = index * TILE_WIDTH * HASH_SIZE
        data = bytes(self._levels.get(level, b"")[start : start + tile.size])
        if len(data) != tile.size:
            raise TileError(f"{tile.path} is missing")
        return data
