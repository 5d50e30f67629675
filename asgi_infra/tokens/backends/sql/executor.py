"""How the work of a store comes to a connection, and what becomes of it when something goes wrong."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

from asgi_infra.database.retry import Backoff
from asgi_infra.tokens.backends.sql.failures import Phase, is_passing, raise_told
from asgi_infra.tokens.errors import OutcomeUnknownError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

T = TypeVar("T")

CLEANUP_SECONDS = 0.5
"""How much longer than the time-out it may take to stop."""

_BACKOFF = Backoff(attempts=8, base=0.02, longest=0.5)


class Mode(Enum):
    """What a piece of work does, and so what has to be around it."""

    READ = auto()
    STATEMENT = auto()
    """One statement that writes: on PostgreSQL a transaction of its own, without the round trips of a BEGIN."""
    REPEATABLE = auto()
    """The same, and repeated also when the answer was lost: doing it twice is doing it once, and tells the same."""
    TRANSACTION = auto()


class Executor(ABC):
    """Runs work; raises the errors of token stores."""

    @abstractmethod
    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        """Run work in a transaction and return its result."""

    @abstractmethod
    async def close(self, seconds: float) -> None:
        """Wait for what runs, at most so many seconds."""


class OwnExecutor(Executor):
    """Runs work in transactions of its own, and again where that can help.

    Work that has begun goes on when its caller is cancelled, and the cancellation is raised at its end: a connection
    is in no unknown state, an SQLite database in memory is not lost with its only connection, and clients that hang up
    cost no new connections.

    Args:
        timeout: Seconds that all of it may take.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        attempt = 0
        while True:
            try:
                return await self._once(work, mode, deadline)
            except (StoreUnavailableError, OutcomeUnknownError) as exc:
                if isinstance(exc, OutcomeUnknownError) and mode is not Mode.REPEATABLE:
                    raise
                attempt += 1
                pause = random.uniform(0.0, _BACKOFF.ceiling(attempt))  # noqa: S311 - jitter
                late = attempt >= _BACKOFF.attempts or loop.time() + pause >= deadline
                if late or not is_passing(exc.__cause__):
                    raise
            await asyncio.sleep(pause)

    @abstractmethod
    async def _once(self, work: Callable[[Connection], T], mode: Mode, deadline: float) -> T:
        """Run work, until the event loop's clock says so."""


def conclude(error: BaseException | None, cancelled: asyncio.CancelledError | None, phase: Phase) -> None:
    """Raise what an attempt ended with, if it did not end well.

    Args:
        error: What went wrong.
        cancelled: The cancellation that came meanwhile.
        phase: How far the attempt had come.
    """
    if cancelled is not None:
        if error is None:
            cancelled.add_note("The cancellation came while the operation was ending; it was done.")
        raise cancelled
    if error is not None:
        raise_told(error, phase)
