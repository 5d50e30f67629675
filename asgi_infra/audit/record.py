"""What is stored of an entry: a leaf of the tree, and apart from it what may be erased.

The leaf is canonical JSON. Of each private field it holds a salted commitment only:

```text
commitment = SHA-256(salt || canonical(value))      a salt of 32 random bytes for each field of each entry
leaf       = {"action": ..., "committed": {"details": base64(commitment), ...}, "id": ..., "schema_version": 1, ...}
private    = {"details": [hexadecimal(salt), value], ...}
```

Deleting the private part deletes the data: nobody can find the value by trying, and every proof stays as it was. Fields
that are not set are left out of both. The number of an entry is its place in the tree, so it isn't in the leaf.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections import deque
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Raw, Struct

from asgi_infra.audit.encoding import decode, encode, fit
from asgi_infra.audit.entry import FIELDS, AuditEntry
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.mending import utc_text
from asgi_infra.audit.proofs.commitments import SALT_SIZE, verify_commitment
from asgi_infra.audit.proofs.errors import ProofError
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

SCHEMA_VERSION: Final = 1
ALWAYS_PRIVATE: Final = frozenset({"details", "ip_address", "user_agent"})
MAY_BE_PRIVATE: Final = ALWAYS_PRIVATE | {"user_id"}
MAX_ENTRY_BYTES: Final = 65_535
"""What an entry bundle of C2SP tlog-tiles can hold of one entry."""

_BLOCK: Final = 1_024

_salts: deque[bytes] = deque()
_forks_are_safe = False


class Receipt(NamedTuple):
    """The proof of payment: the entry is durable.

    Attributes:
        seq: The number of the entry: its place in the tree, from 0. -1 if it waits in the spill file for its number.
        leaf_hash: The hash of its leaf (RFC 6962), which every later checkpoint covers.
    """

    seq: int
    leaf_hash: bytes

    @property
    def spilled(self) -> bool:
        """Whether the entry is in the spill file: durable, but not in the log yet."""
        return self.seq < 0


class Record(NamedTuple):
    """One entry on its way to a store.

    Attributes:
        entry: What the index is made of; the store keeps nothing else of it.
        leaf: The bytes that the tree covers.
        private: The bytes that can be erased, or `None`.
        leaf_hash: The hash of the leaf.
    """

    entry: AuditEntry
    leaf: bytes
    private: bytes | None
    leaf_hash: bytes

    @property
    def size(self) -> int:
        """Bytes of the leaf and the private part."""
        return len(self.leaf) if self.private is None else len(self.leaf) + len(self.private)


class Stored(NamedTuple):
    """One entry as a store hands it out: its number and the two byte strings, as they were handed in."""

    seq: int
    leaf: bytes
    private: bytes | None


class LoggedEntry(NamedTuple):
    """One entry as it is read from a log.

    Attributes:
        seq: The number of the entry.
        leaf_hash: The hash of its leaf.
        entry: The entry; of an erased one, the private fields are `None`.
        erased: Whether it had private fields that were erased.
    """

    seq: int
    leaf_hash: bytes
    entry: AuditEntry
    erased: bool

    @property
    def receipt(self) -> Receipt:
        """What `log` returned for this entry."""
        return Receipt(self.seq, self.leaf_hash)


class _Leaf(Struct, omit_defaults=True, gc=False):
    action: str | None = None
    committed: dict[str, str] | None = None
    id: str | None = None
    request_id: str | None = None
    resource_id: str | None = None
    resource_type: str | None = None
    result: str | None = None
    schema_version: int | None = None
    tenant: str | None = None
    timestamp: datetime | str | None = None
    trace_id: str | None = None
    user_id: str | None = None


class Sealer:
    """Makes records of entries.

    Args:
        private_fields: Which fields may be erased, besides `details`, `ip_address` and `user_agent`: `"user_id"` or
            none.
        max_entry_bytes: Of the leaf and the private part together; the details of a larger entry are cut.

    Raises:
        ConfigurationError: A parameter is wrong.
    """

    def __init__(self, private_fields: Iterable[str] = (), max_entry_bytes: int = MAX_ENTRY_BYTES) -> None:
        chosen = ALWAYS_PRIVATE.union([private_fields] if isinstance(private_fields, str) else private_fields)
        if unknown := chosen - MAY_BE_PRIVATE:
            raise ConfigurationError(f"private_fields must be of {sorted(MAY_BE_PRIVATE)}, not {sorted(unknown)}")
        if isinstance(max_entry_bytes, bool) or not isinstance(max_entry_bytes, int):
            raise ConfigurationError(f"max_entry_bytes must be an int, not {type(max_entry_bytes).__name__}")
        if not 16_384 <= max_entry_bytes <= MAX_ENTRY_BYTES:
            raise ConfigurationError(f"max_entry_bytes must be from 16384 to {MAX_ENTRY_BYTES}, not {max_entry_bytes}")
        self._max_bytes = max_entry_bytes
        self.private_fields = chosen
        self._private = tuple(name for name in FIELDS if name in chosen)
        self._private_values = attrgetter(*self._private)
        self._user_is_private = "user_id" in chosen

    def seal(self, entry: AuditEntry) -> Record:
        """Return the record of an entry. Every call takes new salts."""
        committed: dict[str, str] = {}
        private: dict[str, tuple[str, Raw]] = {}
        for name, value in zip(self._private, self._private_values(entry), strict=True):
            if value is not None:
                salt, data = _salt(), encode(value)
                committed[name] = b2a_base64(sha256(salt + data).digest(), newline=False).decode()
                private[name] = (salt.hex(), Raw(data))
        timestamp = entry.timestamp
        leaf = _Leaf(
            entry.action,
            committed or None,
            entry.id,
            entry.request_id,
            entry.resource_id,
            entry.resource_type,
            entry.result,
            SCHEMA_VERSION,
            entry.tenant,
            timestamp if timestamp.microsecond else utc_text(timestamp),  # always six digits
            entry.trace_id,
            None if self._user_is_private else entry.user_id,
        )
        leaf_bytes, private_bytes = encode(leaf), encode(private) if private else None
        excess = len(leaf_bytes) + len(private_bytes or b"") - self._max_bytes
        if excess > 0:
            return self.seal(self._cut(entry, excess))
        return Record(entry, leaf_bytes, private_bytes, sha256(b"\x00" + leaf_bytes).digest())

    def _cut(self, entry: AuditEntry, excess: int) -> AuditEntry:
        details = dict(entry.details or {})
        smaller = fit(details, max(len(encode(details)) - excess, 256))
        return AuditEntry.from_dict({**entry.to_dict(), "details": smaller})


def unseal(stored: Stored) -> LoggedEntry:
    """Return the entry that was stored.

    Raises:
        AuditIntegrityError: These are not the bytes of an entry.
    """
    try:
        fields: dict[str, Any] = decode(stored.leaf)
        version = fields.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise AuditIntegrityError(
                f"entry {stored.seq} has schema version {version!r}, which this version can't read"
            )
        committed = fields.pop("committed", {})
        if stored.private is not None:
            private = decode(stored.private)
            fields.update((name, private[name][1]) for name in committed)
        entry = AuditEntry.from_dict(fields)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as exc:
        raise AuditIntegrityError(f"the bytes stored for entry {stored.seq} are not those of an entry") from exc
    erased = bool(committed) and stored.private is None
    return LoggedEntry(stored.seq, sha256(b"\x00" + stored.leaf).digest(), entry, erased)


def private_fault(stored: Stored) -> str | None:
    """Return what is wrong between the leaf and the private part, or `None`; an erased private part is right."""
    if stored.private is None:
        return None
    try:
        committed: Mapping[str, str] = decode(stored.leaf).get("committed", {})
        private: Mapping[str, list[Any]] = decode(stored.private)
        if committed.keys() != private.keys():
            return "the private part has other fields than the leaf commits to"
        for name, (salt, value) in private.items():
            verify_commitment(committed[name], encode(value), bytes.fromhex(salt))
    except ProofError:
        return "a private field is not what the leaf commits to"
    except (ValueError, TypeError, AttributeError):
        return "the private part is unreadable"
    return None


def _salt() -> bytes:
    try:
        return _salts.popleft()
    except IndexError:
        return _more_salts()


def _more_salts() -> bytes:
    """Fetch many at once: a system call for each would cost more than all hashes of an entry."""
    global _forks_are_safe
    if not _forks_are_safe:
        if hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=_salts.clear)
        _forks_are_safe = True
    data = os.urandom(_BLOCK * SALT_SIZE)
    _salts.extend(data[at : at + SALT_SIZE] for at in range(SALT_SIZE, len(data), SALT_SIZE))
    return data[:SALT_SIZE]
