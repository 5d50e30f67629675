"""Records as rows, and rows as what the store returns."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.audit.encoding import decode
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.proofs.merkle import HASH_SIZE, CompactRange, leaf_hash
from asgi_infra.audit.record import Record, Stored, private_fault, unseal
from asgi_infra.audit.store import Head
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from asgi_infra.audit.backends.sql.database import Row

COLUMNS: Final = ("user_id", "action", "resource_type", "resource_id", "result", "tenant", "request_id")
"""The fields of an entry that have columns of their own, besides `id` and the time."""

_values = attrgetter(*COLUMNS)


def rows_of(
    numbered: Iterable[tuple[int, Record]], columns: Sequence[str], time: Callable[[datetime], Any]
) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the rows of entries, of private parts, and of ids.

    Args:
        numbered: Records with their numbers.
        columns: What an entry's row begins with: `seq`, perhaps `id`, `time`.
        time: Gives a time as the database stores it.
    """
    with_id = "id" in columns
    entries: list[Row] = []
    private: list[Row] = []
    ids: list[Row] = []
    for seq, record in numbered:
        entry = record.entry
        at = time(entry.timestamp)
        if with_id:
            entries.append((seq, entry.id, at, *_values(entry), record.leaf))
            if record.private is not None:
                private.append((seq, record.private))
        else:
            entries.append((seq, at, *_values(entry), record.leaf))
            ids.append((entry.id, seq))
            if record.private is not None:
                private.append((seq, at, record.private))
    return entries, private, ids


def head_of(rows: Sequence[Row]) -> Head:
    """Return where the log stands.

    Raises:
        AuditIntegrityError: That can't be what was stored.
    """
    if len(rows) != 1:
        raise AuditIntegrityError("the row that tells where the log stands is missing")
    size, first, edge = *rows[0][:2], as_bytes(rows[0][2])
    if len(edge) % HASH_SIZE:
        raise AuditIntegrityError("the edge of the tree that the log claims is malformed")
    try:
        tree = CompactRange(size, [edge[at : at + HASH_SIZE] for at in range(0, len(edge), HASH_SIZE)])
    except ConfigurationError as exc:
        raise AuditIntegrityError(f"the edge of the tree that the log claims does not fit {size} entries") from exc
    return Head(first, tree)


def staged_record(position: int, leaf: bytes, private: bytes | None) -> Record:
    """Return the record that was staged.

    Raises:
        AuditIntegrityError: It is not what was staged.
    """
    stored = Stored(position, as_bytes(leaf), None if private is None else as_bytes(private))
    problem = private_fault(stored)
    if problem is not None:
        raise AuditIntegrityError(f"the staged entry at position {position} was changed: {problem}")
    try:
        entry = unseal(stored).entry
    except AuditIntegrityError as exc:
        raise AuditIntegrityError(f"the staged entry at position {position} is unreadable") from exc
    return Record(entry, stored.leaf, stored.private, leaf_hash(stored.leaf))


def as_bytes(value: object) -> bytes:
    """Return what should be bytes, and is a text where somebody has changed it by hand in SQLite."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


def tells_user(leaf: bytes) -> bool:
    """Return whether a leaf tells `user_id` itself, so that erasing leaves it."""
    try:
        return "user_id" in decode(leaf)
    except (ValueError, TypeError):
        return False
