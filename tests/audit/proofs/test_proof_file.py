"""Proof files: written, read and checked offline; whatever is changed in one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs import (
    Checkpoint,
    CosignatureSigner,
    Ed25519Signer,
    MalformedProofError,
    MemoryTiles,
    Note,
    ProofError,
    ProofFile,
    Quorum,
    QuorumError,
    SignatureError,
    TileNodes,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    root_at,
    sign_checkpoint,
)
from asgi_infra.audit.proofs.proof_file import MAX_PROOF_FILE
from asgi_infra.errors import ConfigurationError

LOG = Ed25519Signer("example.org/log", bytes(range(32)))
WITNESS = CosignatureSigner("example.org/witness", bytes(range(1, 33)), clock=lambda: 1_700_000_000)
ENTRIES = [b"entry %d" % at for at in range(300)]
TILES = MemoryTiles()
TILES.extend(leaf_hashes(ENTRIES))


def make(index: int, size: int, extra: bytes | None = None) -> ProofFile:
    nodes = TileNodes(TILES, size)
    note = sign_checkpoint(Checkpoint("example.org/log", size, root_at(size, nodes)), LOG, WITNESS)
    return ProofFile(index, tuple(inclusion_proof(index, size, nodes)), note, extra)


PROOF = make(5, 11)
TEXT = str(PROOF)


@given(st.data())
def test_a_proof_survives_its_file_and_holds(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    proof = make(index, size, data.draw(st.none() | st.binary(min_size=1, max_size=50)))
    again = ProofFile.parse(str(proof).encode())
    assert again == proof
    assert again.verify(ENTRIES[index], LOG.verifier).checkpoint.size == size
    with pytest.raises(ProofError):
        again.verify(ENTRIES[(index + 1) % 300], LOG.verifier)


def test_the_file_has_the_lines_of_the_specification() -> None:
    lines = str(make(5, 11, b"more")).split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra bW9yZQ==", "index 5"]
    assert lines[7:10] == ["", "example.org/log", "11"]
    assert TEXT.endswith(PROOF.checkpoint)


def test_the_only_entry_needs_no_hashes() -> None:
    proof = ProofFile.parse(str(make(0, 1)))
    assert proof.path == ()
    proof.verify(ENTRIES[0], LOG.verifier)


def test_a_hash_of_the_leaf_is_enough() -> None:
    PROOF.verify_leaf(leaf_hash(ENTRIES[5]), LOG.verifier)
    with pytest.raises(ProofError, match="32 bytes"):
        PROOF.verify_leaf(ENTRIES[5], LOG.verifier)


def test_no_bit_of_a_proof_file_can_be_changed() -> None:
    raw = TEXT.encode()
    for at in range(len(raw)):
        broken = bytearray(raw)
        broken[at] ^= 1 << at % 7
        with pytest.raises(ProofError):
            ProofFile.parse(bytes(broken)).verify(
                ENTRIES[5], LOG.verifier, quorum=Quorum(1, [WITNESS.verifier]), origin="example.org/log"
            )


def test_the_log_and_its_origin_count() -> None:
    stranger = Ed25519Signer("example.org/log", bytes(32))
    with pytest.raises(SignatureError, match="no known key"):
        PROOF.verify(ENTRIES[5], stranger.verifier)
    with pytest.raises(ProofError, match="not of"):
        PROOF.verify(ENTRIES[5], LOG.verifier, origin="example.org/other")


def test_the_quorum_counts_where_one_is_demanded() -> None:
    other = CosignatureSigner("example.org/second", bytes(32))
    PROOF.verify(ENTRIES[5], LOG.verifier, quorum=Quorum(1, [WITNESS.verifier, other.verifier]))
    with pytest.raises(QuorumError, match="1 of 2 members have signed; 2 must have"):
        PROOF.verify(ENTRIES[5], LOG.verifier, quorum=Quorum(2, [WITNESS.verifier, other.verifier]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        TEXT[:-1],
        TEXT + "\n",
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("@v1", "@v2"),
        TEXT.replace("@v1\n", "@v1\n\n"),
        TEXT.replace("index 5\n", ""),
        TEXT.replace("index 5", "index 05"),
        TEXT.replace("index 5", "index -5"),
        TEXT.replace("index 5", "index  5"),
        TEXT.replace("index 5", "index"),
        TEXT.replace("index 5", "Index 5"),
        TEXT.replace("index 5", f"index {2**63}"),
        TEXT.replace("index 5", "index 5\nextra bW9yZQ=="),
        TEXT.replace("index 5", "extra \nindex 5"),
        TEXT.replace("index 5", "extra bW9yZQ\nindex 5"),
        TEXT.replace("index 5", "extra bW9yZQ==\nextra bW9yZQ==\nindex 5"),
        TEXT.replace("index 5", "index 5\nAAAA"),
        TEXT.replace("index 5", "index 5\n" + "AAAA\n" * 100_000),
        TEXT.replace("index 5", "index 5" + ("\n" + "A" * 43 + "=") * 64),
        TEXT.split("\n\n", 1)[0],
        TEXT.split("\n\n", 1)[0] + "\n\n" + "no checkpoint\n",
        TEXT.split("\n\n", 1)[0] + "\n\n" + str(Note("no checkpoint\n", Note.parse(PROOF.checkpoint).signatures)),
        TEXT.encode() + b"\xff",
        b"\xff" + TEXT.encode(),
        "\ud800" + TEXT,
        TEXT + "\ud800",
        "x" * (MAX_PROOF_FILE + 1),
    ],
)
def test_what_is_written_otherwise_is_refused(text: str | bytes) -> None:
    with pytest.raises(MalformedProofError):
        ProofFile.parse(text)


@given(st.text(max_size=50), st.integers(0, 200))
def test_any_text_is_a_proof_file_or_refused(text: str, at: int) -> None:
    whole = TEXT[:at] + text + TEXT[at:]
    try:
        proof = ProofFile.parse(whole)
    except MalformedProofError:
        return
    assert str(proof) == whole


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"index": -1}, "index"),
        ({"index": 2**63}, "index"),
        ({"path": (b"short",)}, "path"),
        ({"path": (bytes(32),) * 64}, "path"),
        ({"extra": b""}, "extra"),
    ],
)
def test_what_can_not_stand_in_a_proof_file_is_refused(changes, parameter: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{parameter} must"):
        ProofFile(**{"index": 5, "path": PROOF.path, "checkpoint": PROOF.checkpoint, **changes})
