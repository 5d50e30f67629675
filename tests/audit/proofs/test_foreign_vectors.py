"""What an independent implementation made of the same entries and keys is what this one makes, and the reverse."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest

from asgi_infra.audit.proofs import (
    Checkpoint,
    CosignatureSigner,
    Ed25519Signer,
    MemoryTiles,
    ProofFile,
    Quorum,
    TileNodes,
    bundles_between,
    consistency_proof,
    cosigned_at,
    encode_entries,
    inclusion_proof,
    leaf_hashes,
    open_checkpoint,
    parse_vkey,
    root_at,
    sign_checkpoint,
    tiles_between,
    verify_consistency,
    verify_inclusion,
)

VECTORS = json.loads(Path(__file__).parent.parent.joinpath("vectors", "aics_tlog.json").read_text(encoding="utf-8"))
SIZE = 70_000
ENTRIES = [b"entry %d" % at for at in range(SIZE)]
HASHES = leaf_hashes(ENTRIES)
TILES = MemoryTiles()
TILES.extend(HASHES)
ROOTS = {int(size): b64decode(root) for size, root in VECTORS["roots"].items()}
LOG, WITNESS = parse_vkey(VECTORS["log_vkey"]), parse_vkey(VECTORS["witness_vkey"])
SIGNERS = (
    Ed25519Signer("example.org/log", bytes(range(32))),
    CosignatureSigner("example.org/witness", bytes(range(1, 33)), clock=lambda: 1_700_000_000),
)


@pytest.mark.parametrize("size", ROOTS)
def test_the_roots_are_the_same(size: int) -> None:
    assert root_at(size, TileNodes(TILES, size)) == ROOTS[size]


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda vector: f"{vector['index']}-{vector['size']}")
def test_inclusion_proofs_are_the_same_and_hold(vector) -> None:
    index, size, proof = vector["index"], vector["size"], [b64decode(each) for each in vector["proof"]]
    assert inclusion_proof(index, size, TileNodes(TILES, size)) == proof
    verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda vector: f"{vector['size1']}-{vector['size2']}")
def test_consistency_proofs_are_the_same_and_hold(vector) -> None:
    size1, size2, proof = vector["size1"], vector["size2"], [b64decode(each) for each in vector["proof"]]
    assert consistency_proof(size1, size2, TileNodes(TILES, size2)) == proof
    verify_consistency(size1, size2, ROOTS[size1], ROOTS[size2], proof)


def test_tiles_and_bundles_are_the_same_files() -> None:
    files = {tile.path: TILES.read_tile(tile.level, tile.index, tile.width) for tile in tiles_between(0, SIZE)}
    files |= {each.path: encode_entries(ENTRIES[each.start : each.end]) for each in bundles_between(0, SIZE)}
    for path, digest in VECTORS["tiles"].items():
        assert sha256(files[path]).hexdigest() == digest
    together = b"".join(path.encode() + b"\n" + files[path] for path in sorted(files))
    assert sha256(together).hexdigest() == VECTORS["all_tiles"]


def test_keys_checkpoint_and_cosignature_are_the_same() -> None:
    assert [each.verifier for each in SIGNERS] == [LOG, WITNESS]
    note = sign_checkpoint(Checkpoint("example.org/log", SIZE, TILES.range.root()), *SIGNERS)
    assert note == VECTORS["checkpoint"]


def test_the_checkpoint_opens_and_a_proof_file_leads_to_it() -> None:
    opened = open_checkpoint(VECTORS["checkpoint"], LOG, witnesses=[WITNESS])
    assert opened.checkpoint.root == ROOTS[SIZE]
    assert cosigned_at(opened.note.verified[1].signature) == 1_700_000_000
    path = tuple(inclusion_proof(12_345, SIZE, TileNodes(TILES, SIZE)))
    proof = ProofFile.parse(str(ProofFile(12_345, path, VECTORS["checkpoint"])))
    proof.verify(ENTRIES[12_345], LOG, quorum=Quorum(1, [WITNESS]))
