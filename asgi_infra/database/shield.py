"""Work that ends even though its caller is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Ended(NamedTuple):
    """How shielded work ended.

    Attributes:
        error: What it raised, or `None`; `TimeoutError` where it was given up.
        gave_up: Whether it was stopped before its end.
        cancelled: The cancellation that reached the caller meanwhile, AnyIO's or asyncio's, to be raised afterwards, or
            `None`.
    """

    error: BaseException | None
    gave_up: bool
    cancelled: asyncio.CancelledError | None


async def run_to_end(
    work: Coroutine[Any, Any, object] | asyncio.Future[Any],
    *,
    grace: float,
    patient: bool,
    stopping: float | None = None,
) -> Ended:
    """Run work in a task of its own and wait for it, through cancellations of the caller. Raises nothing of it.

    Args:
        work: What is to be done, or what stands for work that goes on elsewhere.
        grace: How many seconds it may take.
        patient: Whether the grace begins with the caller's cancellation only; without one the work takes its time.
        stopping: How many seconds it then may take to give up when it is cancelled; as long as `grace` by default.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    deadline = None if patient else loop.time() + grace
    cancelled: asyncio.CancelledError | None = None
    # not shielded, for AnyIO tells a shielded task nothing of its cancellation
    try:
        await asyncio.wait({task}, timeout=None if patient else grace)
    except asyncio.CancelledError as exc:
        cancelled = exc
    if not task.done():
        # AnyIO repeats its cancellation in every cycle of the loop, a plain asyncio one comes once per call
        with anyio.CancelScope(shield=True):
            cancelled = await _wait(task, deadline or loop.time() + grace) or cancelled
            if not task.done():
                task.cancel()
                cancelled = await _wait(task, loop.time() + (grace if stopping is None else stopping)) or cancelled
    if not task.done() or task.cancelled():
        return Ended(TimeoutError("it was stopped before its end"), gave_up=True, cancelled=cancelled)
    return Ended(task.exception(), gave_up=False, cancelled=cancelled)


async def _wait(task: asyncio.Future[Any], deadline: float) -> asyncio.CancelledError | None:
    loop = asyncio.get_running_loop()
    cancelled = None
    while not task.done() and (left := deadline - loop.time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled
