"""The hashes and the right edge agree with the definitions and with published roots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_rfc6962 import mth

from asgi_infra.audit.proofs.errors import MalformedProofError
from asgi_infra.audit.proofs.merkle import (
    EMPTY_ROOT,
    CompactRange,
    Subtree,
    leaf_hash,
    leaf_hashes,
    node_hash,
    split_hashes,
)
from asgi_infra.errors import ConfigurationError

# The reference tree of the certificate transparency project: eight leaves and the root after each.
REFERENCE_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
REFERENCE_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

leaves = st.lists(st.binary(max_size=4), max_size=300)


@pytest.mark.parametrize("size", range(9))
def test_the_roots_of_the_reference_tree_are_the_published_ones(size: int) -> None:
    tree = CompactRange()
    tree.extend(leaf_hashes(REFERENCE_LEAVES[:size]))
    assert tree.root().hex() == REFERENCE_ROOTS[size]


def test_hashes_of_leaves_and_nodes_are_kept_apart() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) != leaf_hash(left + right)
    assert leaf_hash(b"") != EMPTY_ROOT
    assert leaf_hashes([b"a", b"b"]) == [left, right]


@pytest.mark.parametrize("step", [1, 7, 131])
def test_the_root_is_that_of_the_definition_for_every_size_to_130(step: int) -> None:
    entries = [b"%d" % at for at in range(131)]
    tree = CompactRange()
    for start in range(0, len(entries), step):
        tree.extend(leaf_hashes(entries[start : start + step]))
        assert tree.root() == mth(entries[: tree.size])
    assert tree.size == 131


@given(leaves, st.lists(st.integers(0, 300), max_size=5))
def test_however_leaves_are_added_the_tree_is_the_same(entries: list[bytes], cuts: list[int]) -> None:
    one_by_one, in_batches = CompactRange(), CompactRange()
    hashes = leaf_hashes(entries)
    for value in hashes:
        one_by_one.append(value)
    start = 0
    for end in [*sorted(min(cut, len(hashes)) for cut in cuts), len(hashes)]:
        in_batches.extend(hashes[start:end])
        start = end
    assert one_by_one == in_batches
    assert one_by_one.size == len(entries)
    assert one_by_one.root() == mth(entries)


@given(st.integers(0, 700), st.integers(0, 700))
def test_extending_names_each_full_tile_once(first: int, second: int) -> None:
    hashes = leaf_hashes(b"%d" % at for at in range(first + second))
    tree = CompactRange()
    full = tree.extend(hashes[:first]) + tree.extend(hashes[first:])
    assert [(each.tile_level, each.index) for each in full] == [(1, at) for at in range((first + second) // 256)]
    for each in full:
        part = CompactRange()
        part.extend(hashes[each.index * 256 : (each.index + 1) * 256])
        assert each.hash == part.root()


def test_extending_names_full_tiles_of_tiles_too() -> None:
    tree = CompactRange()
    full = tree.extend([leaf_hash(b"")] * 65_536)
    assert len(full) == 257
    assert full[-1] == Subtree(2, 0, tree.root())


@given(leaves)
def test_the_edge_survives_storing(entries: list[bytes]) -> None:
    tree = CompactRange()
    tree.extend(leaf_hashes(entries))
    again = CompactRange.from_bytes(tree.to_bytes())
    assert again == tree
    assert again.root() == tree.root()
    assert CompactRange(tree.size, tree.edge) == tree


@given(st.binary(max_size=120))
def test_bytes_that_are_no_edge_are_refused_and_all_others_survive(data: bytes) -> None:
    try:
        tree = CompactRange.from_bytes(data)
    except MalformedProofError:
        return
    assert tree.to_bytes() == data


@pytest.mark.parametrize(
    "data",
    [b"", bytes(7), bytes(8) + b"x", bytes(7) + b"\x01", bytes(7) + b"\x01" + bytes(31), b"\x80" + bytes(7 + 32)],
)
def test_an_edge_that_does_not_fit_its_size_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedProofError, match="are not the edge of a tree"):
        CompactRange.from_bytes(data)


def test_a_copy_grows_on_its_own() -> None:
    tree = CompactRange()
    tree.append(leaf_hash(b"a"))
    copy = tree.copy()
    copy.append(leaf_hash(b"b"))
    assert (tree.size, copy.size) == (1, 2)
    assert tree.root() == leaf_hash(b"a")
    assert tree != copy
    assert tree != "a tree"


@pytest.mark.parametrize("add", [lambda tree, value: tree.append(value), lambda tree, value: tree.extend([value])])
@pytest.mark.parametrize("value", [b"", b"short", bytes(33)])
def test_what_is_no_hash_is_refused_and_changes_nothing(add, value: bytes) -> None:
    tree = CompactRange()
    tree.extend(leaf_hashes([b"a", b"b", b"c"]))
    before = tree.to_bytes()
    with pytest.raises(ConfigurationError, match="32 bytes"):
        add(tree, value)
    assert tree.to_bytes() == before


@pytest.mark.parametrize(("size", "edge"), [(-1, []), (2**63, []), (1, []), (3, [bytes(32)]), (1, [bytes(31)])])
def test_an_edge_can_only_be_made_to_fit(size: int, edge: list[bytes]) -> None:
    with pytest.raises(ConfigurationError, match=r"size|edge"):
        CompactRange(size, edge)


def test_a_tree_shows_its_size_and_root_and_can_not_be_hashed() -> None:
    assert repr(CompactRange()) == f"CompactRange(size=0, root={EMPTY_ROOT.hex()})"
    with pytest.raises(TypeError):
        hash(CompactRange())


def test_hashes_are_split_and_what_is_left_over_is_dropped() -> None:
    assert split_hashes(bytes(32) + b"\x01" * 32 + b"rest") == [bytes(32), b"\x01" * 32]
