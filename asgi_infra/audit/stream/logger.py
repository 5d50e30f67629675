"""The logger that writes to a stream, and reads, if at all, from the log that the relay fills."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from asgi_infra.audit.contract import AuditLogger
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.proofs.merkle import leaf_hash
from asgi_infra.audit.record import Receipt
from asgi_infra.audit.store import AuditStore, Head
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from asgi_infra.audit.proofs.proving import Nodes
    from asgi_infra.audit.proofs.signing import Signer
    from asgi_infra.audit.record import Record, Stored
    from asgi_infra.audit.stream.contract import AuditStream

T = TypeVar("T")

_EVERYTHING: Final = AuditFilter()
_NO_READER: Final = (
    "reader must be given to read from or prove with a logger that writes to a stream: the entries' numbers, proofs "
    "and index are in the log that the relay fills; open that log, or give it as reader="
)


class StreamAuditLogger(AuditLogger):
    """Logs into a durable stream; a `Relay` takes the entries from there to a log.

    A receipt's `seq` is -1, as the entry has no number before the relay gave it to the log; its `leaf_hash` is the one
    that the log will have. Everything else that an `AuditLogger` can do is done with the log that is given as `reader`,
    as far as the relay has come.

    Args:
        stream: Where entries wait for the relay. It belongs to the logger.
        reader: The log that the relay fills, opened by its own URL; it stays yours to close.
        **options: As `AuditLogger` takes them.

    Raises:
        ConfigurationError: A parameter is wrong.
    """

    def __init__(self, stream: AuditStream, *, reader: AuditLogger | None = None, **options: Any) -> None:
        if reader is not None and (not isinstance(reader, AuditLogger) or isinstance(reader, StreamAuditLogger)):
            raise ConfigurationError(
                f"reader must be the AuditLogger that the relay writes to, not {type(reader).__name__}"
            )
        super().__init__(StreamStore(stream, reader), **options)
        self.stream = stream
        self._reader = reader

    async def __aenter__(self) -> Self:
        """Open the stream, and give it what an earlier logger has left in the spill file."""
        await self.ping()
        if self._spilling is not None:
            await self._log(())
        return self

    async def ping(self) -> None:
        """Do nothing if the stream can be reached.

        Raises:
            AuditError: It can't.
        """
        await self._calls.call(self.stream.waiting)

    async def stats(self) -> dict[str, int]:
        """Return the counters of `AuditLogger`, and how many entries wait for the relay (`unrelayed`).

        Without `reader` the log's `size` and `first` are not among them.
        """
        unrelayed = {"unrelayed": await self._calls.call(self.stream.waiting)}
        if self._reader is not None:
            return {**await super().stats(), **unrelayed}
        found = {**self._counts, **await self._calls.call(self.stream.stats), **unrelayed}
        if self._committer is not None:
            queued, outside = self._committer.depth()
            found |= {"batches": self._committer.batches, "queued": queued, "waiting": outside}
            found["waited"] = self._committer.waited
        if self._spilling is not None:
            found |= {"spilled": self._spilling.spilled, "replayed": self._spilling.replayed}
            found["spill_bytes"] = self._spilling.waiting_bytes
        return found

    def _default_signer(self) -> Signer:
        if self._reader is None:
            raise ConfigurationError(_NO_READER)
        return self._reader._signer or self._reader._default_signer()


class StreamStore(AuditStore):
    """Appends to a stream, and does all else in the log that the relay fills."""

    def __init__(self, stream: AuditStream, reader: AuditLogger | None) -> None:
        self._stream = stream
        self._reader = reader

    def open(self) -> None:
        self._stream.open()

    def append(self, records: Sequence[Record]) -> list[Receipt]:
        receipts = self._stream.append(records)
        if self._reader is None or all(receipt.leaf_hash for receipt in receipts):
            return receipts
        pairs = zip(records, receipts, strict=True)
        return [receipt if receipt.leaf_hash else self._relayed(record) for record, receipt in pairs]

    def head(self) -> Head:
        return self._read(lambda store: store.head())

    def select(
        self, wanted: AuditFilter, start: int, stop: int, limit: int, *, newest_first: bool = False
    ) -> list[Stored]:
        return self._read(lambda store: store.select(wanted, start, stop, limit, newest_first=newest_first))

    def count(self, wanted: AuditFilter, start: int, stop: int) -> int:
        return self._read(lambda store: store.count(wanted, start, stop))

    def find(self, entry_id: str) -> int | None:
        return self._read(lambda store: store.find(entry_id))

    def nodes(self, size: int) -> Nodes:
        return self._read(lambda store: store.nodes(size))

    def erase(self, seqs: Iterable[int]) -> int:
        return self._read(lambda store: store.erase(seqs))

    def prune(self, before: int) -> int:
        return self._read(lambda store: store.prune(before))

    def load_checkpoint(self) -> bytes | None:
        return self._read(lambda store: store.load_checkpoint())

    def save_checkpoint(self, note: bytes, size: int) -> None:
        self._read(lambda store: store.save_checkpoint(note, size))

    def stats(self) -> dict[str, int]:
        return self._stream.stats()

    def close(self) -> None:
        self._stream.close()

    def _relayed(self, record: Record) -> Receipt:
        """Return the receipt of an entry that the stream knows to have had; the log may have purged it since."""

        def receipts(store: AuditStore) -> list[Receipt]:
            seq = store.find(record.entry.id)
            rows = [] if seq is None else store.select(_EVERYTHING, seq, seq + 1, 1)
            return [Receipt(row.seq, leaf_hash(row.leaf)) for row in rows]

        found = self._read(receipts)
        return found[0] if found else Receipt(-1, b"")

    def _read(self, function: Callable[[AuditStore], T]) -> T:
        if self._reader is None:
            raise ConfigurationError(_NO_READER)
        return self._reader._calls.run(partial(function, self._reader._store))
