"""`AuditLogger`: everything that an audit log does, over any store."""

from __future__ import annotations

from typing import Any, Final

from asgi_infra.audit.attesting import AuditProver
from asgi_infra.audit.entry import in_utc
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.reading import CHUNK
from asgi_infra.audit.store import AuditStore
from asgi_infra.errors import ConfigurationError

_MAX_RANGES: Final = 500


class AuditLogger(AuditProver):
    """An audit log: entries go in, become durable, and can be found and proved, but not changed.

    Use one of the backends, or give it a store of your own (see `asgi_infra.audit.store`). One logger serves any number
    of tasks, event loops (asyncio and trio) and threads. Use it with `async with`, or call `aclose` at the end.

    Reading, exporting, erasing and purging are entries themselves: `audit.read`, `audit.export`, `audit.erase` and
    `audit.purge`, of the resource type `audit_log`. What can't be recorded is refused.

    Args:
        store: Where entries are kept. It belongs to the logger.
        redact: What redacts `details` in `log_action`: `True` for `asgi_infra.redaction.Redactor()`, `False` for
            nothing, or a function of your own.
        private_fields: `"user_id"`, if it must be possible to erase it too; `details`, `ip_address` and `user_agent`
            can always be erased.
        max_entry_bytes: What one entry may have, from 16 384 to 65 535 bytes; the details of a larger one are cut, with
            marks that hold size and SHA-256 of what was removed.
        audit_reads: Whether `query`, `count`, `get` and `tail` are entries too.
        on_failure: What happens when the store does not take entries: `"raise"` refuses them, so that what was to be
            recorded is not done; `"spill"` keeps them in the file `spill` and gives them to the store, in order and
            before all others, once it takes them again. Receipts of spilled entries have no number yet.
        spill: The path of that file; each process needs its own.
        max_spill_bytes: What it may hold; beyond that entries are refused.
        max_batch: Entries that are made durable at once, at most.
        max_queue: Entries that wait for the store, at most; further writers wait until there is room.
        max_queue_bytes: Bytes that wait for the store, at most.
        signer: The key that signs checkpoints; some backends make one of their own on first use.
        clock: Gives the time of `log_action`, aware; default now.

    Raises:
        ConfigurationError: A parameter is wrong.

    Example:
        >>> async with AuditLogger(MyStore()) as logger:
        ...     receipt = await logger.log_action("order.refund", "order", resource_id="o-1")
        ...     proof = await logger.inclusion_proof(receipt.seq)
    """

    def __init__(self, store: AuditStore, **options: Any) -> None:
        if not isinstance(store, AuditStore):
            raise ConfigurationError(f"store must be an AuditStore, not {type(store).__name__}")
        super().__init__(store, **options)

    async def erase(self, wanted: AuditFilter, *, reason: str) -> int:
        """Remove the private fields of entries for good, and return how many entries had any.

        Every proof stays valid. An entry `audit.erase` with result `"attempt"` comes first, and one with `"success"` or
        `"failure"` afterwards; both tell the reason and the numbers, but no user.

        Args:
            wanted: Which entries; at least one condition.
            reason: On what authority, for example a ticket's number.

        Raises:
            ConfigurationError: `wanted` has no condition, or `reason` is blank.
            AuditError: The store failed; some entries may have been erased. Call it again.

        Example:
            >>> await logger.erase(AuditFilter(user_id="u-1"), reason="request 2026-17 of the data subject")
        """
        if not isinstance(wanted, AuditFilter) or not wanted.to_dict():
            raise ConfigurationError("wanted must be an AuditFilter with at least one condition")
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigurationError("reason must say on what authority entries are erased; it must not be blank")
        seqs = await self._calls.call(self._seqs, wanted)
        conditions = {name: value for name, value in wanted.to_dict().items() if name != "user_id"}
        details: dict[str, Any] = {"reason": reason, "filter": conditions, "entries": len(seqs), "seqs": _ranges(seqs)}
        await self._log_access("audit.erase", "attempt", details)
        erased = 0
        try:
            for at in range(0, len(seqs), CHUNK):
                erased += await self._calls.call(self._store.erase, seqs[at : at + CHUNK])
        except Exception:
            await self._log_access("audit.erase", "failure", {**details, "erased": erased})
            raise
        await self._log_access("audit.erase", "success", {**details, "erased": erased})
        return erased

    async def purge(self, *, before: Any) -> int:
        """Remove the oldest entries for good, and return how many went. Proofs of the others stay valid.

        What goes is the beginning of the log up to the first entry that is not from before that time: an entry with an
        early time in between stays until its turn comes. A store may keep some more, up to a whole file or partition.

        Args:
            before: The time, aware.

        Raises:
            ConfigurationError: `before` is naive or no `datetime`.
            AuditError: The store failed.
        """
        until = in_utc("before", before)
        first, stop = await self._calls.call(self._purgeable, AuditFilter(since=until))
        details: dict[str, Any] = {"before": until, "first": first, "stop": stop}
        await self._log_access("audit.purge", "attempt", details)
        try:
            kept = await self._calls.call(self._store.prune, stop)
        except Exception:
            await self._log_access("audit.purge", "failure", details)
            raise
        await self._log_access("audit.purge", "success", {**details, "first_kept": kept})
        return kept - first

    async def ping(self) -> None:
        """Do nothing if the store can be reached.

        Raises:
            AuditError: It can't.
        """
        await self._calls.call(self._store.head)

    async def stats(self) -> dict[str, int]:
        """Return counters: entries `logged` and `failed`, `batches`, what waits, what was spilled, the store's own."""
        found = dict(self._counts)
        if self._committer is not None:
            queued, waiting = self._committer.depth()
            found |= {"batches": self._committer.batches, "queued": queued, "waiting": waiting}
            found["waited"] = self._committer.waited
        if self._spilling is not None:
            found |= {"spilled": self._spilling.spilled, "replayed": self._spilling.replayed}
            found["spill_bytes"] = self._spilling.waiting_bytes
        head = await self._calls.call(self._store.head)
        return {**found, "size": head.size, "first": head.first, **await self._calls.call(self._store.stats)}

    def _seqs(self, wanted: AuditFilter) -> list[int]:
        stop = self._store.head().size
        seqs: list[int] = []
        while rows := self._store.select(wanted, seqs[-1] + 1 if seqs else 0, stop, CHUNK):
            seqs += [row.seq for row in rows]
        return seqs

    def _purgeable(self, kept: AuditFilter) -> tuple[int, int]:
        head = self._store.head()
        rows = self._store.select(kept, head.first, head.size, 1)
        return head.first, rows[0].seq if rows else head.size


def _ranges(seqs: list[int]) -> list[str]:
    """Return numbers as ranges, such as `"3-7"`; of very many the first ones."""
    ranges: list[str] = []
    at = 0
    while at < len(seqs) and len(ranges) < _MAX_RANGES:
        end = at
        while end + 1 < len(seqs) and seqs[end + 1] == seqs[end] + 1:
            end += 1
        ranges.append(str(seqs[at]) if end == at else f"{seqs[at]}-{seqs[end]}")
        at = end + 1
    return ranges if at == len(seqs) else [*ranges, f"[{len(seqs) - at} more]"]
