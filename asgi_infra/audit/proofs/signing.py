"""What a key of a signed note is, whatever its algorithm (C2SP signed-note).

A key has a name and an identifier of four bytes, and only both together tell which key signed. An algorithm is a class
with the attributes and the method below; pass its verifiers to `open_note` like the ones of this package.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Protocol

from asgi_infra.errors import ConfigurationError

KEY_ID_SIZE: Final = 4
"""Bytes of a key's identifier."""

MAX_NAME: Final = 255
"""The most bytes of a key's name in UTF-8; a cosigned message has room for no more."""


class Verifier(Protocol):
    """A public key that checks signatures of notes."""

    @property
    def name(self) -> str:
        """The key's name, by convention the log's origin: a URL without scheme."""
        ...

    @property
    def public_key(self) -> bytes:
        """The key itself, as its algorithm writes it."""
        ...

    @property
    def key_id(self) -> bytes:
        """The key's identifier, as `key_id` computes it."""
        ...

    def verify(self, text: bytes, signature: bytes) -> None:
        """Check a signature over the text of a note; raises `SignatureError`."""
        ...


class Signer(Protocol):
    """A private key that signs notes."""

    @property
    def name(self) -> str:
        """The key's name."""
        ...

    @property
    def key_id(self) -> bytes:
        """The key's identifier."""
        ...

    def sign(self, text: bytes) -> bytes:
        """Return the signature over the text of a note."""
        ...


def key_id(name: str, signature_type: int, public_key: bytes) -> bytes:
    """Return the identifier of a key: the first four bytes of SHA-256(name, newline, type, public key).

    Example:
        >>> key_id("example.org/log", 1, bytes(32)).hex()
        '70da24f6'
    """
    return sha256(b"%s\n%c%s" % (name.encode(), signature_type, public_key)).digest()[:KEY_ID_SIZE]


def is_key_name(name: str) -> bool:
    """Tell whether `name` may be the name of a key: not empty, no space, no plus sign, no control character."""
    return bool(name) and not any(
        character == "+" or character.isspace() or character < " " or "\ud800" <= character <= "\udfff"
        for character in name
    )


def check_key_name(name: str, parameter: str = "name") -> str:
    """Return the name of a key of one's own.

    Raises:
        ConfigurationError: It is not one, or too long.
    """
    if not is_key_name(name) or len(name.encode()) > MAX_NAME:
        raise ConfigurationError(
            f"{parameter} must be a key name like 'example.org/log' (at most {MAX_NAME} bytes, no spaces, no '+'), "
            f"not {name[:80]!a}"
        )
    return name
