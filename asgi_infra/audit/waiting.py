"""How a thread tells tasks of any event loop that what they wait for is there."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Promise:
    """What one task waits for, and another thread brings. Make it in the task.

    Each belongs to the event loop it was made in, asyncio's or trio's; `keep` brings many at once, with one wake-up for
    each loop.
    """

    __slots__ = ("_error", "_loop", "_result", "_waiter")

    def __init__(self) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        try:
            self._loop: Any = asyncio.get_running_loop()
            self._waiter: Any = self._loop.create_future()
        except RuntimeError:  # none of asyncio's
            trio: Any = sys.modules["trio"]  # nothing else runs coroutines here
            self._loop = trio.lowlevel.current_trio_token()
            self._waiter = trio.Event()

    def settle(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set what `wait` will return or raise. The task is woken by `keep`."""
        self._result, self._error = result, error

    async def wait(self) -> Any:
        """Return the result, or raise the error."""
        if isinstance(self._waiter, asyncio.Future):
            await self._waiter
        else:
            await self._waiter.wait()
        if self._error is not None:
            raise self._error
        return self._result


def keep(promises: Iterable[Promise]) -> None:
    """Wake the tasks that wait for promises which are settled. Callable from any thread."""
    by_loop: defaultdict[Any, list[Any]] = defaultdict(list)  # event loops are equal to themselves alone
    for promise in promises:
        by_loop[promise._loop].append(promise._waiter)
    for loop, waiters in by_loop.items():
        is_asyncio = isinstance(loop, asyncio.AbstractEventLoop)
        call: Callable[..., object] = loop.call_soon_threadsafe if is_asyncio else loop.run_sync_soon
        try:
            call(_wake_futures if is_asyncio else _wake_events, waiters)
        except RuntimeError:  # the loop has been closed: nobody waits any more (trio's RunFinishedError is one, too)
            continue


def _wake_futures(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():  # cancelled
            future.set_result(None)


def _wake_events(events: list[Any]) -> None:
    for event in events:
        event.set()
