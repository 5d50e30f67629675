"""Reads that are asked for in the same tick of the loop, sent to a server in one go."""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_infra.tokens.backends.redis.driver import exceptions
from asgi_infra.tokens.backends.redis.node import AttemptError, Command, Node, Stage
from asgi_infra.tokens.backends.redis.scripts import script

if TYPE_CHECKING:
    Read: TypeAlias = "tuple[str, bytes, asyncio.Future[bytes | None], float]"

_LENGTH = Struct(">I")
_MISSING = 0
_WRONG_TYPE = 0xFFFFFFFF

MAX_BATCH = 256
"""How many reads go at once: so many take a server a fraction of a millisecond."""
_MAX_FLYING = 4


class Reads:
    """The reads of one server; belongs to one event loop.

    While four batches are under way, what comes in the meantime waits for the next: the busier it is, the larger they
    are. Who is cancelled leaves the others alone.

    Args:
        node: The server.
        together: Whether one script may read keys of all slots, which spares most of the work on this side.
    """

    def __init__(self, node: Node, *, together: bool) -> None:
        self._node = node
        self._together = together
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Read] = []
        self._scheduled = False
        self._flying: set[asyncio.Task[None]] = set()

    def add(self, key: str, field: bytes, until: float) -> asyncio.Future[bytes | None]:
        """Read a field of a hash, or the string under a key where the field is empty.

        The future raises `AttemptError`. Reads that go together are given up at the first one's time, `until`.
        """
        future: asyncio.Future[bytes | None] = self._loop.create_future()
        self._waiting.append((key, field, future, until))
        if not self._scheduled and len(self._flying) < _MAX_FLYING:
            self._scheduled = True
            self._loop.call_soon(self._start)
        return future

    def _start(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._flying) < _MAX_FLYING:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            task = self._loop.create_task(self._read(batch, batch[0][3]))
            self._flying.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._start()

    async def _read(self, batch: list[Read], until: float) -> None:
        try:
            asked = [(key, field) for key, field, future, _ in batch if not future.done()]
            batch = [read for read in batch if not read[2].done()]
            values = await (self._in_one(asked, until) if self._together else self._in_a_row(asked, until))
        except AttemptError as exc:
            values = [exc] * len(batch)
        except BaseException as exc:
            for _, _, future, _ in batch:
                if not future.done():
                    future.set_exception(AttemptError(Stage.SENT, exc)) if isinstance(
                        exc, Exception
                    ) else future.cancel()
            raise
        for (_, _, future, _), value in zip(batch, values, strict=True):
            if future.done():
                continue
            if isinstance(value, AttemptError):
                # One for each waiter: they add their own traces.
                future.set_exception(AttemptError(value.stage, value.__cause__ or value))
            elif isinstance(value, Exception):
                future.set_exception(AttemptError(Stage.REFUSED, value))
            else:
                future.set_result(value)

    async def _in_a_row(self, asked: list[tuple[str, bytes]], until: float) -> list[Any]:
        return await self._node.execute([read_command(key, field) for key, field in asked], until)

    async def _in_one(self, asked: list[tuple[str, bytes]], until: float) -> list[Any]:
        reading = script("read")
        keys = [key for key, _ in asked]
        fields = [b"".join([bytes((len(field),)) + field for _, field in asked])]
        (answer,) = await self._node.execute([reading.command(keys, fields, whole=False)], until)
        if isinstance(answer, exceptions.NoScriptError):
            (answer,) = await self._node.execute([reading.command(keys, fields, whole=True)], until)
        if isinstance(answer, Exception):
            return [answer] * len(asked)
        values: list[Any] = []
        at = 0
        for _ in asked:
            (length,) = _LENGTH.unpack_from(answer, at)
            at += 4
            if length == _MISSING:
                values.append(None)
            elif length == _WRONG_TYPE:
                values.append(exceptions.ResponseError("WRONGTYPE"))
            else:
                values.append(answer[at : at + length - 1])
                at += length - 1
        return values


def read_command(key: str, field: bytes) -> Command:
    """Return the command for one read."""
    return ("HGET", key, field) if field else ("GET", key)
