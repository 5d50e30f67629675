"""How bytes and numbers are written in the text formats: one way each, so that no text can be changed unnoticed."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Final

from asgi_infra.audit.proofs.errors import MalformedProofError
from asgi_infra.audit.proofs.merkle import HASH_SIZE, MAX_SIZE

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_SHOWN: Final = 40  # characters of a faulty text in a message


def encode_base64(data: bytes) -> str:
    """Return the Base64 text (RFC 4648, section 4)."""
    return b64encode(data).decode("ascii")


def decode_base64(text: str, what: str) -> bytes:
    """Return the bytes of a Base64 text, in the one form that `encode_base64` makes.

    Raises:
        MalformedProofError: Other characters, no padding, or bits that don't count and aren't zero.
    """
    try:
        data = b64decode(text, validate=True)
    except ValueError as exc:
        raise MalformedProofError(f"{what} is no Base64") from exc
    if encode_base64(data) != text:
        raise MalformedProofError(f"{what} is not in the canonical form of Base64")
    return data


def decode_hash(text: str, what: str) -> bytes:
    """Return the hash that a Base64 text holds."""
    value = decode_base64(text, what)
    if len(value) != HASH_SIZE:
        raise MalformedProofError(f"{what} must be a hash of 32 bytes, not {len(value)}")
    return value


def decode_number(text: str, what: str) -> int:
    """Return a count of leaves, written in ASCII digits without leading zeros, below 2**63."""
    value = int(text) if _DECIMAL.fullmatch(text) else -1
    if not 0 <= value <= MAX_SIZE:
        raise MalformedProofError(f"{what} must be a decimal number below 2**63, not {shown(text)}")
    return value


def shown(text: str) -> str:
    """Return a text as it may stand in a message: quoted, printable and short."""
    return ascii(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!a}..."
