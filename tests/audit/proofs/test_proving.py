"""Proofs are those of the RFC's definitions, hold, and break with any change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_rfc6962 import NaiveNodes, mth, path, proof

from asgi_infra.audit.proofs.errors import ProofError
from asgi_infra.audit.proofs.merkle import EMPTY_ROOT, leaf_hash
from asgi_infra.audit.proofs.proving import (
    Range,
    consistency_proof,
    consistency_ranges,
    inclusion_proof,
    inclusion_ranges,
    range_at,
    root_at,
)
from asgi_infra.audit.proofs.verifying import verify_consistency, verify_inclusion
from asgi_infra.errors import ConfigurationError

ENTRIES = [b"entry %d" % at for at in range(1000)]
NODES = NaiveNodes(ENTRIES)
ROOTS = [root_at(size, NODES) for size in range(len(ENTRIES) + 1)]


@pytest.mark.parametrize("size", range(1, 131))
def test_every_proof_of_a_small_tree_is_that_of_the_definition_and_holds(size: int) -> None:
    entries = ENTRIES[:size]
    assert ROOTS[size] == mth(entries)
    # Each size checks a different sample of small trees against the slow recursion, and all proofs against the root.
    for index in range(size):
        made = inclusion_proof(index, size, NODES)
        if size <= 40 or index % 13 == size % 13:
            assert made == path(index, entries)
        verify_inclusion(leaf_hash(entries[index]), index, size, made, ROOTS[size])
    for size1 in range(1, size + 1):
        made = consistency_proof(size1, size, NODES)
        if size <= 40 or size1 % 13 == size % 13:
            assert made == proof(size1, entries)
        verify_consistency(size1, size, ROOTS[size1], ROOTS[size], made)


@given(st.data())
def test_proofs_of_larger_trees_are_those_of_the_definition_and_hold(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(ENTRIES)))
    index = data.draw(st.integers(0, size - 1))
    size1 = data.draw(st.integers(1, size))
    entries = ENTRIES[:size]
    included, consistent = inclusion_proof(index, size, NODES), consistency_proof(size1, size, NODES)
    assert included == path(index, entries)
    assert consistent == proof(size1, entries)
    verify_inclusion(leaf_hash(ENTRIES[index]), index, size, included, ROOTS[size])
    verify_consistency(size1, size, ROOTS[size1], ROOTS[size], consistent)


@given(st.tuples(*[st.integers(0, 2**62)] * 3).map(sorted))
def test_proofs_of_the_largest_trees_have_few_hashes(numbers: list[int]) -> None:
    index, size1, size = numbers
    assert len(inclusion_ranges(index, size + 1)) <= 63
    assert len(consistency_ranges(size1, size)) <= 63
    assert all(each.start < each.end for each in inclusion_ranges(index, size + 1))


def test_the_edge_of_any_tree_comes_from_its_nodes() -> None:
    for size in (0, 1, 2, 3, 255, 256, 257, 1000):
        edge = range_at(size, NODES)
        assert (edge.size, edge.root()) == (size, ROOTS[size])
    assert ROOTS[0] == EMPTY_ROOT


def test_a_range_is_made_of_its_largest_subtrees() -> None:
    assert list(Range(0, 7).nodes()) == [(2, 0), (1, 2), (0, 6)]
    assert list(Range(4, 7).nodes()) == [(1, 2), (0, 6)]
    assert list(Range(8, 16).nodes()) == [(3, 1)]


# What does not hold


def _flips(hashes: list[bytes]) -> list[list[bytes]]:
    """Return the hashes with each of their bits turned over."""
    return [
        [*hashes[:at], bytes([*value[:byte], value[byte] ^ (1 << bit), *value[byte + 1 :]]), *hashes[at + 1 :]]
        for at, value in enumerate(hashes)
        for byte in range(32)
        for bit in range(8)
    ]


@pytest.mark.parametrize(("index", "size"), [(0, 2), (1, 2), (2, 3), (4, 7), (6, 7), (5, 8), (10, 11)])
def test_every_bit_of_an_inclusion_proof_counts(index: int, size: int) -> None:
    leaf, root = leaf_hash(ENTRIES[index]), ROOTS[size]
    made = inclusion_proof(index, size, NODES)
    for broken in _flips([leaf, root, *made]):
        with pytest.raises(ProofError, match="another root"):
            verify_inclusion(broken[0], index, size, broken[2:], broken[1])


@pytest.mark.parametrize(("size1", "size2"), [(1, 2), (2, 3), (3, 7), (4, 7), (6, 8), (7, 11), (8, 8)])
def test_every_bit_of_a_consistency_proof_counts(size1: int, size2: int) -> None:
    made = consistency_proof(size1, size2, NODES)
    for broken in _flips([ROOTS[size1], ROOTS[size2], *made]):
        with pytest.raises(ProofError, match=r"another root|different roots"):
            verify_consistency(size1, size2, broken[0], broken[1], broken[2:])


@given(st.data())
def test_a_proof_holds_for_no_other_leaf_size_or_length(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    leaf, root = leaf_hash(ENTRIES[index]), ROOTS[size]
    made = inclusion_proof(index, size, NODES)
    other_index = data.draw(st.integers(-2, size + 2).filter(lambda value: value != index))
    other_size = data.draw(st.integers(1, 300).filter(lambda value: value != size))
    extra = data.draw(st.sampled_from([bytes(32), leaf, root, *made]))
    broken = [
        (leaf, other_index, size, made, root),
        (leaf, index, size, [*made, extra], root),
        (leaf, index, size, [extra, *made], root),
        (leaf_hash(b"another"), index, size, made, root),
        (leaf, index, size, made, ROOTS[other_size]),
    ]
    if made:
        broken += [(leaf, index, size, made[1:], root), (leaf, index, size, made[:-1], root)]
    for each in broken:
        with pytest.raises(ProofError):
            verify_inclusion(*each)


@given(st.data())
def test_a_consistency_proof_holds_for_no_other_sizes_roots_or_length(data: st.DataObject) -> None:
    size2 = data.draw(st.integers(2, 300))
    size1 = data.draw(st.integers(1, size2 - 1))
    made = consistency_proof(size1, size2, NODES)
    other = data.draw(st.integers(1, 300).filter(lambda value: value not in (size1, size2)))
    extra = data.draw(st.sampled_from([bytes(32), ROOTS[size1], ROOTS[size2], *made]))
    root1, root2 = ROOTS[size1], ROOTS[size2]
    broken = [
        (size2, size1, root1, root2, made),
        (size1, size2, root2, root1, made),
        (size1, size2, ROOTS[other], root2, made),
        (size1, size2, root1, ROOTS[other], made),
        (size1, size2, root1, root2, [*made, extra]),
        (size1, size2, root1, root2, [extra, *made]),
        (size1, size2, root1, root2, made[1:]),
        (size1, size2, root1, root2, made[:-1]),
    ]
    for each in broken:
        with pytest.raises(ProofError):
            verify_consistency(*each)


def test_a_log_that_rewrote_an_entry_can_not_prove_consistency() -> None:
    forged = [*ENTRIES[:40], b"rewritten", *ENTRIES[41:100]]
    nodes = NaiveNodes(forged)
    made = consistency_proof(64, 100, nodes)
    verify_consistency(64, 100, root_at(64, nodes), root_at(100, nodes), made)
    with pytest.raises(ProofError, match=r"the older tree|the newer tree"):
        verify_consistency(64, 100, ROOTS[64], root_at(100, nodes), made)


def test_nothing_follows_from_an_empty_tree() -> None:
    assert consistency_proof(0, 5, NODES) == []
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    with pytest.raises(ProofError, match="nothing can be proved from an empty tree"):
        verify_consistency(0, 5, EMPTY_ROOT, ROOTS[5], [])
    with pytest.raises(ProofError, match="SHA-256 of nothing"):
        verify_consistency(0, 0, bytes(32), bytes(32), [])


@pytest.mark.parametrize(("size1", "size2"), [(5, 4), (-1, 4), (-1, -1), (3, 0)])
def test_a_tree_begins_with_no_larger_and_no_negative_one(size1: int, size2: int) -> None:
    with pytest.raises(ProofError, match="can't begin with"):
        verify_consistency(size1, size2, ROOTS[5], ROOTS[4], [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (9, 3), (0, -1)])
def test_a_leaf_that_is_not_there_is_proved_by_nothing(index: int, size: int) -> None:
    with pytest.raises(ProofError, match="there is no leaf"):
        verify_inclusion(bytes(32), index, size, [], EMPTY_ROOT)
    with pytest.raises(ConfigurationError, match="index must be from 0"):
        inclusion_proof(index, size, NODES)


def test_what_is_no_hash_is_refused() -> None:
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(b"leaf", 0, 2, [bytes(32)], bytes(32))
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(bytes(32), 0, 2, [bytes(31)], bytes(32))
    with pytest.raises(ProofError, match="32 bytes"):
        verify_consistency(1, 1, b"", b"", [])


@pytest.mark.parametrize(("size1", "size2"), [(5, 4), (-1, 4)])
def test_no_consistency_proof_goes_backwards(size1: int, size2: int) -> None:
    with pytest.raises(ConfigurationError, match="size1 must be from 0 to size2"):
        consistency_proof(size1, size2, NODES)
