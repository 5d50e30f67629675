"""The connection that a stream has at the moment: made when it is needed, with whichever server answers."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from asgi_infra.audit.backends.nats.link import Link, LinkLostError, RefusedError
from asgi_infra.audit.errors import AuditFullError, AuditOutcomeUnknownError, AuditStoreError, AuditUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FULL = frozenset({10047, 10054, 10077})
"""JetStream's numbers for: no resources, and the limits of the stream in messages and bytes."""


class Connection:
    """Gives out a link; of one event loop.

    Args:
        servers: URLs of servers of one cluster.
        timeout: Seconds that making a connection and one call may take.
        options: For nats-py.
    """

    def __init__(self, servers: Sequence[str], timeout: float, options: Mapping[str, Any]) -> None:
        self._servers = list(servers)
        self._options = options
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self.timeout = timeout
        self.links = 0

    def deadline(self) -> float:
        """Return until when a call that begins now may take."""
        return asyncio.get_running_loop().time() + self.timeout

    async def link(self, deadline: float) -> Link:
        """Return an open connection.

        Raises:
            AuditUnavailableError: No server can be reached.
        """
        async with self._connecting:
            if self._link is not None and not self._link.lost:
                return self._link
            self._link = None
            cause: Exception | None = None
            for server in random.sample(self._servers, len(self._servers)):
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                try:
                    self._link = await Link.connect(server, left, self._options)
                except Exception as exc:  # noqa: BLE001 - whatever it is, the next server may do
                    cause = exc
                else:
                    self.links += 1
                    return self._link
            raise AuditUnavailableError("no NATS server can be reached") from cause

    async def drop(self, link: Link) -> None:
        """Close a link that does not answer; the next call makes another one."""
        if self._link is link:
            self._link = None
        await link.close()

    async def ask(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Return what the server answers in time.

        Raises:
            RefusedError: It says no.
            AuditUnavailableError: It can't be reached.
            AuditOutcomeUnknownError: It does not answer.
        """
        deadline = self.deadline()
        link = await self.link(deadline)
        try:
            return await link.ask(subject, data, deadline, headers)
        except LinkLostError as exc:
            await self.drop(link)
            raise AuditOutcomeUnknownError("the NATS server did not answer in time") from exc

    async def close(self) -> None:
        """End the connection."""
        if self._link is not None:
            await self._link.close()


def translated(exc: RefusedError) -> AuditStoreError:
    """Return the error for what a server refused."""
    if exc.code in FULL:
        return AuditFullError("the stream is full: no relay empties it, or not quickly enough")
    return AuditUnavailableError(f"the NATS server refused: {exc}")
