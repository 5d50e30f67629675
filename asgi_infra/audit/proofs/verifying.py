"""Checking inclusion and consistency proofs, with nothing but the hashes that are shown.

Both check the proof's length first: it follows from the sizes, so nothing can be left out, added or moved. They return
nothing, so a forgotten `if` can't turn a refusal into an acceptance.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING

from asgi_infra.audit.proofs.errors import ProofError
from asgi_infra.audit.proofs.merkle import EMPTY_ROOT, HASH_SIZE, node_hash

if TYPE_CHECKING:
    from collections.abc import Sequence


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf is in a tree (RFC 9162, section 2.1.3.2).

    Args:
        leaf_hash: The hash of the leaf, as `leaf_hash(entry)` makes it from the entry itself.
        index: Of the leaf, from 0.
        size: Leaves of the tree.
        proof: As `inclusion_proof` makes it, the leaf's sibling first.
        root: Of the tree, from a checkpoint that you trust.

    Raises:
        ProofError: It is not proved that the leaf is there.

    Example:
        >>> from asgi_infra.audit.proofs.merkle import leaf_hash, node_hash
        >>> a, b = leaf_hash(b"a"), leaf_hash(b"b")
        >>> verify_inclusion(a, 0, 2, [b], node_hash(a, b))
    """
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size} leaves")
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _check_hashes(proof, inner + border, f"of leaf {index} in a tree of {size} leaves", leaf_hash, root)
    if not compare_digest(_climb(leaf_hash, proof, inner, index), root):
        raise ProofError(f"the inclusion proof of leaf {index} leads to another root than that of the {size} leaves")


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Check that a tree begins with an older one: nothing was changed, removed or put between (RFC 9162, 2.1.4.2).

    Nothing can be proved from an empty tree, so `size1 == 0` is refused unless `size2` is 0 too.

    Args:
        size1: Leaves of the older tree.
        size2: Leaves of the newer tree.
        root1: Of the older tree, from a checkpoint that you trust.
        root2: Of the newer tree, from a checkpoint whose signature you have checked.
        proof: As `consistency_proof` makes it.

    Raises:
        ProofError: It is not proved that the newer tree begins with the older one.
    """
    if size1 < 0 or size2 < size1:
        raise ProofError(f"a tree of {size2} leaves can't begin with one of {size1}")
    between = f"between trees of {size1} and {size2} leaves"
    if size1 == size2:
        _check_hashes(proof, 0, between, root1, root2)
        if not compare_digest(root1, root2):
            raise ProofError(f"two trees of {size1} leaves have different roots")
        if size1 == 0 and not compare_digest(root1, EMPTY_ROOT):
            raise ProofError("the root of an empty tree must be SHA-256 of nothing")
        return
    if size1 == 0:
        raise ProofError("nothing can be proved from an empty tree")
    shift = (size1 & -size1).bit_length() - 1  # below this level the older tree is full
    inner = ((size1 - 1) ^ (size2 - 1)).bit_length() - shift
    border = ((size1 - 1) >> (shift + inner)).bit_count()
    known = size1 == 1 << shift  # the older tree is one full subtree: its root starts the chain, not the proof
    _check_hashes(proof, inner + border + (not known), between, root1, root2)
    seed, chain = (root1, proof) if known else (proof[0], proof[1:])
    at = (size1 - 1) >> shift
    if not compare_digest(_climb(seed, chain, inner, at, leftwards=True), root1):
        raise ProofError(f"the consistency proof leads to another root than that of the older tree ({size1} leaves)")
    if not compare_digest(_climb(seed, chain, inner, at), root2):
        raise ProofError(f"the consistency proof leads to another root than that of the newer tree ({size2} leaves)")


def _climb(value: bytes, path: Sequence[bytes], inner: int, at: int, *, leftwards: bool = False) -> bytes:
    """Hash upwards: for `inner` steps on the side that `at` tells, then along the right border of the tree.

    With `leftwards` only what is to the left counts, which gives the root when the tree ended here.
    """
    for step, other in enumerate(path):
        if step >= inner or at >> step & 1:
            value = node_hash(other, value)
        elif not leftwards:
            value = node_hash(value, other)
    return value


def _check_hashes(proof: Sequence[bytes], length: int, what: str, *others: bytes) -> None:
    if len(proof) != length:
        raise ProofError(f"the proof {what} must have {length} hashes, not {len(proof)}")
    if any(len(value) != HASH_SIZE for value in (*proof, *others)):
        raise ProofError(f"the proof {what} and its roots must be hashes of 32 bytes")
