"""Whether a private part is what its leaf commits to; quick enough for a whole log."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from asgi_infra.audit.proofs.commitments import SALT_SIZE

if TYPE_CHECKING:
    from asgi_infra.audit.backends.file.frames import Frame


class _Leaf(msgspec.Struct, gc=False):
    committed: dict[str, bytes] = {}  # base64 in JSON


class _Opening(msgspec.Struct, array_like=True, gc=False):
    salt: str
    value: msgspec.Raw


_committed = msgspec.json.Decoder(_Leaf).decode
_private = msgspec.json.Decoder(dict[str, _Opening]).decode


def private_problem(frame: Frame) -> str | None:
    """Return what is wrong between leaf and private part of an entry, or `None`. It must not be one that was erased."""
    if frame.end == frame.erasable and b'"committed"' not in frame.leaf:
        return None
    try:
        committed = _committed(frame.leaf).committed
        if frame.end == frame.erasable:
            return "the private part is missing" if committed else None
        private = _private(frame.private or b"{}")
        if committed.keys() != private.keys():
            return "the private part has other fields than the leaf commits to"
        for name, opening in private.items():
            salt = bytes.fromhex(opening.salt)
            if len(salt) != SALT_SIZE or sha256(salt + opening.value).digest() != committed[name]:
                return "a private field is not what the leaf commits to"
    except ValueError:
        return "the private part is unreadable"
    return None
