"""Signatures of notes with Ed25519 (C2SP signed-note, type 0x01; RFC 8032)."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar, Final

from asgi_infra.audit.proofs.encoding import encode_base64
from asgi_infra.audit.proofs.errors import SignatureError
from asgi_infra.audit.proofs.signing import check_key_name, key_id
from asgi_infra.errors import ConfigurationError, MissingExtraError

KEY_SIZE: Final = 32
"""Bytes of a public key, and of the seed of a private one."""

SIGNATURE_SIZE: Final = 64
"""Bytes of a signature."""


class Ed25519Verifier:
    """A public key.

    Args:
        name: Of the key.
        public_key: Its 32 bytes.

    Raises:
        ConfigurationError: The name or the length is wrong.
        MissingExtraError: `cryptography` is not installed.
    """

    signature_type: ClassVar[int] = 0x01

    def __init__(self, name: str, public_key: bytes) -> None:
        self.name = check_key_name(name)
        if len(public_key) != KEY_SIZE:
            raise ConfigurationError(f"public_key must be {KEY_SIZE} bytes, not {len(public_key)}")
        self.public_key = public_key
        self.key_id = key_id(name, self.signature_type, public_key)
        self._key = _library().Ed25519PublicKey.from_public_bytes(public_key)

    @property
    def vkey(self) -> str:
        """The key as text, to give to whoever verifies: `name+identifier+base64`."""
        material = encode_base64(bytes([self.signature_type]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def verify(self, text: bytes, signature: bytes) -> None:
        """Check a signature over the text of a note.

        Raises:
            SignatureError: It is not one of this key over this text.
        """
        self._check(text, signature)

    def _check(self, message: bytes, signature: bytes) -> None:
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, message)
        except InvalidSignature as exc:
            raise SignatureError(f"the signature by {self.name} ({self.key_id.hex()}) is wrong") from exc

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.vkey == self.vkey

    def __hash__(self) -> int:
        return hash(self.vkey)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.vkey!r})"


class Ed25519Signer:
    """A private key. Neither `repr` nor any message shows it, and it can't be pickled.

    Args:
        name: Of the key.
        seed: Its 32 random bytes.

    Raises:
        ConfigurationError: The name or the length is wrong.
        MissingExtraError: `cryptography` is not installed.
    """

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        if len(seed) != KEY_SIZE:
            raise ConfigurationError(f"seed must be {KEY_SIZE} bytes, not {len(seed)}")
        self._key: Any = _library().Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = self._verifier(name, self._key.public_key().public_bytes_raw())

    @staticmethod
    def _verifier(name: str, public_key: bytes) -> Ed25519Verifier:
        return Ed25519Verifier(name, public_key)

    @property
    def name(self) -> str:
        """The key's name."""
        return self.verifier.name

    @property
    def key_id(self) -> bytes:
        """The key's identifier."""
        return self.verifier.key_id

    def sign(self, text: bytes) -> bytes:
        """Return the signature over the text of a note; always the same one for the same text."""
        signature: bytes = self._key.sign(text)
        return signature

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a signing key can't be pickled")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, key_id={self.key_id.hex()!r})"


def _library() -> Any:
    try:
        return import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError as exc:
        raise MissingExtraError("cryptography", purpose="signing and checking notes", extra="audit") from exc
