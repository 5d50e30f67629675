"""Any node of a tree, and so any proof, from its tiles in few reads.

A proof in a log of ten million entries reads three tiles, one a level, and two more at the right edge unless `edge` is
at hand. Reading is whatever the backend does: a file, a row, a request. What is read is not believed here: proofs made
of it hold against the root or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from asgi_infra.audit.proofs.errors import TileError
from asgi_infra.audit.proofs.merkle import HASH_SIZE, TILE_HEIGHT, node_hash, split_hashes
from asgi_infra.audit.proofs.proving import Range
from asgi_infra.audit.proofs.tiles import TILE_WIDTH, Tile, tile_holding
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asgi_infra.audit.proofs.merkle import CompactRange

_KEPT: Final = 64  # tiles kept by one TileNodes; a proof needs no more than two a level


class TileReader(Protocol):
    """Where tiles come from."""

    def read_tile(self, level: int, index: int, width: int, /) -> bytes:
        """Return at least the first `width` hashes of a tile; the full tile serves for a partial one.

        Raises:
            TileError: It isn't there.
        """
        ...


class TileNodes:
    """The nodes of the tree of the first `size` leaves, from tiles.

    Args:
        reader: Where the tiles come from.
        size: Leaves of the tree; more may be stored, and none beyond are read.
        edge: The right edge of this tree, if it is at hand; it saves the reads at the edge.

    Raises:
        ConfigurationError: `edge` is that of another size.

    Example:
        ```python
        proof = inclusion_proof(index, size, TileNodes(reader, size))
        ```
    """

    def __init__(self, reader: TileReader, size: int, *, edge: CompactRange | None = None) -> None:
        if edge is not None and edge.size != size:
            raise ConfigurationError(f"edge must be that of {size} leaves, not of {edge.size}")
        self._reader = reader
        self._size = size
        self._known = dict(zip(Range(0, size).nodes(), edge.edge, strict=True)) if edge is not None else {}
        self._tiles: dict[Tile, list[bytes]] = {}

    def __call__(self, level: int, index: int, /) -> bytes:
        """Return the hash of the full subtree of the leaves from `index << level` up to `(index + 1) << level`.

        Raises:
            ConfigurationError: The tree has no such subtree.
            TileError: The tile is not there, or none.
        """
        known = self._known.get((level, index))
        if known is not None:
            return known
        tile, at, count = _place(level, index, self._size)
        hashes = self._hashes(tile)[at : at + count]
        while len(hashes) > 1:
            pairs = iter(hashes)
            hashes = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=True)]
        return hashes[0]

    def _hashes(self, tile: Tile) -> list[bytes]:
        hashes = self._tiles.get(tile)
        if hashes is None:
            hashes = decode_tile(self._reader.read_tile(tile.level, tile.index, tile.width), tile)
            if len(self._tiles) >= _KEPT:
                del self._tiles[next(iter(self._tiles))]
            self._tiles[tile] = hashes
        return hashes


def decode_tile(data: bytes, tile: Tile) -> list[bytes]:
    """Return the hashes of a tile; data of a wider one will do.

    Raises:
        TileError: There are too few, too many, or a part of one.
    """
    if not tile.size <= len(data) <= TILE_WIDTH * HASH_SIZE or len(data) % HASH_SIZE:
        raise TileError(f"{tile.path} must have {tile.size} bytes, not {len(data)}")
    return split_hashes(data[: tile.size])


def tiles_for(ranges: Iterable[Range], size: int, *, edge: bool = False) -> list[Tile]:
    """Return the tiles that the hashes of some ranges need, for a backend that fetches them all at once.

    Args:
        ranges: From `inclusion_ranges` or `consistency_ranges`.
        size: Leaves of the tree.
        edge: Whether the right edge of this tree is at hand, and its tiles need no reading.

    Example:
        >>> from asgi_infra.audit.proofs.proving import inclusion_ranges
        >>> len(tiles_for(inclusion_ranges(5_000_000, 10_000_000), 10_000_000, edge=True))
        3
    """
    known = set(Range(0, size).nodes()) if edge else set()
    needed = [node for each in ranges for node in each.nodes() if node not in known]
    return sorted({_place(level, index, size)[0] for level, index in needed})


class FetchedTiles:
    """Tiles that were fetched beforehand, as a reader.

    Args:
        tiles: What each of them holds.
    """

    def __init__(self, tiles: Mapping[Tile, bytes]) -> None:
        self._tiles = tiles

    def read_tile(self, level: int, index: int, width: int, /) -> bytes:
        """Return the tile.

        Raises:
            TileError: It was not fetched.
        """
        tile = Tile(level, index, width)
        try:
            return self._tiles[tile]
        except KeyError as exc:
            raise TileError(f"{tile.path} is missing") from exc


def _place(level: int, index: int, size: int) -> tuple[Tile, int, int]:
    """Return the tile that holds a subtree, where in it its hashes begin, and how many they are."""
    tile_level, height = divmod(level, TILE_HEIGHT)
    first = index << height
    tile = tile_holding(tile_level, first + (1 << height) - 1, size)
    return tile, first % TILE_WIDTH, 1 << height
