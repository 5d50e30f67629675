"""Commitments to private values: the tree keeps the commitment, and the value can be erased.

`base64(SHA-256(salt || value))`, with 32 random bytes of salt. While salt and value are kept, anyone who is shown them
can check that they are what was recorded. When both are erased, nothing can be learned from the commitment, not even by
trying out all values there may be, and every proof stays valid.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from asgi_infra.audit.proofs.encoding import encode_base64
from asgi_infra.audit.proofs.errors import ProofError
from asgi_infra.errors import ConfigurationError

SALT_SIZE: Final = 32
"""Bytes of a salt."""


def new_salt() -> bytes:
    """Return a new salt. Use one for each value: two equal values under one salt look equal."""
    return secrets.token_bytes(SALT_SIZE)


def commit(value: bytes, salt: bytes) -> str:
    """Return the commitment to a value.

    Args:
        value: Its bytes, in one fixed form.
        salt: From `new_salt`; store it with the value, and erase it with it.

    Raises:
        ConfigurationError: The salt is not 32 bytes long.

    Example:
        >>> commit(b"203.0.113.7", bytes(32))
        'Zy4+/+cZcvvP3aW0IxnJwmWKFzM+gcleX8XQKKDBXqI='
    """
    if len(salt) != SALT_SIZE:
        raise ConfigurationError(f"salt must be {SALT_SIZE} bytes, not {len(salt)}")
    return encode_base64(sha256(salt + value).digest())


def verify_commitment(commitment: str, value: bytes, salt: bytes) -> None:
    """Check that a value is the one that was committed to.

    Raises:
        ProofError: It is another, or the salt or the commitment is.
    """
    if len(salt) != SALT_SIZE or not compare_digest(commit(value, salt).encode(), commitment.encode(errors="replace")):
        raise ProofError("the value is not the one that was committed to")
