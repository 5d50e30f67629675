"""From the stream to the log, each entry once: what the log has taken leaves the stream, and nothing else does.

A crash between the two brings the same entries again; the log knows their ids. The order of the stream becomes the
order of the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from anyio import CancelScope, create_task_group, current_time, sleep

from asgi_infra import faults
from asgi_infra.audit.contract import AuditLogger
from asgi_infra.audit.errors import (
    AuditClosedError,
    AuditIntegrityError,
    AuditStoreError,
    AuditUnavailableError,
)
from asgi_infra.audit.opening import open_audit_logger
from asgi_infra.audit.stream.contract import AuditLeaseLostError
from asgi_infra.audit.stream.frames import from_frame
from asgi_infra.audit.stream.logger import StreamAuditLogger
from asgi_infra.errors import ConfigurationError
from asgi_infra.ids import uuid7
from asgi_infra.options import require_integer, require_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.record import Record
    from asgi_infra.audit.stream.contract import Message

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_LOOK: Final = 0.1
_FINAL: Final = (AuditIntegrityError, AuditClosedError, AuditLeaseLostError)


class Relay:
    """Takes entries from a stream to a log, as the only one that does so at a time.

    Any number of relays may run; one has the lease, the others stand by. If the one with the lease dies, another takes
    over after `lease` seconds; one that can't renew its lease stops before it runs out.

    Messages that are no entries are set aside and counted. An entry is never skipped: while the log does not take it,
    the relay tries again, and the stream fills up.

    Args:
        source: The logger that writes to the stream.
        target: The log. It must not spill: a spilled entry is not in the log yet. Both stay yours to close.
        batch: Entries that are given to the log at once, at most.
        lease: Seconds after which another relay may take over from one that is silent.
        wait: Seconds that one request waits for new entries; `stop` takes as long at most.
        owner: What others see of who has the lease; default a new id.

    Raises:
        ConfigurationError: A parameter is wrong.

    Example:
        >>> relay = Relay(open_audit_logger("nats://localhost/audit"), open_audit_logger("postgresql:///audit"))
        >>> await relay.run()
    """

    def __init__(
        self,
        source: StreamAuditLogger,
        target: AuditLogger,
        *,
        batch: int = 512,
        lease: float = 15.0,
        wait: float = 0.5,
        owner: str | None = None,
    ) -> None:
        if not isinstance(source, StreamAuditLogger):
            raise ConfigurationError(f"source must be a logger that writes to a stream, not {type(source).__name__}")
        if not isinstance(target, AuditLogger) or isinstance(target, StreamAuditLogger):
            raise ConfigurationError(
                f"target must be an AuditLogger that keeps entries itself, not {type(target).__name__}"
            )
        if target._spilling is not None:
            raise ConfigurationError("target must have on_failure='raise': what it spills is not in the log yet")
        require_integer("batch", batch, minimum=1)
        require_seconds("lease", lease)
        require_seconds("wait", wait)
        if lease < 1:
            raise ConfigurationError(f"lease must be at least 1 second, not {lease}")
        self._source, self._target = source, target
        self._call, self._stream = source._calls.call, source.stream
        self._batch, self._lease, self._wait = batch, float(lease), float(wait)
        self._owner = owner or uuid7()
        self._stopping = self._leading = False
        names = ("relayed", "batches", "conflicts", "rejected", "failures", "leases", "leases_lost")
        self._counts = dict.fromkeys(names, 0)

    def stop(self) -> None:
        """Let `run` return once the batch that it is at has left the stream. Callable from anywhere, also twice."""
        self._stopping = True

    async def run(self) -> None:
        """Relay whenever this one has the lease, until `stop` is called.

        Raises:
            AuditIntegrityError: The log must not be written to, or the stream has become unsafe.
            AuditClosedError: The source or the target has been closed.
            AuditError: Another failure that does not pass by itself.
        """
        pause = _FIRST_PAUSE
        while not self._stopping:
            try:
                token = await self._take_lease()
                if token is None:
                    await self._sleep(self._lease / 5)
                    continue
                await self._lead(token[0], token[1])
                pause = _FIRST_PAUSE
            except AuditLeaseLostError as exc:
                self._failed(exc)
            except AuditStoreError as exc:
                if not exc.retryable:
                    raise
                self._failed(exc)
                await self._sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def drain(self) -> int:
        """Relay what is in the stream now, until nothing is left, and return how many entries the log was given.

        Raises:
            AuditLeaseLostError: Another relay has the lease, or has taken it.
            AuditError: The stream or the log failed; nothing was lost.
        """
        before = self._counts["relayed"]
        token = await self._take_lease()
        if token is None:
            raise AuditLeaseLostError("another relay has the lease")
        if await self._lead(token[0], token[1], until_empty=True):
            raise AuditLeaseLostError("the lease ran out before everything was relayed")
        return self._counts["relayed"] - before

    async def stats(self) -> dict[str, int]:
        """Return counters.

        `relayed` entries and `batches`; `conflicts`, entries whose id the log had with another content (the first one
        stays); `rejected` messages that were no entries; `failures` of stream or log that were tried again; `leases`
        and `leases_lost`; `leading`, 1 if this relay has the lease; `lag`, messages that wait in the stream.
        """
        lag = await self._call(self._stream.waiting)
        return {**self._counts, "leading": int(self._leading), "lag": lag}

    async def _take_lease(self) -> tuple[int, float] | None:
        """Return the token, and when the lease ends at the earliest, by the clock of the event loop."""
        until = current_time() + self._lease
        token = await self._call(self._stream.acquire, self._owner, self._lease)
        return None if token is None else (token, until)

    async def _lead(self, token: int, until: float, *, until_empty: bool = False) -> bool:
        """Relay as long as the lease lasts, and return whether it was lost."""
        self._counts["leases"] += 1
        failure: Exception | None = None
        scope = CancelScope(deadline=until)
        async with create_task_group() as group:
            group.start_soon(self._keep_lease, token, scope)
            self._leading = True
            try:
                with scope:
                    await self._relay(token, until_empty=until_empty)
            except Exception as exc:  # noqa: BLE001 - raised below: here the group would wrap it
                failure = exc
            finally:
                self._leading = False
                group.cancel_scope.cancel()
        lost = scope.cancelled_caught or isinstance(failure, AuditLeaseLostError)
        self._counts["leases_lost"] += lost
        if not lost:
            await self._release(token)
        if failure is not None:
            raise failure
        return lost

    async def _keep_lease(self, token: int, work: CancelScope) -> None:
        """Renew the lease; what is in `work` ends at its deadline by itself if that does not succeed."""
        while True:
            await sleep(self._lease / 4)
            until = current_time() + self._lease
            try:
                await self._call(self._stream.renew, token, self._lease)
            except AuditLeaseLostError:
                work.cancel()
                return
            except AuditStoreError as exc:
                self._failed(exc)
            else:
                work.deadline = until

    async def _release(self, token: int) -> None:
        try:
            await self._call(self._stream.release, token)
        except AuditStoreError as exc:  # it runs out by itself
            self._failed(exc)

    async def _relay(self, token: int, *, until_empty: bool) -> None:
        after: str | None = None
        pause = _FIRST_PAUSE
        while not self._stopping:
            try:
                messages, records, strange = await self._call(self._fetch, after, 0.0 if until_empty else self._wait)
                if messages:
                    await self._hand_over(token, messages, records, strange)
                    after = messages[-1].position
                elif until_empty:
                    return
                pause = _FIRST_PAUSE
            except _FINAL:
                raise
            except AuditStoreError as exc:
                if until_empty or not exc.retryable:
                    raise
                self._failed(exc)
                await self._sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _fetch(self, after: str | None, wait: float) -> tuple[list[Message], list[Record], list[tuple[Message, str]]]:
        messages = self._stream.fetch(after, self._batch, wait)
        records: list[Record] = []
        strange: list[tuple[Message, str]] = []
        for message in messages:
            try:
                records.append(from_frame(message.data))
            except AuditIntegrityError as exc:
                strange.append((message, str(exc)))
        return messages, records, strange

    async def _hand_over(
        self, token: int, messages: list[Message], records: list[Record], strange: list[tuple[Message, str]]
    ) -> None:
        conflicts = 0
        if records:
            receipts = await self._target._log(records)
            if any(receipt.spilled for receipt in receipts):
                raise AuditUnavailableError("the log has not taken the entries yet")
            conflicts = sum(
                receipt.leaf_hash != record.leaf_hash for receipt, record in zip(receipts, records, strict=True)
            )
        for message, reason in strange:
            await self._call(self._stream.set_aside, message, reason)
            faults.record("audit.relay", AuditIntegrityError(reason), consequence="the message is set aside")
        await self._call(self._stream.settle, token, messages[-1].position)
        self._counts["relayed"] += len(records)
        self._counts["batches"] += 1
        self._counts["conflicts"] += conflicts
        self._counts["rejected"] += len(strange)

    def _failed(self, exc: AuditStoreError) -> None:
        self._counts["failures"] += 1
        faults.record("audit.relay", exc, consequence="the relay tries again")

    async def _sleep(self, seconds: float) -> None:
        until = current_time() + seconds
        while not self._stopping and (left := until - current_time()) > 0:  # noqa: ASYNC110 - stopped from any thread
            await sleep(min(left, _LOOK))


async def run_relay(
    source: str,
    target: str,
    *,
    once: bool = False,
    ready: Callable[[Relay], object] | None = None,
    **options: Any,
) -> dict[str, int]:
    """Relay from the stream of one URL to the log of another, and return the counters at the end.

    Args:
        source: The stream, for example `nats://localhost/audit`.
        target: The log, for example `postgresql:///audit`.
        once: Whether to end when the stream is empty.
        ready: Called with the `Relay` before it begins, for example to have `stop` called by a signal.
        **options: As `Relay` takes them.

    Raises:
        ConfigurationError: A URL or an option is wrong.
        AuditError: A failure that does not pass by itself; with `once` any.
    """
    stream = open_audit_logger(source)
    if not isinstance(stream, StreamAuditLogger):
        raise ConfigurationError("source must be the URL of a stream: nats://, valkey:// or redis://")
    async with open_audit_logger(target) as log, stream:
        relay = Relay(stream, log, **options)
        if ready is not None:
            ready(relay)
        await (relay.drain() if once else relay.run())
        return await relay.stats()
