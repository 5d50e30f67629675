"""Putting entries into the stream: a batch is one atomic publish, so one sync; message ids are entry ids."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import uuid4

from asgi_infra.audit.backends.nats.connection import FULL, translated
from asgi_infra.audit.backends.nats.link import LinkLostError, RefusedError, answer_of
from asgi_infra.audit.errors import AuditOutcomeUnknownError, AuditUnavailableError
from asgi_infra.audit.record import Receipt
from asgi_infra.audit.stream.frames import leaf_hash_of, to_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.audit.backends.nats.connection import Connection
    from asgi_infra.audit.backends.nats.link import Link
    from asgi_infra.audit.backends.nats.settings import StreamSettings
    from asgi_infra.audit.record import Record

_ATOMIC_MESSAGES: Final = 1_000
_PIPELINED: Final = 256
_DUPLICATE_IN_BATCH: Final = 10_201
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_REMEMBERED: Final = 10_000
_ATTEMPTED: Final = 1_024


class Publisher:
    """Publishes records; one call at a time.

    Args:
        connection: To the servers.
        settings: Of the stream.
        atomic: Whether the stream takes atomic batches (servers from 2.12).
    """

    def __init__(self, connection: Connection, settings: StreamSettings, *, atomic: bool) -> None:
        self._connection = connection
        self._settings = settings
        self._atomic = atomic
        self._remembered: OrderedDict[str, bytes] = OrderedDict()
        self._attempted: OrderedDict[str, Record] = OrderedDict()
        self.duplicates = 0
        self.retries = 0

    async def publish(self, records: Sequence[Record]) -> list[Receipt]:
        """Return the receipts of records once the servers have them on their disks."""
        pending: dict[str, Record] = {}
        for record in records:
            entry_id = record.entry.id
            if entry_id not in self._remembered and entry_id not in pending:
                # What may be there already goes out again as it was sealed: only one leaf of it can be there.
                pending[entry_id] = self._attempted.get(entry_id, record)
        self.duplicates += len(records) - len(pending)
        found = {record.entry.id: self._remembered.get(record.entry.id, b"") for record in records}
        await self._publish_all(list(pending.values()), found)
        for entry_id in pending:
            if found[entry_id]:
                _remember(self._remembered, entry_id, found[entry_id], _REMEMBERED)
        return [Receipt(-1, found[record.entry.id]) for record in records]

    async def _publish_all(self, records: list[Record], found: dict[str, bytes]) -> None:
        deadline = self._connection.deadline()
        width = _ATOMIC_MESSAGES if self._atomic else _PIPELINED
        groups = deque(records[at : at + width] for at in range(0, len(records), width))
        lost: LinkLostError | None = None
        kept = False
        pause = _FIRST_PAUSE
        while groups:
            group = groups[0]
            try:
                await self._publish_group(group, deadline, found, again=lost is not None)
                groups.popleft()
                kept, lost, pause = True, None, _FIRST_PAUSE
                continue
            except LinkLostError as exc:
                lost = exc
                failure: Exception = AuditOutcomeUnknownError("the NATS server did not acknowledge the entries in time")
                cause: BaseException = exc
            except RefusedError as exc:
                if exc.code == _DUPLICATE_IN_BATCH:
                    groups.popleft()
                    middle = len(group) // 2
                    groups.extendleft((group[middle:], group[:middle]))
                    continue
                failure, cause = translated(exc), exc
                if exc.code in FULL:
                    deadline = 0
            except AuditUnavailableError as exc:
                failure, cause = exc, exc.__cause__ or exc
            if asyncio.get_running_loop().time() + pause >= deadline:
                if lost is not None or kept:
                    raise AuditOutcomeUnknownError("the NATS server has taken some of the entries, or all") from cause
                raise failure from cause
            self.retries += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _publish_group(
        self, group: list[Record], deadline: float, found: dict[str, bytes], *, again: bool
    ) -> None:
        link = await self._connection.link(deadline)
        try:
            if self._atomic and len(group) > 1 and not again:
                await self._publish_batch(link, group, deadline, found)
            else:
                await self._publish_each(link, group, deadline, found)
        except LinkLostError:
            for record in group:
                _remember(self._attempted, record.entry.id, record, _ATTEMPTED)
            await self._connection.drop(link)
            raise

    async def _publish_batch(self, link: Link, group: list[Record], deadline: float, found: dict[str, bytes]) -> None:
        """Publish all or none (ADR-50 of NATS)."""
        batch = uuid4().hex
        with link.expect() as replies:
            for number, record in enumerate(group, 1):
                headers = {
                    "Nats-Msg-Id": message_id(record.entry.id),
                    "Nats-Batch-Id": batch,
                    "Nats-Batch-Sequence": str(number),
                }
                reply = replies.subject if number in (1, len(group)) else ""
                if number == len(group):
                    headers["Nats-Batch-Commit"] = "1"
                await link.send(self._settings.subject, to_frame(record), reply, headers)
            while True:
                answer = answer_of(await replies.next(deadline))
                if answer.get("batch") == batch and answer.get("count") == len(group):
                    break
        for record in group:
            self._keep(record, record.leaf_hash, found)

    async def _publish_each(self, link: Link, group: list[Record], deadline: float, found: dict[str, bytes]) -> None:
        """Publish one by one, without waiting in between; what was acknowledged is not published again."""
        refused: RefusedError | None = None
        todo = [record for record in group if not found[record.entry.id]]
        for at in range(0, len(todo), _PIPELINED):
            sent = []
            try:
                for record in todo[at : at + _PIPELINED]:
                    replies = link.expect()
                    replies.__enter__()
                    sent.append((record, replies))
                    headers = {"Nats-Msg-Id": message_id(record.entry.id)}
                    await link.send(self._settings.subject, to_frame(record), replies.subject, headers)
                for record, replies in sent:
                    try:
                        answer = answer_of(await replies.next(deadline))
                    except RefusedError as exc:
                        refused = refused or exc
                        continue
                    leaf_hash = record.leaf_hash
                    if answer.get("duplicate"):
                        self.duplicates += 1
                        leaf_hash = await self._first(record, answer["seq"])
                    self._keep(record, leaf_hash, found)
            finally:
                for _, replies in sent:
                    replies.__exit__()
            if refused is not None:
                raise refused

    async def _first(self, record: Record, sequence: int) -> bytes:
        """Return the leaf hash of the message that came first with an id; empty if that can't be known any more."""
        message = await self._stored(sequence)
        if message is None:  # relayed already
            return record.leaf_hash if record.entry.id in self._attempted else b""
        return leaf_hash_of(base64.b64decode(message.get("data", "")))

    async def _stored(self, sequence: int) -> dict[str, Any] | None:
        request = json.dumps({"seq": sequence}).encode()
        try:
            answer = await self._connection.ask(f"$JS.API.STREAM.MSG.GET.{self._settings.name}", request)
        except RefusedError as exc:
            if exc.status == 404:
                return None
            raise
        found: dict[str, Any] = answer["message"]
        return found

    def _keep(self, record: Record, leaf_hash: bytes, found: dict[str, bytes]) -> None:
        found[record.entry.id] = leaf_hash
        self._attempted.pop(record.entry.id, None)


def message_id(entry_id: str) -> str:
    """Return an entry's id as a header can hold it."""
    return quote(entry_id, safe="!#$&'()*+,/:;=?@[]~|^`{}<>")


def _remember(memory: OrderedDict[str, Any], key: str, value: Any, limit: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > limit:
        memory.popitem(last=False)
