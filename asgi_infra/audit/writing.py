"""Logging: entries become records, and records become durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from opentelemetry import trace

from asgi_infra import context
from asgi_infra.audit.calls import StoreCalls
from asgi_infra.audit.entry import AuditEntry
from asgi_infra.audit.errors import AuditStoreError
from asgi_infra.audit.group import GroupCommitter
from asgi_infra.audit.record import MAX_ENTRY_BYTES, Receipt, Record, Sealer
from asgi_infra.audit.spill import SpillingCommit
from asgi_infra.errors import ConfigurationError
from asgi_infra.ids import uuid7
from asgi_infra.options import require_hook, require_integer, shown

if TYPE_CHECKING:
    from types import TracebackType

    from asgi_infra.audit.store import AuditStore

LOG_RESOURCE: Final = "audit_log"
"""The `resource_type` of the entries about the log itself."""


class AuditWriter:
    """The writing half of `AuditLogger`, which documents the parameters."""

    def __init__(
        self,
        store: AuditStore,
        *,
        redact: Callable[[Any], Any] | bool = True,
        private_fields: Iterable[str] = (),
        max_entry_bytes: int = MAX_ENTRY_BYTES,
        on_failure: Literal["raise", "spill"] = "raise",
        spill: str | Path | None = None,
        max_spill_bytes: int = 64 * 1024 * 1024,
        max_batch: int = 1_024,
        max_queue: int = 10_000,
        max_queue_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        if not isinstance(redact, bool):
            require_hook("redact", redact)
        if clock is not None:
            require_hook("clock", clock)
        for name, value in (("max_batch", max_batch), ("max_queue", max_queue), ("max_queue_bytes", max_queue_bytes)):
            require_integer(name, value, minimum=1)
        if on_failure not in ("raise", "spill"):
            raise ConfigurationError(f"on_failure must be 'raise' or 'spill', not {shown(on_failure)}")
        if (on_failure == "spill") != (spill is not None):
            raise ConfigurationError("spill must be the path of a file if on_failure is 'spill', and only then")
        self._store = store
        self._calls = StoreCalls(store)
        self._sealer = Sealer(private_fields, max_entry_bytes)
        self._redact = redact
        self._clock = clock or _now
        self._max_batch = max_batch
        self._counting = Lock()
        self._counts = {"logged": 0, "failed": 0}
        self._spilling = None if spill is None else SpillingCommit(store.append, Path(spill), max_spill_bytes)
        self._append = store.append if self._spilling is None else self._spilling
        self._committer = (
            GroupCommitter(self._commit, max_batch=max_batch, max_records=max_queue, max_bytes=max_queue_bytes)
            if store.blocking or self._spilling is not None
            else None
        )
        self._log = self._log_here if self._committer is None else self._committer.submit

    async def __aenter__(self) -> Self:
        """Open the store, with its recovery, and give it what an earlier logger has left in the spill file.

        Without `async with` the first call opens the store, and the first entry brings the spilled ones along.
        """
        await self._calls.call(self._store.head)
        if self._spilling is not None:
            await self._log(())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Refuse new entries, make those durable that were accepted, and close the store. Twice is once.

        If it is cancelled meanwhile, what was accepted is still written; call it again to wait for it.
        """
        if self._spilling is not None and self._spilling.waiting_bytes:
            with suppress(AuditStoreError):  # what the store still does not take stays in the file
                await self._log(())
        if self._committer is not None:
            await self._committer.aclose()
        await self._calls.aclose()
        if self._spilling is not None:
            self._spilling.close()

    async def log(self, entry: AuditEntry) -> Receipt:
        """Log one entry as it is. When this returns, it is durable.

        The same `id` twice is one entry, the first one, with one receipt. If this is cancelled, the entry may be
        durable or not: log it again to be sure.

        Raises:
            AuditError: It could not be made durable. `retryable` tells whether to try again.
            ConfigurationError: This is no entry.
        """
        return (await self._log((self._seal(entry),)))[0]

    async def log_many(self, entries: Iterable[AuditEntry]) -> list[Receipt]:
        """Log entries in their order. When this returns, all are durable.

        Raises:
            AuditError: Not all could be made durable: the first ones may be. Log the same entries again: none is stored
                twice.
            ConfigurationError: One is no entry; nothing was logged.
        """
        records = [self._seal(entry) for entry in entries]
        receipts: list[Receipt] = []
        for at in range(0, len(records), self._max_batch):
            receipts += await self._log(records[at : at + self._max_batch])
        return receipts

    async def log_action(
        self,
        action: str,
        resource_type: str,
        *,
        resource_id: str | None = None,
        result: str = "success",
        details: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
        request_id: str | None = None,
        trace_id: str | None = None,
        tenant: str | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
        timestamp: datetime | None = None,
    ) -> Receipt:
        """Log what was done. When this returns, it is durable.

        What is `None` is filled in: a new `id`, the time in UTC, and from the request that is being handled the user,
        the address, the request id and the trace id. Private data in `details` is redacted.

        Args:
            action: What was done, for example `"order.refund"`.
            resource_type: The kind of thing that it was done to.
            resource_id: Which thing.
            result: How it ended.
            details: Whatever else is to be kept, for example `changes(before, after)`.
            user_id: Who did it.
            ip_address: From where.
            user_agent: With what.
            request_id: In which request.
            trace_id: In which trace.
            tenant: On whose behalf.
            id: Yours if you may have to log the same again after a failure.
            timestamp: When it happened, aware.

        Raises:
            AuditError: It could not be made durable: what was to be recorded should not be done.
            ConfigurationError: An argument is wrong; the message names it.

        Example:
            >>> receipt = await logger.log_action("order.refund", "order", resource_id="o-1", details={"total": "9.90"})
        """
        entry = AuditEntry(
            id=uuid7() if id is None else id,
            timestamp=self._clock() if timestamp is None else timestamp,
            action=action,
            resource_type=resource_type,
            result=result,
            user_id=context.get_user_id() if user_id is None else user_id,
            resource_id=resource_id,
            details=self._redacted(details) if isinstance(details, Mapping) else details,
            ip_address=context.get_client_address() if ip_address is None else ip_address,
            user_agent=user_agent,
            request_id=context.get_request_id() if request_id is None else request_id,
            trace_id=_trace_id() if trace_id is None else trace_id,
            tenant=tenant,
        )
        return (await self._log((self._sealer.seal(entry),)))[0]

    async def _log_here(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return self._commit(records)

    def _commit(self, records: Sequence[Record]) -> list[Receipt]:
        try:
            receipts = self._calls.run(partial(self._append, records))
        except BaseException:
            self._add("failed", len(records))
            raise
        self._add("logged", len(records))
        return receipts

    def _seal(self, entry: AuditEntry) -> Record:
        if not isinstance(entry, AuditEntry):
            raise ConfigurationError(f"entry must be an AuditEntry, not {type(entry).__name__}")
        return self._sealer.seal(entry)

    def _redacted(self, details: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._redact is False:
            return details
        if self._redact is True:
            from asgi_infra.redaction import Redactor  # compiles its patterns, on first use

            self._redact = Redactor()
        redacted = self._redact(details)
        return redacted if isinstance(redacted, Mapping) else {"details": redacted}

    def _add(self, name: str, count: int) -> None:
        with self._counting:
            self._counts[name] += count

    async def _log_access(self, action: str, result: str, details: Mapping[str, Any]) -> None:
        """Log what was done with the log itself."""
        await self.log_action(action, LOG_RESOURCE, result=result, details=details)


def _now() -> datetime:
    return datetime.now(UTC)


def _trace_id() -> str | None:
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None
