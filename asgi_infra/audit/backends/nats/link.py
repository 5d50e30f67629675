"""One connection to a NATS server: requests with answers, each of which fails at once when the connection does."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from asgi_infra.audit.backends.nats.driver import Client, Msg, Subscription

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLOSE_SECONDS = 1.0


class LinkLostError(Exception):
    """The connection is gone, or the answer did not come in time: what was asked for was done, or it was not."""


class RefusedError(Exception):
    """The server said no: nothing was done.

    Attributes:
        status: As in HTTP.
        code: JetStream's own number; 0 if there is none.
    """

    def __init__(self, status: int, code: int, description: str) -> None:
        super().__init__(f"{description} ({status}, {code})")
        self.status = status
        self.code = code


class Link:
    """An open connection; of one event loop, and closed for good once it is lost."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._numbers = count()
        self._waiting: dict[str, Replies] = {}
        self.lost = False

    @classmethod
    async def connect(cls, server: str, seconds: float, options: Mapping[str, Any]) -> Self:
        """Return a connection to one server.

        Raises:
            Exception: Of many kinds; nothing was done.
        """
        box: list[Self] = []

        async def closed() -> None:
            for link in box:
                link._lose()

        client = Client()
        try:
            async with asyncio.timeout(seconds):
                await client.connect(
                    servers=[server],
                    allow_reconnect=False,
                    connect_timeout=max(1, round(seconds)),
                    closed_cb=closed,
                    disconnected_cb=closed,
                    error_cb=_ignore,  # each call fails by itself
                    **options,
                )
        except BaseException:
            await _end(client)
            raise
        link = cls(client)
        box.append(link)
        await client.subscribe(f"{link._inbox}.*", cb=link._arrived)
        return link

    @property
    def max_payload(self) -> int:
        """Bytes that one message may have."""
        return int(self._client.max_payload)

    def expect(self) -> Replies:
        """Return where the answers to a message come in that is about to be sent."""
        return Replies(self, f"{self._inbox}.{next(self._numbers)}")

    async def inbox(self) -> Inbox:
        """Return where messages come in that keep the subject that they had in the stream.

        Ask for them with reply subjects one level below its own; statuses come with that subject.
        """
        inbox = Inbox(self, self._client.new_inbox())
        try:
            inbox.subscription = await self._client.subscribe(f"{inbox.subject}.*", cb=inbox.put)
        except Exception as exc:
            raise LinkLostError from exc
        inbox.__enter__()
        return inbox

    async def send(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Send a message."""
        if self.lost:
            raise LinkLostError
        try:
            await self._client.publish(subject, data, reply=reply, headers=headers)
        except Exception as exc:
            raise LinkLostError from exc

    async def ask(
        self, subject: str, data: bytes, deadline: float, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the JSON that the server answers.

        Raises:
            RefusedError: The server answers with an error, or nobody answers.
            LinkLostError: No answer came.
        """
        with self.expect() as replies:
            await self.send(subject, data, replies.subject, headers)
            return answer_of(await replies.next(deadline))

    async def close(self) -> None:
        """End the connection."""
        self._lose()
        await _end(self._client)

    async def _arrived(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None:
            await waiting.put(message)

    def _lose(self) -> None:
        self.lost = True
        for waiting in self._waiting.values():
            waiting.end()


class Replies:
    """Where answers come in, in the order in which they do."""

    def __init__(self, link: Link, subject: str) -> None:
        self.subject = subject
        self._link = link
        self._queue: asyncio.Queue[Msg | None] = asyncio.Queue()

    def __enter__(self) -> Self:
        self._link._waiting[self.subject] = self
        return self

    def __exit__(self, *exc: object) -> None:
        self._link._waiting.pop(self.subject, None)

    async def put(self, message: Msg) -> None:
        """Take a message."""
        self._queue.put_nowait(message)

    def end(self) -> None:
        """Let nobody wait any more."""
        self._queue.put_nowait(None)

    async def next(self, deadline: float) -> Msg:
        """Return the next message.

        Raises:
            LinkLostError: There is none until the deadline, or the connection is lost.
        """
        try:
            async with asyncio.timeout_at(deadline):
                message = await self._queue.get()
        except TimeoutError as exc:
            raise LinkLostError from exc
        if message is None:
            raise LinkLostError
        return message


class Inbox(Replies):
    """A subscription of its own."""

    subscription: Subscription

    async def close(self) -> None:
        """End the subscription."""
        self.__exit__()
        with suppress(Exception):  # the connection is gone, and with it the subscription
            await self.subscription.unsubscribe()


def answer_of(message: Msg) -> dict[str, Any]:
    """Return what the server says in a message.

    Raises:
        RefusedError: It says no.
    """
    status = (message.headers or {}).get("Status")
    if status is not None:
        raise RefusedError(int(status), 0, "nobody answers: JetStream is not there, or has no leader")
    answer: dict[str, Any] = json.loads(message.data or b"{}")
    error = answer.get("error")
    if error is not None:
        raise RefusedError(error.get("code", 500), error.get("err_code", 0), str(error.get("description", "")))
    return answer


async def _end(client: Client) -> None:
    with suppress(Exception):
        await asyncio.wait_for(client.close(), _CLOSE_SECONDS)


async def _ignore(error: Exception) -> None:
    pass
