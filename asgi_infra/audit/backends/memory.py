"""The audit log in memory: for tests, and for what may end with the process."""

from __future__ import annotations

from collections import deque
from itertools import islice
from secrets import token_bytes
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from asgi_infra.audit.contract import AuditLogger
from asgi_infra.audit.errors import AuditNotFoundError
from asgi_infra.audit.proofs.ed25519 import KEY_SIZE, Ed25519Signer
from asgi_infra.audit.proofs.merkle import CompactRange, node_hash
from asgi_infra.audit.record import Receipt, Record, Stored, unseal
from asgi_infra.audit.store import AuditStore, Head
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from asgi_infra.audit.filter import AuditFilter
    from asgi_infra.audit.proofs.proving import Nodes
    from asgi_infra.audit.proofs.signing import Signer

_CHUNK: Final = 512
_KEY_NAME: Final = "memory.invalid/audit"


class InMemoryAuditLogger(AuditLogger):
    """Keeps the newest entries in memory, in order. Thread-safe, for any number of event loops.

    "Durable" means here: as long as the process lives. Proofs hold for all entries that are still there. Reads are not
    logged unless you ask for it, since in a small log they would push out what they read.

    Args:
        max_entries: How many entries are kept; older ones make room, and `stats()["evicted"]` counts them.
        audit_reads: Whether reads are entries too.
        **options: As `AuditLogger` takes them.

    Raises:
        ConfigurationError: A parameter is wrong.

    Example:
        >>> async with InMemoryAuditLogger(max_entries=1000) as logger:
        ...     await logger.log_action("order.refund", "order", resource_id="o-1")
    """

    def __init__(self, *, max_entries: int = 10_000, audit_reads: bool = False, **options: Any) -> None:
        super().__init__(MemoryStore(max_entries), audit_reads=audit_reads, **options)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a logger for `memory://`.

        Raises:
            ConfigurationError: The URL says more than that, or an option is wrong.
        """
        if url != "memory://":
            raise ConfigurationError("url must be memory:// without anything behind it; options are parameters")
        return cls(**options)

    def _default_signer(self) -> Signer:
        return Ed25519Signer(_KEY_NAME, token_bytes(KEY_SIZE))


class MemoryStore(AuditStore):
    """The newest entries, and the nodes of the tree that their proofs need."""

    blocking: ClassVar[bool] = False

    def __init__(self, max_entries: int) -> None:
        require_integer("max_entries", max_entries, minimum=1)
        self._max_entries = max_entries
        self._lock = Lock()
        self._records: deque[Record] = deque()
        self._first = 0
        self._tree = CompactRange()
        self._levels: list[_Row] = [_Row()]
        self._seqs: dict[str, int] = {}
        self._checkpoint: tuple[int, bytes] | None = None
        self._evicted = 0

    def append(self, records: Sequence[Record]) -> list[Receipt]:
        with self._lock:
            receipts = [self._add(record) for record in records]
            excess = len(self._records) - self._max_entries
            if excess > 0:
                self._drop(excess)
                self._evicted += excess
            return receipts

    def head(self) -> Head:
        with self._lock:
            return Head(self._first, self._tree.copy())

    def select(
        self, wanted: AuditFilter, start: int, stop: int, limit: int, *, newest_first: bool = False
    ) -> list[Stored]:
        found = (
            Stored(seq, record.leaf, record.private)
            for seq, record in self._range(start, stop, newest_first=newest_first)
            if wanted.matches(record.entry)
        )
        return list(islice(found, limit))

    def count(self, wanted: AuditFilter, start: int, stop: int) -> int:
        return sum(wanted.matches(record.entry) for _, record in self._range(start, stop))

    def find(self, entry_id: str) -> int | None:
        with self._lock:
            return self._seqs.get(entry_id)

    def nodes(self, size: int) -> Nodes:
        return self._node

    def erase(self, seqs: Iterable[int]) -> int:
        erased = 0
        with self._lock:
            for seq in seqs:
                at = seq - self._first
                if 0 <= at < len(self._records) and self._records[at].private is not None:
                    record = self._records[at]
                    entry = unseal(Stored(seq, record.leaf, None)).entry
                    self._records[at] = Record(entry, record.leaf, None, record.leaf_hash)
                    erased += 1
        return erased

    def prune(self, before: int) -> int:
        with self._lock:
            self._drop(min(max(before - self._first, 0), len(self._records)))
            return self._first

    def load_checkpoint(self) -> bytes | None:
        with self._lock:
            return None if self._checkpoint is None else self._checkpoint[1]

    def save_checkpoint(self, note: bytes, size: int) -> None:
        with self._lock:
            if self._checkpoint is None or self._checkpoint[0] <= size:
                self._checkpoint = (size, note)

    def stats(self) -> dict[str, int]:
        with self._lock:
            return {"entries": len(self._records), "evicted": self._evicted}

    def _node(self, level: int, index: int, /) -> bytes:
        with self._lock:
            found = self._levels[level].get(index) if level < len(self._levels) else None
        if found is None:
            raise AuditNotFoundError(f"the log does not hold the hash of node {index} at level {level}")
        return found

    def _range(self, start: int, stop: int, *, newest_first: bool = False) -> Iterator[tuple[int, Record]]:
        """Yield what is there, a chunk at a time: matching goes on without the lock."""
        while start < stop:
            with self._lock:
                stop = max(min(stop, self._first + len(self._records)), self._first)
                start = min(max(start, self._first), stop)
                low, high = (max(stop - _CHUNK, start), stop) if newest_first else (start, min(start + _CHUNK, stop))
                at = low - self._first
                numbered = list(enumerate(islice(self._records, at, at + max(high - low, 0)), low))
            yield from reversed(numbered) if newest_first else numbered
            start, stop = (start, low) if newest_first else (high, stop)

    def _add(self, record: Record) -> Receipt:
        known = self._seqs.get(record.entry.id)
        if known is not None:
            return Receipt(known, self._records[known - self._first].leaf_hash)
        seq = self._tree.size
        self._tree.append(record.leaf_hash)
        self._records.append(record)
        self._seqs[record.entry.id] = seq
        value, level = record.leaf_hash, 0
        self._levels[0].append(value)
        while seq >> level & 1:
            value = node_hash(self._levels[level].last_but_one(), value)
            level += 1
            if level == len(self._levels):
                self._levels.append(_Row())
            self._levels[level].append(value)
        return Receipt(seq, record.leaf_hash)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._seqs.pop(self._records.popleft().entry.id, None)
        self._first += count
        for level, row in enumerate(self._levels):
            # The left sibling of the path of the oldest entry: proofs and the edge of what is gone need it.
            row.drop_before((self._first >> level) - 1)


class _Row:
    """The hashes of one level, without the oldest ones."""

    __slots__ = ("_first", "_hashes")

    def __init__(self) -> None:
        self._first = 0
        self._hashes: deque[bytes] = deque()

    def append(self, value: bytes) -> None:
        self._hashes.append(value)

    def get(self, index: int) -> bytes | None:
        at = index - self._first
        return self._hashes[at] if 0 <= at < len(self._hashes) else None

    def last_but_one(self) -> bytes:
        return self._hashes[-2]

    def drop_before(self, index: int) -> None:
        while self._first < index and self._hashes:
            self._hashes.popleft()
            self._first += 1
