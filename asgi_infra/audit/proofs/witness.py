"""Asking a witness to cosign a checkpoint (C2SP tlog-witness, `add-checkpoint`).

A witness signs a checkpoint only if it follows from the last one that it has seen. So nobody can be shown another
history than the witness was. What is sent and what comes back is made and judged here; the HTTP call is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_infra.audit.proofs.checkpoint import Checkpoint
from asgi_infra.audit.proofs.encoding import decode_hash, decode_number, encode_base64
from asgi_infra.audit.proofs.errors import MalformedProofError, ProofError, WitnessError
from asgi_infra.audit.proofs.merkle import HASH_SIZE
from asgi_infra.audit.proofs.notes import MAX_NOTE, Note, open_note, parse_signatures
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asgi_infra.audit.proofs.notes import Signature
    from asgi_infra.audit.proofs.signing import Verifier

SIZE_CONTENT_TYPE: Final = "text/x.tlog.size"
"""The content type of the answer that tells which size the witness has seen."""

MAX_PROOF_LINES: Final = 63
"""The most hashes of the consistency proof in a request."""

MAX_ANSWER: Final = 100_000
"""The most bytes of an answer that are read."""

_REFUSALS: Final = {
    400: "it says that the request is malformed",
    403: "it doesn't accept the log's signature",
    404: "it doesn't know the log",
    422: "it says that the consistency proof is wrong",
}


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """The body of a request to `<submission prefix>/add-checkpoint`.

    Args:
        old_size: The size that the witness has seen last; 0 if it has seen none, or nobody knows.
        proof: The consistency proof from that size; empty from 0.
        checkpoint: The note of the checkpoint, signed by the log.

    Raises:
        ConfigurationError: The size or the proof can't be right.
        MalformedProofError: The checkpoint is none.
    """

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: str

    def __post_init__(self) -> None:
        size = Checkpoint.of_note(self.checkpoint).size
        if not 0 <= self.old_size <= size:
            raise ConfigurationError(f"old_size must be from 0 to the checkpoint's size ({size}), not {self.old_size}")
        if len(self.proof) > MAX_PROOF_LINES or any(len(value) != HASH_SIZE for value in self.proof):
            raise ConfigurationError(f"proof must be at most {MAX_PROOF_LINES} hashes of {HASH_SIZE} bytes")
        if self.proof and not self.old_size:
            raise ConfigurationError("proof must be empty when old_size is 0")

    def to_bytes(self) -> bytes:
        """Return the body."""
        lines = [f"old {self.old_size}", *map(encode_base64, self.proof), "", self.checkpoint]
        return "\n".join(lines).encode()

    @classmethod
    def parse(cls, data: bytes) -> AddCheckpoint:
        """Return what a request says, unchecked: the witness's side.

        Raises:
            MalformedProofError: It is no such request, or larger than the bounds.
        """
        if len(data) > MAX_NOTE:
            raise MalformedProofError(f"the request must have at most {MAX_NOTE} bytes")
        try:
            head, separator, checkpoint = data.decode().partition("\n\n")
        except UnicodeDecodeError as exc:
            raise MalformedProofError("the request must be UTF-8") from exc
        first, *lines = head.split("\n", MAX_PROOF_LINES + 1)
        if not separator or not first.startswith("old "):
            raise MalformedProofError("the request must be 'old' and a size, a proof, a blank line and a checkpoint")
        old_size = decode_number(first.removeprefix("old "), "the old size")
        try:
            return cls(old_size, tuple(decode_hash(line, "a hash of the proof") for line in lines), checkpoint)
        except ConfigurationError as exc:
            raise MalformedProofError(f"the request can't be right: {exc}") from exc


class Answer(NamedTuple):
    """What the witness answered.

    Attributes:
        status: The HTTP status.
        content_type: The header `Content-Type`, or an empty text.
        body: Its bytes; read no more than `MAX_ANSWER`.
    """

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class SeenSize:
    """The witness has seen another size last than the request said; ask again from there."""

    size: int


def read_answer(request: AddCheckpoint, answer: Answer, witness: Verifier) -> Signature | SeenSize:
    """Return the cosignature, or the size to ask again from.

    Args:
        request: What was asked.
        answer: What came back.
        witness: The witness's key. Signatures of other keys in the answer are ignored.

    Raises:
        WitnessError: It refused, or its answer is none, or it has seen another history of the log.
    """
    if len(answer.body) > MAX_ANSWER:
        raise WitnessError(f"{witness.name} answered with more than {MAX_ANSWER} bytes", status=answer.status)
    if answer.status == 200:
        return _cosignature(request, answer, witness)
    if answer.status != 409:
        why = _REFUSALS.get(answer.status, "")
        raise WitnessError(
            f"{witness.name} refused the checkpoint with status {answer.status}{why and ': ' + why}",
            status=answer.status,
        )
    if answer.content_type.partition(";")[0].strip().lower() != SIZE_CONTENT_TYPE:
        raise WitnessError(f"{witness.name} has seen another tree of the same size, or doesn't say which", status=409)
    try:
        text = answer.body.decode("ascii")
        seen = decode_number(text.removesuffix("\n"), "the size that the witness has seen")
    except (UnicodeDecodeError, MalformedProofError) as exc:
        raise WitnessError(f"{witness.name} doesn't say which size it has seen", status=409) from exc
    size = Checkpoint.of_note(request.checkpoint).size
    if seen > size:
        raise WitnessError(
            f"{witness.name} has seen {seen} entries, more than the {size} of the checkpoint: a newer one was shown "
            "to it, or the log was set back",
            status=409,
        )
    if seen == request.old_size:
        raise WitnessError(
            f"{witness.name} refuses to go on from {seen} entries, though it has seen as many: the log has forked, or "
            "the witness contradicts itself",
            status=409,
        )
    return SeenSize(seen)


async def cosign(
    checkpoint: str,
    witness: Verifier,
    *,
    old_size: int,
    prove: Callable[[int], Awaitable[Sequence[bytes]]],
    post: Callable[[bytes], Awaitable[Answer]],
) -> Signature:
    """Ask a witness for its cosignature, a second time if it has seen another size than expected.

    Args:
        checkpoint: The note of the checkpoint, signed by the log.
        witness: The witness's key.
        old_size: The size that it cosigned last, as far as is known; else 0.
        prove: Returns the consistency proof from a size to that of the checkpoint; empty from 0.
        post: Sends the body to `<submission prefix>/add-checkpoint` and returns the answer. Time-outs are its own.

    Returns:
        The cosignature, checked; `add_signatures` puts it under the checkpoint.

    Raises:
        WitnessError: It refused, or its answer is none, or it has seen another history of the log.
    """
    for _ in range(2):
        request = AddCheckpoint(old_size, tuple(await prove(old_size)), checkpoint)
        answer = read_answer(request, await post(request.to_bytes()), witness)
        if not isinstance(answer, SeenSize):
            return answer
        old_size = answer.size
    raise WitnessError(f"{witness.name} says with each answer that it has seen another size", status=409)


def _cosignature(request: AddCheckpoint, answer: Answer, witness: Verifier) -> Signature:
    text = Note.parse(request.checkpoint).text
    try:
        note = str(Note(text, parse_signatures(answer.body.decode())))
        return open_note(note, [witness]).verified[0]
    except (UnicodeDecodeError, ProofError) as exc:
        raise WitnessError(f"{witness.name} answered without a cosignature that holds: {exc}", status=200) from exc
