"""The stream of entries in NATS JetStream."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgi_infra.audit.backends.nats.connection import Connection, translated
from asgi_infra.audit.backends.nats.consuming import Consumer
from asgi_infra.audit.backends.nats.lease import Lease
from asgi_infra.audit.backends.nats.link import RefusedError
from asgi_infra.audit.backends.nats.loop import LoopThread
from asgi_infra.audit.backends.nats.publishing import Publisher
from asgi_infra.audit.backends.nats.settings import refuse_lazy_server
from asgi_infra.audit.record import MAX_ENTRY_BYTES
from asgi_infra.audit.stream.contract import AuditStream
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from asgi_infra.audit.backends.nats.settings import StreamSettings
    from asgi_infra.audit.record import Receipt, Record
    from asgi_infra.audit.stream.contract import Message

T = TypeVar("T")

_HEADER_ROOM: Final = 1_024
_ROOM: Final = MAX_ENTRY_BYTES + _HEADER_ROOM
_NAME_IN_USE: Final = 10058


class NATSStream(AuditStream):
    """A JetStream stream, behind an event loop in a thread of its own.

    Args:
        servers: URLs of servers of one cluster.
        settings: Of the stream.
        timeout: Seconds that one call may take.
        monitor: The URL of the server's monitoring endpoint, or `None`.
        options: For nats-py.
    """

    def __init__(
        self,
        servers: Sequence[str],
        settings: StreamSettings,
        *,
        timeout: float,
        monitor: str | None,
        options: Mapping[str, Any],
    ) -> None:
        self._servers, self._settings, self._timeout = servers, settings, timeout
        self._monitor, self._options = monitor, options
        self._loop = LoopThread()
        self._session: _Session | None = None

    def open(self) -> None:
        if self._monitor is not None:
            refuse_lazy_server(self._monitor, self._timeout)
        try:
            self._call(lambda session: session.waiting())
        except BaseException:
            self.close()  # nobody else will: what did not open is not closed either
            raise

    def append(self, records: Sequence[Record]) -> list[Receipt]:
        return self._call(lambda session: session.publisher.publish(records))

    def acquire(self, owner: str, seconds: float) -> int | None:
        return self._call(lambda session: session.lease.acquire(owner, seconds))

    def renew(self, token: int, seconds: float) -> None:
        self._call(lambda session: session.lease.renew(token))

    def release(self, token: int) -> None:
        self._call(lambda session: session.lease.release(token))

    def fetch(self, after: str | None, limit: int, wait: float) -> list[Message]:
        position = None if after is None else int(after)
        return self._call(lambda session: session.consumer.fetch(position, limit, wait))

    def settle(self, token: int, position: str) -> None:
        self._call(lambda session: session.settle(token, int(position)))

    def set_aside(self, message: Message, reason: str) -> None:
        self._call(lambda session: session.set_aside(message, reason))

    def waiting(self) -> int:
        return self._call(lambda session: session.waiting())

    def stats(self) -> dict[str, int]:
        session = self._session
        if session is None:
            return {}
        publisher = session.publisher
        return {
            "duplicates": publisher.duplicates,
            "retries": publisher.retries,
            "connections": session.connection.links,
        }

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and not self._loop.inherited:
            self._loop.run(session.connection.close())
        self._loop.close()

    def _call(self, work: Callable[[_Session], Coroutine[Any, Any, T]]) -> T:
        return self._loop.run(self._with_session(work))

    async def _with_session(self, work: Callable[[_Session], Coroutine[Any, Any, T]]) -> T:
        session = self._session
        try:
            if session is None or not session.is_here():
                session = await self._begin()
            return await work(session)
        except RefusedError as exc:
            raise translated(exc) from exc

    async def _begin(self) -> _Session:
        """Connect, and find the stream or make it."""
        connection = Connection(self._servers, self._timeout, self._options)
        link = await connection.link(connection.deadline())
        if link.max_payload < _ROOM:
            await connection.close()
            raise ConfigurationError(
                f"the NATS server must have max_payload of at least {_ROOM}, not {link.max_payload}"
            )
        try:
            found = await _ensure(connection, self._settings)
            self._settings.refuse_unsafe(found)
        except BaseException:
            await connection.close()
            raise
        self._session = _Session(
            connection,
            self._settings,
            atomic=bool(found.get("allow_atomic")),
            max_payload=link.max_payload,
        )
        return self._session


async def _ensure(connection: Connection, settings: StreamSettings) -> dict[str, Any]:
    """Return the configuration of the stream; a new one is made if there is none."""
    try:
        answer = await connection.ask(f"$JS.API.STREAM.INFO.{settings.name}", b"")
    except RefusedError as exc:
        if exc.status != 404:
            raise
        wanted = json.dumps(settings.configuration()).encode()
        try:
            answer = await connection.ask(f"$JS.API.STREAM.CREATE.{settings.name}", wanted)
        except RefusedError as other:
            if other.code != _NAME_IN_USE:  # somebody else was quicker, with other settings
                raise
            answer = await connection.ask(f"$JS.API.STREAM.INFO.{settings.name}", b"")
    found: dict[str, Any] = answer["config"]
    return found


class _Session:
    """What belongs to the event loop."""

    def __init__(self, connection: Connection, settings: StreamSettings, *, atomic: bool, max_payload: int) -> None:
        self.connection = connection
        self._settings = settings
        self.publisher = Publisher(connection, settings, atomic=atomic)
        self.consumer = Consumer(connection, settings.name)
        self.lease = Lease(connection, settings)
        self._has_rejected = False
        self._max_payload = max_payload
        self._loop = asyncio.get_running_loop()

    def is_here(self) -> bool:
        """Whether this is of the running loop: after a fork there is another one."""
        return self._loop is asyncio.get_running_loop()

    async def settle(self, token: int, sequence: int) -> None:
        """Remove what was relayed; the lease comes first, so that a relay of the past removes nothing."""
        await self.lease.renew(token)
        request = json.dumps({"seq": sequence + 1}).encode()
        await self.connection.ask(f"$JS.API.STREAM.PURGE.{self._settings.name}", request)

    async def set_aside(self, message: Message, reason: str) -> None:
        """Copy a message to the stream of what was no entry."""
        name = self._settings.rejected
        if not self._has_rejected:
            wanted = json.dumps(self._settings.rejected_configuration()).encode()
            try:
                await self.connection.ask(f"$JS.API.STREAM.CREATE.{name}", wanted)
            except RefusedError as exc:
                if exc.code != _NAME_IN_USE:
                    raise
            self._has_rejected = True
        headers = {"Nats-Msg-Id": message.position, "Reason": reason[:200]}
        data = message.data[: self._max_payload - _HEADER_ROOM]
        await self.connection.ask(f"{self._settings.name}.rejected", data, headers)

    async def waiting(self) -> int:
        """Return how many messages are in the stream."""
        answer = await self.connection.ask(f"$JS.API.STREAM.INFO.{self._settings.name}", b"")
        return int(answer["state"]["messages"])
