"""An engine and where it may be used: one process, one event loop."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING, cast

from sqlalchemy.util import greenlet_spawn

from asgi_infra.database.errors import SessionMisuseError
from asgi_infra.database.figures import PoolState

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from asgi_infra.database.engine import ObservedPool


class Binding:
    """An engine with the process and the event loop that opened it, because its connections belong to both.

    Attributes:
        engine: The engine.
        pool: Its pool, kept here because `engine.dispose` would replace it.
        outcomes: How many sessions ended how: `committed`, `rolled_back`, `commit_failed`, `outcome_unknown`.
        open_sessions: How many are open now.
    """

    def __init__(self, engine: AsyncEngine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self.pool = cast("ObservedPool", engine.pool)
        self.loop = loop
        self.pid = os.getpid()
        self.outcomes: Counter[str] = Counter()
        self.open_sessions = 0
        self._closing = False
        self._idle = asyncio.Event()

    def state(self, limit: int) -> PoolState:
        """Return the figures of this moment."""
        return PoolState(
            limit,
            used=self.pool.checkedout(),
            idle=self.pool.checkedin(),
            waiting=self.pool.waiting,
            timeouts=self.pool.timeouts,
            opened=self.pool.opened,
            **self.outcomes,
        )

    def require_here(self) -> None:
        """Raise `SessionMisuseError` in another process or event loop."""
        if os.getpid() != self.pid:
            raise SessionMisuseError("the session was opened before a fork; open a new one in the child")
        if running_loop() is not self.loop:
            raise SessionMisuseError(
                "this DatabaseSession belongs to another event loop, which is still open; "
                "make one DatabaseSession for each loop, or call aclose() in the other one first"
            )

    def enter(self) -> None:
        """Count a session that begins."""
        self.open_sessions += 1
        self._idle.clear()

    async def leave(self, outcome: str) -> None:
        """Count a session that ends; the last one of a closing engine closes what it gave back."""
        self.outcomes[outcome] += 1
        self.open_sessions -= 1
        if not self.open_sessions:
            self._idle.set()
            if self._closing:
                await greenlet_spawn(self.pool.dispose)

    async def settle(self) -> None:
        """Wait for connections that are being closed, which ends what the server was executing for them."""
        if self.pool.closing:
            await asyncio.wait(list(self.pool.closing))

    async def close(self, patience: float) -> int:
        """Wait for the open sessions, close the idle connections, and return how many sessions are still open."""
        self._closing = True
        if self.open_sessions:
            try:
                async with asyncio.timeout(patience):
                    await self._idle.wait()
            except TimeoutError:
                pass
        await greenlet_spawn(self.pool.dispose)
        return self.open_sessions


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running asyncio loop.

    Raises:
        SessionMisuseError: None runs, or it is not asyncio's: SQLAlchemy's asynchronous engines need asyncio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError as exc:
        raise SessionMisuseError("a database session needs a running asyncio event loop; trio has none") from exc
