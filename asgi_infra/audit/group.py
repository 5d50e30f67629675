"""Group commit: many writers, one committer, one durable write for all that came meanwhile.

While the store writes one batch, the next one gathers. So a lone writer waits for one write, and a thousand writers for
two, without any timer.
"""

from __future__ import annotations

import copy
from collections import deque
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING

from asgi_infra import forks
from asgi_infra.audit.errors import AuditClosedError, AuditUnavailableError
from asgi_infra.audit.waiting import Promise, keep
from asgi_infra.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_infra.audit.record import Receipt, Record


class _Ticket(Promise):
    __slots__ = ("abandoned", "admitted", "count", "records", "size")

    def __init__(self, records: Sequence[Record]) -> None:
        super().__init__()
        self.records = records
        self.count = len(records)
        self.size = records[0].size if self.count == 1 else sum([record.size for record in records])
        self.admitted = False
        self.abandoned = False


class GroupCommitter:
    """Takes records from tasks of any event loop and any thread, and commits them in order, in a thread of its own.

    What was admitted is committed, even if the task that waits for it is cancelled. Beyond the bounds tasks wait for
    admission, in order; one that is cancelled there has logged nothing.

    Args:
        commit: Makes a batch durable and returns a receipt for each record. Called in one thread, never twice at a
            time.
        max_batch: Records that one call of `commit` gets at most, except for what was submitted together.
        max_records: Records that are queued at most.
        max_bytes: Bytes that are queued at most; a single larger submission is admitted alone.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Record]], Sequence[Receipt]],
        *,
        max_batch: int,
        max_records: int,
        max_bytes: int,
    ) -> None:
        self._commit = commit
        self._max_batch, self._max_records, self._max_bytes = max_batch, max_records, max_bytes
        self._closing = False
        self._beginnings: dict[int, Lock] = {}
        forks.watch()
        self._begin()
        self.batches = 0
        self.waited = 0
        """How many submissions had to wait for admission."""

    def _begin(self) -> None:
        self._changed = Condition()
        self._queue: deque[_Ticket] = deque()
        self._outside: deque[_Ticket] = deque()
        self._records = self._bytes = 0
        self._thread: Thread | None = None
        self._idle = False
        self._ended: list[Promise] = []
        self._fork = forks.forks()

    async def submit(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Return the receipts of records once they are durable.

        Raises:
            AuditClosedError: The committer is closing.
            InfrastructureError: What `commit` raised; other exceptions become `AuditUnavailableError`.
        """
        ticket = _Ticket(records)
        with self._of_this_process():
            if self._closing:
                raise AuditClosedError("the audit logger is closed; it takes no more entries")
            if not self._outside and self._has_room(ticket):
                self._admit(ticket)
            else:
                self.waited += 1
                self._outside.append(ticket)
            if self._thread is None:
                self._start()
            elif self._idle:
                self._idle = False
                self._changed.notify()
        try:
            receipts: Sequence[Receipt] = await ticket.wait()
        except BaseException:
            with self._changed:
                ticket.abandoned = not ticket.admitted  # cancelled while it waited outside
            raise
        return receipts

    def depth(self) -> tuple[int, int]:
        """Return how many records are queued, and how many submissions wait for admission."""
        with self._of_this_process():
            return self._records, len(self._outside)

    async def aclose(self) -> None:
        """Take nothing more, commit what was submitted, and end the thread. Goes on in the thread if cancelled."""
        with self._of_this_process():
            self._closing = True
            if self._thread is None:
                return
            ended = Promise()
            self._ended.append(ended)
            self._changed.notify()
        await ended.wait()

    def _of_this_process(self) -> Condition:
        """Return the lock on everything. After a fork, the child begins anew: its parent commits what it took."""
        if self._fork != (fork := forks.forks()):
            with self._beginnings.setdefault(fork, Lock()):  # one that nobody can have held during the fork
                if self._fork != fork:
                    self._begin()
        return self._changed

    def _start(self) -> None:
        self._thread = Thread(target=self._run, name="asgi_infra-audit", daemon=True)
        self._thread.start()

    def _has_room(self, ticket: _Ticket) -> bool:
        return not self._records or (
            self._records + ticket.count <= self._max_records and self._bytes + ticket.size <= self._max_bytes
        )

    def _admit(self, ticket: _Ticket) -> None:
        ticket.admitted = True
        self._queue.append(ticket)
        self._records += ticket.count
        self._bytes += ticket.size

    def _take(self) -> list[_Ticket]:
        """Return the next batch; empty when everything is done and nothing more will come."""
        with self._changed:
            while not self._queue and not self._closing:
                self._idle = True
                self._changed.wait()
            self._idle = False
            tickets: list[_Ticket] = []
            taken = 0
            while self._queue and (not tickets or taken + self._queue[0].count <= self._max_batch):
                ticket = self._queue.popleft()
                tickets.append(ticket)
                taken += ticket.count
                self._bytes -= ticket.size
            self._records -= taken
            while self._outside and (self._outside[0].abandoned or self._has_room(self._outside[0])):
                waiting = self._outside.popleft()
                if not waiting.abandoned:
                    self._admit(waiting)
            return tickets

    def _run(self) -> None:
        while tickets := self._take():
            records = [record for ticket in tickets for record in ticket.records]
            try:
                receipts = self._commit(records)
                at = 0
                for ticket in tickets:
                    ticket.settle(receipts[at : (at := at + ticket.count)])
            except BaseException as exc:  # noqa: BLE001 - whoever waits hears of it
                for ticket in tickets:
                    ticket.settle(error=_own(exc))
            self.batches += 1
            keep(tickets)
            del tickets, records
        with self._changed:
            ended, self._thread = self._ended, None
        keep(ended)


def _own(exc: BaseException) -> InfrastructureError:
    """Return an exception for one waiter alone: raised in several tasks, a shared one would mix their tracebacks."""
    if isinstance(exc, InfrastructureError):
        own = copy.copy(exc)
        own.__cause__ = exc.__cause__
        return own
    failed = AuditUnavailableError(f"the audit store failed with {type(exc).__name__}")
    failed.__cause__ = exc
    return failed
