"""Asking witnesses: the requests of the specification, a witness that keeps to it, and ones that don't."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs import (
    AddCheckpoint,
    Answer,
    Checkpoint,
    CosignatureSigner,
    Ed25519Signer,
    MalformedProofError,
    MemoryTiles,
    Note,
    ProofError,
    SeenSize,
    TileNodes,
    WitnessError,
    add_signatures,
    consistency_proof,
    cosign,
    cosigned_at,
    leaf_hashes,
    open_checkpoint,
    read_answer,
    root_at,
    sign_checkpoint,
    sign_note,
    verify_consistency,
)
from asgi_infra.audit.proofs.witness import MAX_ANSWER, SIZE_CONTENT_TYPE
from asgi_infra.errors import ConfigurationError

pytestmark = pytest.mark.anyio

LOG = Ed25519Signer("example.org/log", bytes(range(32)))
SIGNER = CosignatureSigner("example.org/witness", bytes(range(1, 33)), clock=lambda: 1_700_000_000)
WITNESS = SIGNER.verifier
TILES = MemoryTiles()
TILES.extend(leaf_hashes(b"%d" % at for at in range(600)))


def checkpoint(size: int) -> str:
    return sign_checkpoint(Checkpoint("example.org/log", size, root_at(size, TileNodes(TILES, size))), LOG)


def prover(size: int):
    async def prove(old_size: int) -> list[bytes]:
        return consistency_proof(old_size, size, TileNodes(TILES, size))

    return prove


class FakeWitness:
    """A witness as the specification describes it, for one log."""

    def __init__(self, seen: int = 0) -> None:
        self.seen, self.root = seen, root_at(seen, TileNodes(TILES, seen))
        self.requests: list[AddCheckpoint] = []

    async def post(self, body: bytes) -> Answer:
        request = AddCheckpoint.parse(body)
        self.requests.append(request)
        try:
            new = open_checkpoint(request.checkpoint, LOG.verifier).checkpoint
        except ProofError:
            return Answer(403, "", b"")
        if request.old_size != self.seen or (request.old_size == new.size and new.root != self.root):
            return Answer(409, SIZE_CONTENT_TYPE, b"%d\n" % self.seen)
        if self.seen:
            try:
                verify_consistency(self.seen, new.size, self.root, new.root, request.proof)
            except ProofError:
                return Answer(422, "text/plain", b"no")
        self.seen, self.root = new.size, new.root
        lines = str(Note.parse(sign_note(str(new), SIGNER))).rpartition("\n\n")[2]
        return Answer(200, "text/plain", lines.encode())


@pytest.mark.parametrize("old_size", [0, 1, 300, 599, 600])
async def test_a_witness_cosigns_what_follows_from_what_it_has_seen(old_size: int) -> None:
    witness = FakeWitness(old_size)
    signature = await cosign(checkpoint(600), WITNESS, old_size=old_size, prove=prover(600), post=witness.post)
    assert cosigned_at(signature.signature) == 1_700_000_000
    note = add_signatures(checkpoint(600), [signature])
    assert open_checkpoint(note, LOG.verifier, witnesses=[WITNESS]).note.is_signed_by(WITNESS)
    assert len(witness.requests) == 1


@pytest.mark.parametrize("seen", [0, 7, 256, 599, 600])
async def test_a_witness_that_has_seen_another_size_is_asked_again_from_there(seen: int) -> None:
    witness = FakeWitness(seen)
    await cosign(checkpoint(600), WITNESS, old_size=100, prove=prover(600), post=witness.post)
    assert [each.old_size for each in witness.requests] == [100, seen]
    assert witness.seen == 600


async def test_a_log_that_was_set_back_is_told_so() -> None:
    with pytest.raises(WitnessError, match="has seen 500 entries, more than the 300 of the checkpoint") as caught:
        await cosign(checkpoint(300), WITNESS, old_size=100, prove=prover(300), post=FakeWitness(500).post)
    assert caught.value.status == 409


async def test_a_log_that_has_forked_is_told_so() -> None:
    witness = FakeWitness(600)
    witness.root = bytes(32)
    with pytest.raises(WitnessError, match="the log has forked"):
        await cosign(checkpoint(600), WITNESS, old_size=600, prove=prover(600), post=witness.post)
    witness = FakeWitness(300)
    witness.root = bytes(32)
    with pytest.raises(WitnessError, match="it says that the consistency proof is wrong") as caught:
        await cosign(checkpoint(600), WITNESS, old_size=300, prove=prover(600), post=witness.post)
    assert caught.value.status == 422


async def test_a_witness_that_keeps_changing_its_mind_is_given_up() -> None:
    sizes = iter([1, 2, 3, 4])

    async def post(body: bytes) -> Answer:
        return Answer(409, SIZE_CONTENT_TYPE, b"%d\n" % next(sizes))

    with pytest.raises(WitnessError, match="with each answer"):
        await cosign(checkpoint(600), WITNESS, old_size=0, prove=prover(600), post=post)
    assert next(sizes) == 3


async def test_what_the_call_raises_comes_through() -> None:
    async def post(body: bytes) -> Answer:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await cosign(checkpoint(600), WITNESS, old_size=0, prove=prover(600), post=post)


# Requests


def test_the_body_has_the_lines_of_the_specification() -> None:
    proof = consistency_proof(299, 600, TileNodes(TILES, 600))
    body = AddCheckpoint(299, tuple(proof), checkpoint(600)).to_bytes().decode()
    lines = body.split("\n")
    assert lines[0] == "old 299"
    assert lines[1 + len(proof)] == ""
    assert body.endswith("\n\n" + checkpoint(600))
    assert AddCheckpoint(0, (), checkpoint(600)).to_bytes().decode() == "old 0\n\n" + checkpoint(600)


@given(st.integers(0, 600))
def test_a_request_is_read_as_it_was_written(old_size: int) -> None:
    proof = tuple(consistency_proof(old_size, 600, TileNodes(TILES, 600)))
    request = AddCheckpoint(old_size, proof, checkpoint(600))
    assert AddCheckpoint.parse(request.to_bytes()) == request


BODY = AddCheckpoint(1, (bytes(32),), checkpoint(600)).to_bytes()
HASH = b"A" * 43 + b"="


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        BODY[:-1],
        BODY + b"\n",
        BODY.replace(b"\n", b"\r\n"),
        BODY.replace(b"old 1", b"old 01"),
        BODY.replace(b"old 1", b"old"),
        BODY.replace(b"old 1", b"new 1"),
        BODY.replace(b"old 1", b"old 601"),
        BODY.replace(b"old 1", b"old 0"),
        BODY.replace(b"old 1", b"old -1"),
        BODY.replace(HASH, b"A" * 43),
        BODY.replace(HASH, b"AAAA"),
        BODY.replace(HASH, b"\n".join([HASH] * 64)),
        BODY.replace(HASH, b"AAAA\n" * 100_000 + HASH),
        BODY.replace(b"\n\nexample", b"\nexample"),
        b"old 1\n\nno checkpoint\n",
        b"\xff" + BODY,
        BODY.replace(b"org/log\n6", b"org/\xfflog\n6"),
        b"x" * 1_000_001,
    ],
)
def test_a_malformed_request_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedProofError):
        AddCheckpoint.parse(body)


@pytest.mark.parametrize(
    ("old_size", "proof"), [(-1, ()), (601, ()), (0, (bytes(32),)), (1, (b"short",)), (1, (bytes(32),) * 64)]
)
def test_a_request_that_can_not_be_right_is_not_made(old_size: int, proof: tuple[bytes, ...]) -> None:
    with pytest.raises(ConfigurationError, match="old_size|proof"):  # noqa: RUF043
        AddCheckpoint(old_size, proof, checkpoint(600))


# Answers


REQUEST = AddCheckpoint(100, tuple(consistency_proof(100, 600, TileNodes(TILES, 600))), checkpoint(600))
TEXT = Note.parse(REQUEST.checkpoint).text
STRANGER = CosignatureSigner("example.org/stranger", bytes(32), clock=lambda: 1)
GOOD = sign_note(TEXT, SIGNER).rpartition("\n\n")[2].encode()
OTHER = sign_note(TEXT, STRANGER).rpartition("\n\n")[2].encode()
WRONG = sign_note("example.org/log\n600\n", SIGNER).rpartition("\n\n")[2].encode()


def test_cosignatures_of_other_keys_in_the_answer_are_ignored() -> None:
    signature = read_answer(REQUEST, Answer(200, "", OTHER + GOOD), WITNESS)
    assert signature.key == (WITNESS.name, WITNESS.key_id)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"ok", GOOD[:-1], GOOD + b"\n", OTHER, WRONG, GOOD + WRONG, b"\xff", GOOD.replace(b"w", b"W")]
)
def test_an_answer_without_a_cosignature_that_holds_is_refused(body: bytes) -> None:
    with pytest.raises(WitnessError, match="without a cosignature that holds") as caught:
        read_answer(REQUEST, Answer(200, "text/plain", body), WITNESS)
    assert caught.value.status == 200


@pytest.mark.parametrize("content_type", [SIZE_CONTENT_TYPE, "Text/X.tlog.Size; charset=utf-8"])
def test_the_size_that_the_witness_has_seen_is_read(content_type: str) -> None:
    assert read_answer(REQUEST, Answer(409, content_type, b"256\n"), WITNESS) == SeenSize(256)
    assert read_answer(REQUEST, Answer(409, content_type, b"0"), WITNESS) == SeenSize(0)


@pytest.mark.parametrize("body", [b"", b"\n", b"x\n", b"007\n", b"-1\n", b"1\n\n", b"\xff", b"9" * 1000])
def test_a_size_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(WitnessError, match="doesn't say which size it has seen"):
        read_answer(REQUEST, Answer(409, SIZE_CONTENT_TYPE, body), WITNESS)


@pytest.mark.parametrize("status", [100, 201, 204, 301, 400, 403, 404, 422, 429, 500, 503])
def test_any_other_status_is_a_refusal(status: int) -> None:
    with pytest.raises(WitnessError, match=f"refused the checkpoint with status {status}") as caught:
        read_answer(REQUEST, Answer(status, "", GOOD), WITNESS)
    assert caught.value.status == status
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.status) == (str(caught.value), status)


@pytest.mark.parametrize(
    ("status", "why"),
    [(400, "malformed"), (403, "the log's signature"), (404, "know the log"), (422, "is wrong"), (500, "500$")],
)
def test_a_refusal_says_why(status: int, why: str) -> None:
    with pytest.raises(WitnessError, match=why):
        read_answer(REQUEST, Answer(status, "", b""), WITNESS)


def test_a_conflict_without_a_size_is_a_fork_or_no_witness() -> None:
    with pytest.raises(WitnessError, match="another tree of the same size"):
        read_answer(REQUEST, Answer(409, "text/plain", b"conflict"), WITNESS)


def test_an_answer_is_bounded() -> None:
    with pytest.raises(WitnessError, match=f"more than {MAX_ANSWER} bytes"):
        read_answer(REQUEST, Answer(200, "", b"x" * (MAX_ANSWER + 1)), WITNESS)
