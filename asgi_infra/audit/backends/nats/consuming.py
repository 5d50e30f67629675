"""Reading the stream from its beginning, in order and without a gap, through a consumer without acknowledgements."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from asgi_infra.audit.backends.nats.connection import translated
from asgi_infra.audit.backends.nats.link import LinkLostError, RefusedError
from asgi_infra.audit.backends.nats.settings import NANOSECONDS
from asgi_infra.audit.errors import AuditUnavailableError
from asgi_infra.audit.stream.contract import Message

if TYPE_CHECKING:
    from asgi_infra.audit.backends.nats.connection import Connection
    from asgi_infra.audit.backends.nats.driver import Msg
    from asgi_infra.audit.backends.nats.link import Inbox, Link

_INACTIVE_SECONDS: Final = 60
_PULL_BYTES: Final = 16 * 1024**2
_ENDS: Final = ("404", "408")
_TOO_LARGE: Final = "Message Size Exceeds MaxBytes"


class Consumer:
    """Reads messages; a lost one is noticed by the numbers that the server gives, and read again.

    Args:
        connection: To the servers.
        stream: The name of the stream.
    """

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream
        self._reading = asyncio.Lock()
        self._name = ""
        self._link: Link | None = None
        self._inbox: Inbox | None = None
        self._pulls = self._delivered = 0
        self._last: int | None = None

    async def fetch(self, after: int | None, limit: int, wait: float) -> list[Message]:
        """Return messages behind a sequence number; waits for the first one if there are none."""
        async with self._reading:
            deadline = self._connection.deadline() + wait
            link = await self._connection.link(deadline)
            try:
                if self._inbox is None or link is not self._link or after != self._last:
                    await self._create(link, after, deadline)
                messages = await self._pull(
                    link, {"batch": limit, "no_wait": True, "max_bytes": _PULL_BYTES}, limit, deadline
                )
                if not messages and wait:
                    request = {"batch": 1, "expires": int(wait * NANOSECONDS)}
                    messages = await self._pull(link, request, 1, deadline)
            except LinkLostError as exc:
                self._inbox = None
                await self._connection.drop(link)
                raise AuditUnavailableError("the NATS server did not answer in time") from exc
            except RefusedError as exc:
                self._inbox = None
                raise translated(exc) from exc
            except BaseException:
                self._inbox = None
                raise
            return messages

    async def _create(self, link: Link, after: int | None, deadline: float) -> None:
        if self._inbox is not None:
            await self._inbox.close()
        if self._name and link is self._link:
            await link.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}", b"")
        self._link, self._inbox, self._delivered, self._last = link, None, 0, after
        name = f"relay-{uuid4().hex}"
        config: dict[str, Any] = {
            "name": name,
            "ack_policy": "none",
            "deliver_policy": "all",
            "inactive_threshold": _INACTIVE_SECONDS * NANOSECONDS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        if after is not None:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
        request = json.dumps({"stream_name": self._stream, "config": config}).encode()
        await link.ask(f"$JS.API.CONSUMER.CREATE.{self._stream}.{name}", request, deadline)
        self._name, self._inbox = name, await link.inbox()

    async def _pull(self, link: Link, request: dict[str, int], limit: int, deadline: float) -> list[Message]:
        found: list[Message] = []
        inbox = self._inbox
        if inbox is None:
            raise LinkLostError
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        self._pulls += 1
        reply = f"{inbox.subject}.{self._pulls}"
        await link.send(subject, json.dumps(request).encode(), reply)
        while len(found) < limit:
            message = await inbox.next(deadline)
            if not message.reply.startswith("$JS.ACK."):
                if message.subject != reply:
                    continue  # the late end of an earlier pull
                _check_end(message)
                break
            sequence = message.metadata.sequence
            if sequence.consumer != self._delivered + 1:
                raise AuditUnavailableError("a message was lost on its way; it will be read again")
            self._delivered, self._last = sequence.consumer, sequence.stream
            found.append(Message(str(sequence.stream), message.data))
        return found


def _check_end(message: Msg) -> None:
    headers = message.headers or {}
    status, description = headers.get("Status", "500"), headers.get("Description", "")
    if status not in _ENDS and description != _TOO_LARGE:
        raise RefusedError(int(status), 0, description)
