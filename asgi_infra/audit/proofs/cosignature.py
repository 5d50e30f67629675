"""Cosignatures of witnesses with a time, `cosignature/v1` (C2SP tlog-cosignature, type 0x04).

A witness states with it that, at that time, the largest consistent tree that it has seen of this log was this one. The
signature is the time in eight bytes, then an Ed25519 signature over two lines and the checkpoint's text. Use a key for
cosignatures alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Final

from asgi_infra.audit.proofs.ed25519 import SIGNATURE_SIZE, Ed25519Signer, Ed25519Verifier
from asgi_infra.audit.proofs.errors import MalformedProofError, SignatureError
from asgi_infra.audit.proofs.merkle import MAX_SIZE
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

_TIME_SIZE: Final = 8


class CosignatureVerifier(Ed25519Verifier):
    """The public key of a witness.

    Args:
        name: Of the witness.
        public_key: Its 32 bytes.
    """

    signature_type: ClassVar[int] = 0x04

    def verify(self, text: bytes, signature: bytes) -> None:
        """Check a cosignature over the text of a checkpoint; the time is whatever the witness says.

        Raises:
            SignatureError: It is not one of this key over this text.
        """
        try:
            timestamp = cosigned_at(signature)
        except MalformedProofError as exc:
            raise SignatureError(f"the cosignature by {self.name} ({self.key_id.hex()}) is wrong: {exc}") from exc
        self._check(_message(text, timestamp), signature[_TIME_SIZE:])


class CosignatureSigner(Ed25519Signer):
    """The private key of a witness. It checks nothing: see first that the checkpoint follows from the last one.

    Args:
        name: Of the witness.
        seed: Its 32 random bytes.
        clock: Tells the time in seconds since 1970.
    """

    __slots__ = ("_clock",)

    def __init__(self, name: str, seed: bytes, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(name, seed)
        self._clock = clock

    @staticmethod
    def _verifier(name: str, public_key: bytes) -> CosignatureVerifier:
        return CosignatureVerifier(name, public_key)

    def sign(self, text: bytes) -> bytes:
        """Return the cosignature over the text of a checkpoint, with the time of now.

        Raises:
            ConfigurationError: The clock shows a time before 1970.
        """
        timestamp = int(self._clock())
        if not 0 <= timestamp <= MAX_SIZE:
            raise ConfigurationError(f"clock must show a time since 1970, not {timestamp}")
        return timestamp.to_bytes(_TIME_SIZE, "big") + super().sign(_message(text, timestamp))


def cosigned_at(signature: bytes) -> int:
    """Return when a cosignature says it was made, in seconds since 1970.

    Raises:
        MalformedProofError: It is no cosignature.
    """
    if len(signature) != _TIME_SIZE + SIGNATURE_SIZE:
        raise MalformedProofError(f"a cosignature has {_TIME_SIZE + SIGNATURE_SIZE} bytes, not {len(signature)}")
    timestamp = int.from_bytes(signature[:_TIME_SIZE], "big")
    if timestamp > MAX_SIZE:
        raise MalformedProofError("the time of a cosignature must be below 2**63")
    return timestamp


def _message(text: bytes, timestamp: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%s" % (timestamp, text)
