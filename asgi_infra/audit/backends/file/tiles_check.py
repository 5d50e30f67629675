"""Comparing the tiles and bundles on disk with those that follow from the entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.proofs.bundles import encode_entries
from asgi_infra.audit.proofs.errors import MalformedProofError, TileError
from asgi_infra.audit.proofs.tiles import TILE_WIDTH, Bundle, Tile, parse_path, tiles_between

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_infra.audit.backends.file.frames import Frame


class TilesCheck:
    """The tiles of one log.

    Args:
        directory: The log's.
        first: The number of the oldest entry that is there.
    """

    def __init__(self, directory: Path, first: int) -> None:
        self._directory = directory
        self._first = first
        self._edge: dict[tuple[int, int], bytes] = {}
        self._leaves: list[bytes] = []
        self._next = first

    def begin(self, tiles: dict[Tile, bytes]) -> None:
        """Take the partial tiles that the first segment begins with."""
        self._edge = {(tile.level, tile.index): data for tile, data in tiles.items()}

    def compare(self, changed: dict[Tile, bytes], frames: list[Frame]) -> tuple[str, Path, int] | None:
        """Compare the tiles that are full by now; return what is wrong, with the file and the first entry it covers."""
        for tile, data in changed.items():
            key = (tile.level, tile.index)
            self._edge[key] = data
            if tile.width == TILE_WIDTH:
                del self._edge[key]
                start = tile.index * TILE_WIDTH << 8 * tile.level
                if problem := self._differs(tile, data):
                    return *problem, start
        self._leaves += [frame.leaf for frame in frames]
        while self._next % TILE_WIDTH + len(self._leaves) >= TILE_WIDTH:
            count = TILE_WIDTH - self._next % TILE_WIDTH
            if count == TILE_WIDTH:  # what the oldest bundle holds may be purged in part
                bundle = Bundle(self._next // TILE_WIDTH)
                if problem := self._differs(bundle, encode_entries(self._leaves[:TILE_WIDTH])):
                    return *problem, bundle.start
            del self._leaves[:count]
            self._next += count
        return None

    def finish(self, size: int, published: int) -> tuple[str, Path] | None:
        """Compare what is partial, and see whether anything is missing, or there that should not be."""
        known = {Tile(level, index, len(data) // 32).path: data for (level, index), data in self._edge.items()}
        if self._leaves and self._next % TILE_WIDTH == 0:
            known[Bundle(self._next // TILE_WIDTH, len(self._leaves)).path] = encode_entries(self._leaves)
        root = self._directory / "tile"
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.is_dir() or path.name.startswith("."):
                continue
            try:
                place = parse_path(path.relative_to(self._directory).as_posix())
            except MalformedProofError:
                return "the file is no tile and no entry bundle", path
            if problem := self._partial(path, place, known, size):
                return problem, path
        return self._missing(published - published % TILE_WIDTH)

    def read_tile(self, level: int, index: int, width: int, /) -> bytes:
        """Return a tile from the disk, or as the entries make it."""
        data = self._edge.get((level, index))
        if data is None:
            try:
                data = files.read_path(self._directory / Tile(level, index).path)
            except OSError as exc:
                raise TileError(f"{Tile(level, index).path} is missing") from exc
        if len(data) < Tile(level, index, width).size:
            raise TileError(f"{Tile(level, index, width).path} is too short")
        return data

    def _differs(self, place: Tile | Bundle, data: bytes) -> tuple[str, Path] | None:
        path = self._directory / place.path
        try:
            found = files.read_path(path)
        except FileNotFoundError:
            return None  # not written yet, or `finish` tells
        return None if found == data else ("it is not what the entries make of it", path)

    def _partial(self, path: Path, place: Tile | Bundle, known: dict[str, bytes], size: int) -> str | None:
        level = place.level if isinstance(place, Tile) else 0
        if (place.index * TILE_WIDTH + place.width) << 8 * level > size:
            return f"it covers entries that the log of {size} has not"
        if place.width == TILE_WIDTH:
            return None
        for name, data in known.items():
            other = parse_path(name)
            if type(other) is type(place) and other.index == place.index and getattr(other, "level", 0) == level:
                found = files.read_path(path)
                if isinstance(place, Bundle):
                    own = len(encode_entries(self._leaves[: place.width]))
                    return None if found == data[:own] else "it is not what the entries make of it"
                return None if found == data[: place.size] else "it is not what the entries make of it"
        return None

    def _missing(self, published: int) -> tuple[str, Path] | None:
        for tile in tiles_between(0, published):
            if tile.width == TILE_WIDTH and not (self._directory / tile.path).is_file():
                return "the tile is missing", self._directory / tile.path
        for index in range(-(-self._first // TILE_WIDTH), published // TILE_WIDTH):
            if not (self._directory / Bundle(index).path).is_file():
                return "the bundle is missing", self._directory / Bundle(index).path
        return None
