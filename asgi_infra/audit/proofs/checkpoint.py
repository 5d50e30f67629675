"""Checkpoints (C2SP tlog-checkpoint): what a log commits to at a size, signed.

```text
example.org/log            the origin: which log
20852163                   how many entries
CsUYapGGPo4dkMgI...        the root of their Merkle tree

— example.org/log Az3grlgt...
```

A log must never sign two checkpoints that don't follow from each other: keep size and root of the last one before it
is shown to anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgi_infra.audit.proofs.encoding import decode_hash, decode_number, encode_base64, shown
from asgi_infra.audit.proofs.errors import MalformedProofError, ProofError, SignatureError
from asgi_infra.audit.proofs.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from asgi_infra.audit.proofs.notes import Note, VerifiedNote, open_note, sign_note
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgi_infra.audit.proofs.notes import Signature
    from asgi_infra.audit.proofs.signing import Signer, Verifier


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Size and root of a log.

    `str(checkpoint)` is the text that gets signed.

    Args:
        origin: Which log; by convention a URL without scheme, the same as the name of the log's key.
        size: How many entries it has.
        root: The root of their Merkle tree, 32 bytes.
        extensions: Further lines. Nobody can audit them: better without.

    Raises:
        ConfigurationError: One of them can't stand in a checkpoint.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for parameter, line in (("origin", self.origin), *(("extensions", each) for each in self.extensions)):
            if not line or any(character < " " for character in line):
                raise ConfigurationError(f"{parameter} must be a line of text without control characters, not empty")
        if not 0 <= self.size <= MAX_SIZE:
            raise ConfigurationError(f"size must be from 0 to 2**63 - 1, not {self.size}")
        if len(self.root) != HASH_SIZE:
            raise ConfigurationError(f"root must be a hash of {HASH_SIZE} bytes, not {len(self.root)}")
        if not self.size and self.root != EMPTY_ROOT:
            raise ConfigurationError("root must be SHA-256 of nothing while the log is empty")

    def __str__(self) -> str:
        return "\n".join((self.origin, str(self.size), encode_base64(self.root), *self.extensions, ""))

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Return what the text of a checkpoint's note says.

        Raises:
            MalformedProofError: It is no such text.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop():
            raise MalformedProofError("the checkpoint must be an origin, a size and a root, each on a line of its own")
        size = decode_number(lines[1], "the size of the checkpoint")
        root = decode_hash(lines[2], "the root of the checkpoint")
        try:
            return cls(lines[0], size, root, tuple(lines[3:]))
        except ConfigurationError as exc:
            raise MalformedProofError(f"the checkpoint can't be right: {exc}") from exc

    @classmethod
    def of_note(cls, note: str | bytes) -> Checkpoint:
        """Return what a checkpoint's note claims. Nobody has checked a signature.

        Raises:
            MalformedProofError: It is no note, or not that of a checkpoint.
        """
        return cls.parse(Note.parse(note).text)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that its log has signed.

    Attributes:
        checkpoint: Size and root, which may be believed.
        note: The note, with the signatures that were checked and those of unknown keys.
    """

    checkpoint: Checkpoint
    note: VerifiedNote


def sign_checkpoint(checkpoint: Checkpoint, *signers: Signer, signatures: Sequence[Signature] = ()) -> str:
    """Return the checkpoint as a signed note.

    Args:
        checkpoint: What the log commits to; it must follow from all that it committed to before.
        signers: The log's keys.
        signatures: Those that others have made already over the same checkpoint.

    Raises:
        ConfigurationError: There would be no signature, or too many.
    """
    return sign_note(str(checkpoint), *signers, signatures=signatures)


def open_checkpoint(
    note: str | bytes, log: Verifier, *, witnesses: Iterable[Verifier] = (), origin: str | None = None
) -> SignedCheckpoint:
    """Return a checkpoint after checking that its log has signed it.

    Args:
        note: The checkpoint.
        log: The log's key.
        witnesses: Keys whose signatures are to be checked too where they are there. Whether they suffice, a `Quorum`
            tells.
        origin: The origin that it must have; the name of the log's key, if not given.

    Raises:
        MalformedProofError: It is no checkpoint.
        SignatureError: The log has not signed it, or a signature of a known key is wrong.
        ProofError: It is that of another log.
    """
    opened = open_note(note, (log, *witnesses))
    if not opened.is_signed_by(log):
        raise SignatureError(f"the checkpoint is not signed by its log, {log.name} ({log.key_id.hex()})")
    checkpoint = Checkpoint.parse(opened.text)
    expected = log.name if origin is None else origin
    if checkpoint.origin != expected:
        raise ProofError(f"the checkpoint is that of {shown(checkpoint.origin)}, not of {shown(expected)}")
    return SignedCheckpoint(checkpoint, opened)
