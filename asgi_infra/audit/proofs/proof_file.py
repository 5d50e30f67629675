"""Proof files, `.tlog-proof` (C2SP tlog-proof): that an entry is in a log, to be checked by anybody, offline.

```text
c2sp.org/tlog-proof@v1
index 73894
gSKyXoYZUgZ6jduWYrkDOARi...     the inclusion proof, the leaf's sibling first

example.org/log                 the checkpoint, as its log has signed it
109482
sFodV/vSp5O8n9a8QpW6PRY9...

— example.org/log hI2DJw...
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.proofs.checkpoint import Checkpoint, open_checkpoint
from asgi_infra.audit.proofs.encoding import decode_base64, decode_hash, decode_number, encode_base64
from asgi_infra.audit.proofs.errors import MalformedProofError
from asgi_infra.audit.proofs.merkle import HASH_SIZE, MAX_SIZE, leaf_hash
from asgi_infra.audit.proofs.notes import MAX_NOTE
from asgi_infra.audit.proofs.verifying import verify_inclusion
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from asgi_infra.audit.proofs.checkpoint import SignedCheckpoint
    from asgi_infra.audit.proofs.quorum import Quorum
    from asgi_infra.audit.proofs.signing import Verifier

SUFFIX: Final = ".tlog-proof"
"""How the names of such files end."""

MAX_PATH: Final = 63
"""The most hashes of a proof."""

MAX_PROOF_FILE: Final = MAX_NOTE + 100_000
"""The most bytes of a proof file."""

_HEADER: Final = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class ProofFile:
    """A proof that an entry is in a log. `str(proof)` is what stands in the file.

    Args:
        index: Of the entry, from 0.
        path: The inclusion proof, the leaf's sibling first.
        checkpoint: The note of the checkpoint that the proof leads to.
        extra: Whatever else the reader needs, unauthenticated, or `None`.

    Raises:
        ConfigurationError: The index or the path can't be right, or `extra` is empty.
        MalformedProofError: The checkpoint is none.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SIZE:
            raise ConfigurationError(f"index must be from 0 to 2**63 - 1, not {self.index}")
        if len(self.path) > MAX_PATH or any(len(value) != HASH_SIZE for value in self.path):
            raise ConfigurationError(f"path must be at most {MAX_PATH} hashes of {HASH_SIZE} bytes")
        if self.extra == b"":
            raise ConfigurationError("extra must not be empty; None leaves it out")
        Checkpoint.of_note(self.checkpoint)

    def __str__(self) -> str:
        extra = [] if self.extra is None else [f"extra {encode_base64(self.extra)}"]
        lines = [_HEADER, *extra, f"index {self.index}", *map(encode_base64, self.path), "", self.checkpoint]
        return "\n".join(lines)

    @classmethod
    def parse(cls, data: str | bytes) -> ProofFile:
        """Return what a proof file claims; `verify` checks it.

        Raises:
            MalformedProofError: It is no proof file, or larger than the bounds.
        """
        if len(data) > MAX_PROOF_FILE:
            raise MalformedProofError(f"the proof file must have at most {MAX_PROOF_FILE} bytes")
        try:
            text = data if isinstance(data, str) else data.decode()
        except UnicodeDecodeError as exc:
            raise MalformedProofError("the proof file must be UTF-8") from exc
        head, separator, checkpoint = text.partition("\n\n")
        header, *lines = head.split("\n", MAX_PATH + 3)
        if header != _HEADER or not separator:
            raise MalformedProofError(f"the proof file must begin with {_HEADER!r} and have a blank line")
        extra = _value(lines.pop(0), "extra") if lines and lines[0].startswith("extra ") else None
        if not lines:
            raise MalformedProofError("the proof file must tell the index of the entry")
        index = decode_number(_value(lines[0], "index"), "the index")
        if len(lines) > MAX_PATH + 1:
            raise MalformedProofError(f"the proof file must have at most {MAX_PATH} hashes")
        path = tuple(decode_hash(line, "a hash of the proof") for line in lines[1:])
        if extra == "":
            raise MalformedProofError("the extra data of the proof file must not be empty")
        return cls(index, path, checkpoint, decode_base64(extra, "the extra data") if extra else None)

    def verify(
        self, entry: bytes, log: Verifier, *, quorum: Quorum | None = None, origin: str | None = None
    ) -> SignedCheckpoint:
        """Check that the log has committed to an entry.

        Args:
            entry: Its bytes, as the log stores them.
            log: The log's key.
            quorum: The witnesses that must have signed the checkpoint too.
            origin: Which log; the name of its key, if not given.

        Returns:
            The checkpoint, which may be believed now. `extra` may not.

        Raises:
            ProofError: It is not proved.

        Example:
            ```python
            ProofFile.parse(path.read_bytes()).verify(entry, parse_vkey("example.org/log+..."))
            ```
        """
        return self.verify_leaf(leaf_hash(entry), log, quorum=quorum, origin=origin)

    def verify_leaf(
        self, leaf: bytes, log: Verifier, *, quorum: Quorum | None = None, origin: str | None = None
    ) -> SignedCheckpoint:
        """Check the same for an entry of which only the leaf's hash is left."""
        witnesses = quorum.witnesses() if quorum is not None else ()
        signed = open_checkpoint(self.checkpoint, log, witnesses=witnesses, origin=origin)
        if quorum is not None:
            quorum.check(signed.note)
        verify_inclusion(leaf, self.index, signed.checkpoint.size, self.path, signed.checkpoint.root)
        return signed


def _value(line: str, key: str) -> str:
    if not line.startswith(f"{key} "):
        raise MalformedProofError(f"the proof file must have a line '{key} ...'")
    return line.removeprefix(f"{key} ")
