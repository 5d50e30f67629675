"""Public keys as text: `name+identifier+base64(type, public key)` (C2SP signed-note, "vkey")."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.proofs.cosignature import CosignatureVerifier
from asgi_infra.audit.proofs.ed25519 import Ed25519Verifier
from asgi_infra.audit.proofs.encoding import decode_base64, shown
from asgi_infra.audit.proofs.errors import MalformedProofError
from asgi_infra.audit.proofs.signing import is_key_name
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgi_infra.audit.proofs.signing import Verifier

_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")
_MAX_LENGTH: Final = 8192  # characters; room for keys of the size that post-quantum signatures need

SIGNATURE_TYPES: Final[Mapping[int, Callable[[str, bytes], Verifier]]] = MappingProxyType(
    {kind.signature_type: kind for kind in (Ed25519Verifier, CosignatureVerifier)}
)
"""What makes a verifier from name and public key, by the signature type's byte."""


def parse_vkey(text: str, types: Mapping[int, Callable[[str, bytes], Verifier]] = SIGNATURE_TYPES) -> Verifier:
    """Return the verifier that a public key in text form stands for.

    Args:
        text: As `vkey` of a verifier gives it.
        types: The signature types to accept, by their byte; add your own to a copy of `SIGNATURE_TYPES`.

    Raises:
        MalformedProofError: It is no such text, or its identifier isn't that of its key.
        MissingExtraError: `cryptography` is not installed.

    Example:
        >>> parse_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").name
        'PeterNeumann'
    """
    name, identifier, material = split_key(text, "the verifier key")
    signature_type, public_key = material[0], material[1:]
    if signature_type not in types:
        known = ", ".join(f"0x{each:02x}" for each in sorted(types))
        raise MalformedProofError(f"the verifier key has signature type 0x{signature_type:02x}; known are {known}")
    try:
        verifier = types[signature_type](name, public_key)
    except ConfigurationError as exc:
        raise MalformedProofError(f"the verifier key of {shown(name)} can't be used: {exc}") from exc
    if verifier.key_id != identifier:
        raise MalformedProofError(f"the verifier key of {shown(name)} has an identifier that isn't that of its key")
    return verifier


def split_key(text: str, what: str) -> tuple[str, bytes, bytes]:
    """Return name, identifier and type with key of a key in text form; messages show nothing of the key."""
    parts = text.split("+", 2)
    if len(text) > _MAX_LENGTH or len(parts) != 3 or not is_key_name(parts[0]) or not _KEY_ID.fullmatch(parts[1]):
        raise MalformedProofError(f"{what} must have the form name+identifier+base64, the identifier in 8 hex digits")
    material = decode_base64(parts[2], what)
    if not material:
        raise MalformedProofError(f"{what} is empty")
    return parts[0], bytes.fromhex(parts[1]), material
