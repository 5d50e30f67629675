"""Attempts that were never completed: the process was killed, or the log failed at the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from asgi_infra.audit.contract import AuditLogger
from asgi_infra.audit.entry import AuditEntry
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.audit_entries import ATTEMPT, ATTEMPT_ID, COMPLETED_ID
from asgi_infra.options import shown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from asgi_infra.audit.record import LoggedEntry

UNKNOWN = "unknown"
"""The result of the entry that closes an orphan: nobody knows how it ended."""

_PAGE = 1_000
_OLDER_THAN = timedelta(minutes=15)


async def orphans(
    logger: AuditLogger,
    *,
    older_than: timedelta = _OLDER_THAN,
    since: datetime | None = None,
    clock: Callable[[], datetime] | None = None,
) -> AsyncGenerator[LoggedEntry, None]:
    """Yield the attempts of the audit middleware that have no completed entry, the oldest first.

    Args:
        logger: The audit log.
        older_than: Younger attempts may be under way still; must be longer than any request may take.
        since: Attempts from before this time are left out; aware.
        clock: Gives the time now, aware.

    Raises:
        ConfigurationError: A parameter is wrong.
        AuditError: The store can't be read, or the read can't be recorded.

    Example:
        >>> async for attempt in orphans(logger, older_than=timedelta(hours=1)):
        ...     print(attempt.seq, attempt.entry.action, attempt.entry.user_id)
    """
    if not isinstance(logger, AuditLogger):
        raise ConfigurationError(f"logger must be an AuditLogger, not {shown(logger)}")
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        raise ConfigurationError(f"older_than must be a timedelta that isn't negative, not {shown(older_than)}")
    now = datetime.now(UTC) if clock is None else clock()
    wanted = AuditFilter(result=ATTEMPT, since=since, until=now - older_than)
    after = None
    while True:
        page = await logger.query(wanted, limit=_PAGE, after=after)
        attempts = [found for found in page if found.entry.id.endswith(ATTEMPT_ID)]
        for attempt in await _without_end(logger, attempts):
            yield attempt
        after = page.next
        if after is None:
            return


async def close_orphans(
    logger: AuditLogger,
    *,
    older_than: timedelta = _OLDER_THAN,
    since: datetime | None = None,
    clock: Callable[[], datetime] | None = None,
) -> int:
    """Log a completed entry with the result `"unknown"` for each orphan, and return how many there were.

    The id of that entry is the one that the true entry would have had: closing twice, or by several processes at once,
    closes once, and a request that ends after all has no second end.

    Args:
        logger: The audit log.
        older_than: As for `orphans`, like all others.
        since: Attempts from before this time are left out.
        clock: Gives the time now, aware.

    Raises:
        ConfigurationError: A parameter is wrong.
        AuditError: The store failed; some orphans may have been closed. Call it again.

    Example:
        >>> closed = await close_orphans(logger, older_than=timedelta(hours=1))
    """
    closed = 0
    async for attempt in orphans(logger, older_than=older_than, since=since, clock=clock):
        entry = attempt.entry
        await logger.log(
            AuditEntry(
                id=_end_of(entry),
                timestamp=datetime.now(UTC) if clock is None else clock(),
                action=entry.action,
                resource_type=entry.resource_type,
                resource_id=entry.resource_id,
                result=UNKNOWN,
                user_id=entry.user_id,
                request_id=entry.request_id,
                trace_id=entry.trace_id,
                tenant=entry.tenant,
                details={"attempt": attempt.seq, "reason": "the attempt was never completed"},
            )
        )
        closed += 1
    return closed


async def _without_end(logger: AuditLogger, attempts: Sequence[LoggedEntry]) -> list[LoggedEntry]:
    if not attempts:
        return []
    find = logger._store.find  # not `logger.get`, which would log each look as a read of its own
    ends = await logger._calls.call(lambda: [find(_end_of(attempt.entry)) for attempt in attempts])
    return [attempt for attempt, end in zip(attempts, ends, strict=True) if end is None]


def _end_of(entry: AuditEntry) -> str:
    return entry.id.removesuffix(ATTEMPT_ID) + COMPLETED_ID
