"""Where the hashes and entries of a log lie: tiles and entry bundles (C2SP tlog-tiles).

```text
tile/<level>/<index>[.p/<width>]      256 hashes of 32 bytes; fewer in a partial one, at the right edge
tile/entries/<index>[.p/<width>]      256 entries, each with its length before it
```

Hash `at` of tile `index` at level `l` covers `256**l` leaves, from leaf `(index * 256 + at) * 256**l`. Full tiles never
change. Indexes are written in groups of three digits: `x001/x234/067` is 1 234 067.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.proofs.encoding import shown
from asgi_infra.audit.proofs.errors import MalformedProofError
from asgi_infra.audit.proofs.merkle import HASH_SIZE, MAX_SIZE, TILE_HEIGHT
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes of a full tile, and entries of a full bundle."""

MAX_LEVEL: Final = 63
"""The highest level that a path may name."""

_PATH: Final = re.compile(
    r"tile/(?:(?P<level>0|[1-9][0-9]?)|entries)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """The place of a tile.

    Args:
        level: From 0, the hashes of the leaves.
        index: Within the level.
        width: How many hashes it has: 256, or fewer in a partial one.

    Raises:
        ConfigurationError: There is no such tile.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_LEVEL:
            raise ConfigurationError(f"level must be from 0 to {MAX_LEVEL}, not {self.level}")
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """The path below the log's directory or URL.

        Example:
            >>> Tile(1, 1_234_067, 17).path
            'tile/1/x001/x234/067.p/17'
        """
        return f"tile/{self.level}/{_digits(self.index)}{_suffix(self.width)}"

    @property
    def size(self) -> int:
        """How many bytes the tile has."""
        return self.width * HASH_SIZE


@dataclass(frozen=True, slots=True, order=True)
class Bundle:
    """The place of a bundle of entries.

    Args:
        index: From 0.
        width: How many entries it has: 256, or fewer in a partial one.

    Raises:
        ConfigurationError: There is no such bundle.
    """

    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """The path below the log's directory or URL."""
        return f"tile/entries/{_digits(self.index)}{_suffix(self.width)}"

    @property
    def start(self) -> int:
        """The index of its first entry."""
        return self.index * TILE_WIDTH

    @property
    def end(self) -> int:
        """The index after its last entry."""
        return self.start + self.width


def parse_path(path: str) -> Tile | Bundle:
    """Return what a path names.

    Raises:
        MalformedProofError: It is no path of a tile or a bundle, or not the one way to write it.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise MalformedProofError(f"{shown(path)} is no path of a tile or an entry bundle")
    index = int(found["index"].replace("x", "").replace("/", ""))
    width = int(found["width"] or TILE_WIDTH)
    try:
        place = Bundle(index, width) if found["level"] is None else Tile(int(found["level"]), index, width)
    except ConfigurationError as exc:
        raise MalformedProofError(f"{shown(path)} is no path of a tile or an entry bundle") from exc
    if place.path != path:
        raise MalformedProofError(f"{shown(path)} is not the path {shown(place.path)}")
    return place


def tiles_between(old_size: int, new_size: int) -> Iterator[Tile]:
    """Yield the tiles that are new or wider after a log has grown, level by level; from 0, all tiles of a tree.

    Example:
        >>> list(tiles_between(255, 257))
        [Tile(level=0, index=0, width=256), Tile(level=0, index=1, width=1), Tile(level=1, index=0, width=1)]
    """
    _check_growth(old_size, new_size)
    level = 0
    while new_size > old_size:
        for index, width in _places(old_size, new_size):
            yield Tile(level, index, width)
        old_size >>= TILE_HEIGHT
        new_size >>= TILE_HEIGHT
        level += 1


def bundles_between(old_size: int, new_size: int) -> Iterator[Bundle]:
    """Yield the bundles that are new or longer after a log has grown; from 0, all bundles of a log."""
    _check_growth(old_size, new_size)
    for index, width in _places(old_size, new_size):
        yield Bundle(index, width)


def partial_tiles(size: int) -> list[Tile]:
    """Return the partial tiles of a tree: at most one a level, at its right edge.

    Example:
        >>> [tile.path for tile in partial_tiles(70_000)]
        ['tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1']
    """
    _check_growth(0, size)
    tiles = []
    level = 0
    while size:
        if size % TILE_WIDTH:
            tiles.append(Tile(level, size // TILE_WIDTH, size % TILE_WIDTH))
        size >>= TILE_HEIGHT
        level += 1
    return tiles


def tile_holding(level: int, at: int, size: int) -> Tile:
    """Return the tile that holds hash `at` of a level in the tree of `size` leaves.

    Raises:
        ConfigurationError: That tree has no such hash at this level.
    """
    hashes = size >> TILE_HEIGHT * level
    if not 0 <= at < hashes:
        raise ConfigurationError(f"at must be below {hashes} at level {level} of a tree of {size} leaves, not {at}")
    index = at // TILE_WIDTH
    return Tile(level, index, min(TILE_WIDTH, hashes - index * TILE_WIDTH))


def _places(old: int, new: int) -> Iterator[tuple[int, int]]:
    if new > old:
        for index in range(old // TILE_WIDTH, (new - 1) // TILE_WIDTH + 1):
            yield index, min(TILE_WIDTH, new - index * TILE_WIDTH)


def _digits(index: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def _suffix(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"


def _check_place(index: int, width: int) -> None:
    if not 0 <= index <= MAX_SIZE // TILE_WIDTH:
        raise ConfigurationError(f"index must be from 0 to {MAX_SIZE // TILE_WIDTH}, not {index}")
    if not 1 <= width <= TILE_WIDTH:
        raise ConfigurationError(f"width must be from 1 to {TILE_WIDTH}, not {width}")


def _check_growth(old_size: int, new_size: int) -> None:
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise ConfigurationError(f"sizes must be from 0 to 2**63 - 1 and not shrink, not {old_size} and {new_size}")
