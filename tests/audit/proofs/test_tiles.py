"""Places of tiles and bundles: paths, both ways, and which of them a log of a size has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs.errors import MalformedProofError
from asgi_infra.audit.proofs.tiles import (
    Bundle,
    Tile,
    bundles_between,
    parse_path,
    partial_tiles,
    tile_holding,
    tiles_between,
)
from asgi_infra.errors import ConfigurationError

indexes = st.integers(0, 2**55 - 1)
widths = st.integers(1, 256)


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(3, 1_234_067), "tile/3/x001/x234/067"),
        (Tile(63, 12_345_678, 255), "tile/63/x012/x345/678.p/255"),
        (Tile(1, 0, 1), "tile/1/000.p/1"),
        (Bundle(0), "tile/entries/000"),
        (Bundle(1_234_067, 8), "tile/entries/x001/x234/067.p/8"),
    ],
)
def test_paths_are_those_of_the_specification(place: Tile | Bundle, path: str) -> None:
    assert place.path == path
    assert parse_path(path) == place


@given(st.builds(Tile, st.integers(0, 63), indexes, widths) | st.builds(Bundle, indexes, widths))
def test_a_path_leads_back_to_its_place(place: Tile | Bundle) -> None:
    assert parse_path(place.path) == place


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/x000",
        "tile/0/001/x002",
        "tile/0/001/002",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/100/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000 ",
        "tile/0/000\n",
        "tile/0/\u0660\u0660\u0660",
        "tile/data/000",
        "tile/entries/0",
        "tile/entries/../000",
        "tile/0/" + "x000/" * 7 + "000",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/" + "x001/" * 5000 + "000",
    ],
)
def test_a_path_has_only_one_form(path: str) -> None:
    with pytest.raises(MalformedProofError, match="path"):
        parse_path(path)


@given(st.text("tile/enrs0123x.p", max_size=30))
def test_any_path_is_that_of_a_place_or_refused(path: str) -> None:
    try:
        place = parse_path(path)
    except MalformedProofError:
        return
    assert place.path == path


def test_the_tiles_of_a_tree_of_70000_are_those_of_the_specification() -> None:
    tiles = list(tiles_between(0, 70_000))
    by_level = [[tile for tile in tiles if tile.level == level] for level in range(4)]
    assert [len(each) for each in by_level] == [274, 2, 1, 0]
    assert [each[-1].width for each in by_level[:3]] == [112, 17, 1]
    assert sum(tile.width == 256 for tile in tiles) == 274
    assert partial_tiles(70_000) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]


def test_a_full_tile_has_a_place_one_level_up() -> None:
    assert list(tiles_between(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_between(255, 256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert partial_tiles(256) == [Tile(1, 0, 1)]
    assert partial_tiles(0) == []
    assert list(tiles_between(9, 9)) == []


@given(st.tuples(st.integers(0, 200_000), st.integers(0, 200_000)).map(sorted))
def test_the_tiles_of_a_growth_are_the_ones_that_were_not_there_before(sizes: list[int]) -> None:
    old, new = sizes
    grown = list(tiles_between(old, new))
    before = set(tiles_between(0, old))
    assert grown == [tile for tile in tiles_between(0, new) if tile not in before]
    for tile in grown:
        hashes = new >> 8 * tile.level
        assert tile.index * 256 + tile.width <= hashes
    bundles = list(bundles_between(old, new))
    assert [(each.index, each.width) for each in bundles] == [(t.index, t.width) for t in grown if t.level == 0]


def test_bundles_tell_which_entries_they_hold() -> None:
    bundles = list(bundles_between(0, 600))
    assert [(each.start, each.end) for each in bundles] == [(0, 256), (256, 512), (512, 600)]
    assert list(bundles_between(520, 600)) == [Bundle(2, 88)]


def test_a_hash_lies_in_one_tile() -> None:
    assert tile_holding(0, 255, 256) == Tile(0, 0)
    assert tile_holding(0, 256, 300) == Tile(0, 1, 44)
    assert tile_holding(1, 0, 300) == Tile(1, 0, 1)
    for level, at in ((0, 300), (1, 1), (2, 0), (0, -1)):
        with pytest.raises(ConfigurationError, match="at must be below"):
            tile_holding(level, at, 300)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tile(-1, 0),
        lambda: Tile(64, 0),
        lambda: Tile(0, -1),
        lambda: Tile(0, 2**55),
        lambda: Tile(0, 0, 0),
        lambda: Bundle(0, 257),
        lambda: Bundle(-1),
        lambda: list(tiles_between(2, 1)),
        lambda: list(bundles_between(-1, 1)),
        lambda: partial_tiles(2**63),
    ],
)
def test_places_that_can_not_be_are_refused(make) -> None:
    with pytest.raises(ConfigurationError, match=r"must be from"):
        make()
