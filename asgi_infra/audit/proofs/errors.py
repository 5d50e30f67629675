"""What checking and making proofs raises.

```text
AuditError                     asgi_infra.errors: catch this one for everything about the audit trail
├── ProofError                 what was shown does not prove what it claims
│   ├── MalformedProofError    it is not written as its specification demands
│   ├── SignatureError         a signature is wrong, or the one that is needed is missing
│   └── QuorumError            too few witnesses have signed
├── TileError                  a stored tile or entry bundle is missing, too short or no tile at all
├── WitnessError               a witness refused, or answered with something else than a cosignature
└── KeyFileError               a key file can't be made, can't be read, or isn't safe to use
```

Messages tell what failed and where; no key material and no entry stands in them.
"""

from __future__ import annotations

from asgi_infra.errors import AuditError


class ProofError(AuditError):
    """Raised when what was shown does not prove what it claims."""


class MalformedProofError(ProofError):
    """Raised when a note, checkpoint, proof or key is not written as its specification demands."""


class SignatureError(ProofError):
    """Raised when a signature of a known key is wrong, or no signature of the key that is needed is there."""


class QuorumError(ProofError):
    """Raised when fewer witnesses have signed than the quorum demands."""


class TileError(AuditError):
    """Raised when a tile or an entry bundle is missing, too short, or not one."""


class WitnessError(AuditError):
    """Raised when a witness refused a checkpoint, or answered with something else than a cosignature.

    Attributes:
        status: The HTTP status of the answer.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return _witness_error, (self.args[0], self.status)


def _witness_error(message: str, status: int) -> WitnessError:
    return WitnessError(message, status=status)


class KeyFileError(AuditError):
    """Raised when a key file can't be made or read, is open to other users, or holds another key than expected."""
