"""One relay at a time: an entry of a key-value bucket, changed by compare-and-set, which goes by itself in time."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.audit.backends.nats.link import RefusedError
from asgi_infra.audit.stream.contract import AuditLeaseLostError

if TYPE_CHECKING:
    from asgi_infra.audit.backends.nats.connection import Connection
    from asgi_infra.audit.backends.nats.settings import StreamSettings

_WRONG_REVISION: Final = frozenset({10071, 10164})
_KEY: Final = "lease"
_NAME_IN_USE: Final = 10058


class Lease:
    """The lease of one stream. The token is the revision with which it was taken.

    Args:
        connection: To the servers.
        settings: Of the stream.
    """

    def __init__(self, connection: Connection, settings: StreamSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._subject = f"$KV.{settings.bucket}.{_KEY}"
        self._changing = asyncio.Lock()
        self._held: dict[int, tuple[bytes, int]] = {}
        self._seconds: float | None = None

    async def acquire(self, owner: str, seconds: float) -> int | None:
        """Return a token, or `None` if another owner has the lease."""
        async with self._changing:
            await self._ready(seconds)
            value = owner.encode()
            try:
                token = await self._write(value, 0)
            except RefusedError as exc:
                if exc.code not in _WRONG_REVISION:
                    raise
                current = await self._current()
                if current is not None and current[0] not in (b"", value):
                    return None
                token = await self._write(value, 0 if current is None else current[1])
            self._held = {token: (value, token)}  # an older one can't be good any more
            return token

    async def renew(self, token: int) -> None:
        """Have the lease for its whole time again.

        Raises:
            AuditLeaseLostError: It has gone.
        """
        async with self._changing:
            value, revision = self._of(token)
            try:
                revision = await self._write(value, revision)
            except RefusedError as exc:
                if exc.code not in _WRONG_REVISION:
                    raise
                revision = await self._adopt(token, value, revision)
            self._held[token] = (value, revision)

    async def release(self, token: int) -> None:
        """Give the lease back."""
        async with self._changing:
            if token not in self._held:
                return
            _, revision = self._held.pop(token)
            try:
                await self._write(b"", revision, {"KV-Operation": "DEL"})
            except RefusedError as exc:
                if exc.code not in _WRONG_REVISION:
                    raise

    async def _adopt(self, token: int, value: bytes, revision: int) -> int:
        """Renew from the revision that an earlier renewal made whose answer was lost."""
        current = await self._current()
        if current is None or current[0] != value or current[1] <= revision:
            self._held.pop(token, None)
            raise AuditLeaseLostError("the lease has run out, or another relay has it")
        try:
            return await self._write(value, current[1])
        except RefusedError as exc:
            raise AuditLeaseLostError("another relay has the lease") from exc

    def _of(self, token: int) -> tuple[bytes, int]:
        if token not in self._held:
            raise AuditLeaseLostError("the lease was given back, or has been lost")
        return self._held[token]

    async def _write(self, value: bytes, revision: int, headers: dict[str, str] | None = None) -> int:
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision), **(headers or {})}
        answer = await self._connection.ask(self._subject, value, expected)
        return int(answer["seq"])

    async def _current(self) -> tuple[bytes, int] | None:
        """Return the value, empty after a release, and its revision."""
        request = json.dumps({"last_by_subj": self._subject}).encode()
        try:
            answer = await self._connection.ask(f"$JS.API.STREAM.MSG.GET.KV_{self._settings.bucket}", request)
        except RefusedError as exc:
            if exc.status == 404:
                return None
            raise
        message: dict[str, Any] = answer["message"]
        return base64.b64decode(message.get("data", "")), int(message["seq"])

    async def _ready(self, seconds: float) -> None:
        """Make the bucket, or give it this relay's time."""
        if self._seconds == seconds:
            return
        name = f"KV_{self._settings.bucket}"
        wanted = self._settings.bucket_configuration(seconds)
        try:
            await self._connection.ask(f"$JS.API.STREAM.CREATE.{name}", json.dumps(wanted).encode())
        except RefusedError as exc:
            if exc.code != _NAME_IN_USE:
                raise
            await self._connection.ask(f"$JS.API.STREAM.UPDATE.{name}", json.dumps(wanted).encode())
        self._seconds = seconds
