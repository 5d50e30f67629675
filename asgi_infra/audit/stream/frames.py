"""How a sealed entry travels: the bytes of its leaf, the bytes that can be erased, and a digest.

```text
version (1 byte, 1) | private part follows (1 byte, 0 or 1) | leaf hash (32) | length of the leaf (4) | leaf | private
```
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import Final

from asgi_infra.audit.encoding import decode, encode
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.record import MAX_ENTRY_BYTES, Record, Stored, private_fault, unseal

_VERSION: Final = 1
_HEAD: Final = Struct(">BB32sI")


def to_frame(record: Record) -> bytes:
    """Return the bytes that stand for a record."""
    head = _HEAD.pack(_VERSION, record.private is not None, record.leaf_hash, len(record.leaf))
    return b"".join((head, record.leaf, record.private or b""))


def from_frame(data: bytes) -> Record:
    """Return the record, whose every byte has been checked: producers of other versions and strangers may write, too.

    Raises:
        AuditIntegrityError: These are not the bytes of a record; the message says why, without any of them.
    """
    if len(data) < _HEAD.size:
        raise AuditIntegrityError("it is too short for an entry")
    version, has_private, leaf_hash, length = _HEAD.unpack_from(data)
    if version != _VERSION or has_private > 1:
        raise AuditIntegrityError("it does not begin as an entry does")
    leaf, rest = data[_HEAD.size : _HEAD.size + length], data[_HEAD.size + length :]
    if len(leaf) != length or (rest and not has_private):
        raise AuditIntegrityError("its length is not that of an entry")
    if len(leaf) + len(rest) > MAX_ENTRY_BYTES:
        raise AuditIntegrityError(f"it has more than {MAX_ENTRY_BYTES} bytes")
    if sha256(b"\x00" + leaf).digest() != leaf_hash:
        raise AuditIntegrityError("its leaf has been changed")
    stored = Stored(-1, leaf, rest if has_private else None)
    try:
        if encode(decode(leaf)) != leaf:
            raise AuditIntegrityError("its leaf is not canonical")
        logged = unseal(stored)
        problem = private_fault(stored)
    except (ValueError, TypeError, RecursionError) as exc:
        raise AuditIntegrityError("it holds no entry") from exc
    if problem is not None:
        raise AuditIntegrityError(problem)
    return Record(logged.entry, leaf, stored.private, leaf_hash)


def leaf_hash_of(data: bytes) -> bytes:
    """Return the leaf hash that a frame tells; empty if this is none."""
    return bytes(_HEAD.unpack_from(data)[2]) if len(data) >= _HEAD.size and data[0] == _VERSION else b""
