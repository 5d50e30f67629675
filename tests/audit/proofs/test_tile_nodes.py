"""Proofs from tiles are the same as from the tree, and take few reads; a growing log writes the right tiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_rfc6962 import NaiveNodes, mth

from asgi_infra.audit.proofs.errors import ProofError, TileError
from asgi_infra.audit.proofs.merkle import CompactRange, leaf_hash, leaf_hashes, node_hash
from asgi_infra.audit.proofs.proving import (
    consistency_proof,
    consistency_ranges,
    inclusion_proof,
    inclusion_ranges,
    range_at,
    root_at,
)
from asgi_infra.audit.proofs.tile_edge import MemoryTiles, TileEdge
from asgi_infra.audit.proofs.tile_nodes import FetchedTiles, TileNodes, decode_tile, tiles_for
from asgi_infra.audit.proofs.tiles import Tile, tiles_between
from asgi_infra.audit.proofs.verifying import verify_consistency, verify_inclusion
from asgi_infra.errors import ConfigurationError

SIZE = 70_000
ENTRIES = [b"%d" % at for at in range(SIZE)]
HASHES = leaf_hashes(ENTRIES)
TILES = MemoryTiles()
TILES.extend(HASHES)


class CountingTiles:
    """Tiles of a log whose leaves are all the same: any size, without keeping it."""

    def __init__(self) -> None:
        self.reads: list[tuple[int, int, int]] = []
        self.of_level = [leaf_hash(b"")]

    def read_tile(self, level: int, index: int, width: int, /) -> bytes:
        self.reads.append((level, index, width))
        while len(self.of_level) <= level:
            value = self.of_level[-1]
            for _ in range(8):
                value = node_hash(value, value)
            self.of_level.append(value)
        return self.of_level[level] * width


@given(st.data())
def test_proofs_from_tiles_hold_at_every_size_that_the_log_had(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, SIZE))
    index = data.draw(st.integers(0, size - 1))
    size1 = data.draw(st.integers(1, size))
    edge = range_at(size, TileNodes(TILES, size))
    expected = CompactRange()
    expected.extend(HASHES[:size])
    assert edge == expected
    included = inclusion_proof(index, size, TileNodes(TILES, size))
    assert included == inclusion_proof(index, size, TileNodes(TILES, size, edge=edge))
    verify_inclusion(HASHES[index], index, size, included, edge.root())
    consistent = consistency_proof(size1, size, TileNodes(TILES, size))
    verify_consistency(size1, size, root_at(size1, TileNodes(TILES, size1)), edge.root(), consistent)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 1000])
def test_tiles_hold_the_hashes_of_the_definition(size: int) -> None:
    nodes = NaiveNodes(ENTRIES)
    for tile in tiles_between(0, size):
        data = TILES.read_tile(tile.level, tile.index, tile.width)
        first = tile.index * 256
        assert decode_tile(data, tile) == [nodes(8 * tile.level, first + at) for at in range(tile.width)]
    assert root_at(size, TileNodes(TILES, size)) == mth(ENTRIES[:size])


@given(st.lists(st.integers(0, 600), max_size=8))
def test_a_growing_log_writes_exactly_the_tiles_that_change(steps: list[int]) -> None:
    edge, written, size = TileEdge(), {}, 0
    for step in steps:
        changed = edge.extend(HASHES[size : size + step])
        assert list(changed) == list(tiles_between(size, size + step))
        written |= changed
        size += step
        again = TileEdge.open(FetchedTiles(written), size)
        assert again.range == edge.range
        assert again.extend(HASHES[size : size + 300]) == edge.copy().extend(HASHES[size : size + 300])
    assert edge.range.size == size
    for tile, data in written.items():
        assert data == TILES.read_tile(tile.level, tile.index, tile.width)


def test_a_growing_log_writes_the_third_level() -> None:
    edge = TileEdge()
    edge.extend(HASHES[:65_530])
    before = edge.copy()
    changed = edge.extend(HASHES[65_530:])
    assert list(changed) == list(tiles_between(65_530, SIZE))
    assert changed[Tile(2, 0, 1)] == TILES.read_tile(2, 0, 1)
    assert before.range.size == 65_530
    assert before.extend(HASHES[65_530:]) == changed


def test_a_refused_append_changes_nothing() -> None:
    for tree in (TileEdge(), MemoryTiles()):
        tree.extend(HASHES[:300])
        with pytest.raises(ConfigurationError, match="hashes of 32 bytes"):
            tree.extend([HASHES[0], b"short"])
        assert tree.range.size == 300
        tree.extend(HASHES[300:600])
        assert tree.range.root() == root_at(600, TileNodes(TILES, 600))


@pytest.mark.parametrize("index", [0, 1, 255, 256, 4_999_999, 8_388_608, 9_961_471])
def test_a_proof_in_ten_million_takes_three_reads_and_two_more_at_the_edge(index: int) -> None:
    size, tiles = 10_000_000, CountingTiles()
    edge = range_at(size, TileNodes(tiles, size))
    assert len(tiles.reads) == 3
    tiles.reads.clear()
    proof = inclusion_proof(index, size, TileNodes(tiles, size, edge=edge))
    assert len(tiles.reads) <= 3
    verify_inclusion(leaf_hash(b""), index, size, proof, edge.root())
    tiles.reads.clear()
    assert inclusion_proof(index, size, TileNodes(tiles, size)) == proof
    assert len(tiles.reads) <= 5


@given(st.tuples(*[st.integers(1, 2**40)] * 3).map(sorted), st.booleans())
def test_the_tiles_to_fetch_are_the_tiles_that_are_read(numbers: list[int], with_edge: bool) -> None:
    index, size1, size = numbers
    tiles = CountingTiles()
    edge = range_at(size, TileNodes(tiles, size)) if with_edge else None
    for ranges in (inclusion_ranges(index - 1, size), consistency_ranges(size1, size)):
        tiles.reads.clear()
        hashes = [each.hash(TileNodes(tiles, size, edge=edge)) for each in ranges]
        needed = tiles_for(ranges, size, edge=with_edge)
        assert needed == sorted({Tile(*read) for read in tiles.reads})
        assert len(needed) <= 2 * 6
        fetched = FetchedTiles({tile: tiles.read_tile(tile.level, tile.index, tile.width) for tile in needed})
        assert [each.hash(TileNodes(fetched, size, edge=edge)) for each in ranges] == hashes


def test_each_tile_is_read_once_a_proof_and_few_are_kept() -> None:
    tiles = CountingTiles()
    nodes = TileNodes(tiles, 2**32)
    for index in range(256):
        nodes(0, index)
    assert tiles.reads == [(0, 0, 256)]
    for index in range(200):
        nodes(0, index * 256)
    assert len(nodes._tiles) == 64


def test_a_full_tile_serves_for_a_partial_one() -> None:
    whole = FetchedTiles({Tile(0, 0, 10): TILES.read_tile(0, 0, 256)})
    assert root_at(10, TileNodes(whole, 10)) == mth(ENTRIES[:10])


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(32 * 9), bytes(32 * 10 + 1), bytes(32 * 257)])
def test_what_is_no_tile_is_refused(data: bytes) -> None:
    reader = FetchedTiles({Tile(0, 0, 10): data})
    with pytest.raises(TileError, match=r"tile/0/000\.p/10 must have 320 bytes"):
        TileNodes(reader, 10)(3, 0)
    with pytest.raises(TileError, match=r"tile/0/000\.p/10 must have 320 bytes"):
        TileEdge.open(reader, 10)


def test_opening_a_log_reads_each_tile_of_its_edge_once() -> None:
    tiles = CountingTiles()
    assert TileEdge.open(tiles, 10_000_000).range.size == 10_000_000
    assert tiles.reads == [(0, 39_062, 128), (1, 152, 150), (2, 0, 152)]
    assert TileEdge.open(FetchedTiles({}), 0).range == CompactRange()


def test_a_missing_tile_is_named() -> None:
    with pytest.raises(TileError, match=r"tile/0/000\.p/10 is missing"):
        TileNodes(FetchedTiles({}), 10)(0, 3)
    with pytest.raises(TileError, match=r"tile/0/x001/000 is missing"):
        TILES.read_tile(0, 1000, 256)


def test_a_changed_tile_makes_a_proof_that_does_not_hold() -> None:
    size = 300
    root = root_at(size, TileNodes(TILES, size))
    data = bytearray(TILES.read_tile(0, 0, 256))
    data[40] ^= 1
    reader = FetchedTiles({Tile(0, 0): bytes(data), Tile(0, 1, 44): TILES.read_tile(0, 1, 44)})
    with pytest.raises(ProofError):
        verify_inclusion(HASHES[0], 0, size, inclusion_proof(0, size, TileNodes(reader, size)), root)


def test_nodes_beyond_the_tree_and_the_edge_of_another_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at must be below"):
        TileNodes(TILES, 10)(0, 10)
    with pytest.raises(ConfigurationError, match="at must be below"):
        TileNodes(TILES, 10)(2, 2)
    with pytest.raises(ConfigurationError, match="edge must be that of 10 leaves, not of 0"):
        TileNodes(TILES, 10, edge=CompactRange())
