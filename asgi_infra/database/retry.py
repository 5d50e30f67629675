"""Retrying what a retry can mend, with full jitter."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from asgi_infra.context import get_request_id
from asgi_infra.database.errors import OperationError
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_integer, require_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_logger = logging.getLogger("asgi_infra.database")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often to try, and how long to wait between.

    The n-th pause is a random time between 0 and `min(longest, base * 2 ** (n - 1))` seconds ("full jitter", Marc
    Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).

    Attributes:
        attempts: How often to try in all, at least 1.
        base: Upper limit of the first pause, in seconds.
        longest: Upper limit of any pause, in seconds.

    Raises:
        ConfigurationError: A value has the wrong type or is out of range.
    """

    attempts: int = 5
    base: float = 0.05
    longest: float = 2.0

    def __post_init__(self) -> None:
        require_integer("attempts", self.attempts, minimum=1)
        require_seconds("base", self.base)
        require_seconds("longest", self.longest)
        if self.longest < self.base:
            raise ConfigurationError(f"longest ({self.longest}) must not be less than base ({self.base})")

    def ceiling(self, attempt: int) -> float:
        """Return the longest pause after the given attempt, counted from 1, in seconds."""
        return min(self.longest, self.base * 2.0 ** min(attempt - 1, 64))


async def retry(
    attempt: Callable[[], Awaitable[_T]],
    backoff: Backoff,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> _T:
    """Call `attempt` until it succeeds, fails beyond repair, or the attempts are used up.

    Args:
        attempt: One whole transaction.
        backoff: How often, and how long to wait.
        sleep: Waits for seconds.
        uniform: Draws a number between two.

    Raises:
        DatabaseError: The first failure that is not `retryable`, or the last one.
    """
    number = 1
    while True:
        try:
            return await attempt()
        except OperationError as exc:
            if not exc.retryable or _is_cancelled():
                raise
            if number >= backoff.attempts:
                exc.add_note(f"Given up after {number} attempts.")
                raise
            pause = uniform(0.0, backoff.ceiling(number))
            _logger.info(
                "database transaction is tried again",
                extra={
                    "request_id": get_request_id(),
                    "error_type": type(exc).__qualname__,
                    "sqlstate": exc.sqlstate,
                    "attempt": number,
                    "pause_seconds": round(pause, 3),
                },
            )
        await sleep(pause)
        number += 1


def _is_cancelled() -> bool:
    """Tell whether the task was cancelled while it rolled back: the error of the transaction has hidden that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
