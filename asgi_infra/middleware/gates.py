"""The gates of an exchange: what is awaited before the application, and what is settled after it.

A gate is the opposite of telemetry: it fails closed. What `admit` raises refuses the exchange, and the application
never hears of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_infra import faults
from asgi_infra.middleware.exchange import place
from asgi_infra.middleware.refusal import unavailable

# The event loops are imported where they are in use: most stacks have no gate.
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.types import ASGIApp, Scope

    Admit: TypeAlias = Callable[[Exchange, Scope], Coroutine[Any, Any, ASGIApp | None]]
    Settle: TypeAlias = Callable[[Exchange], Coroutine[Any, Any, None] | None]

_TO_GIVE_UP = 1.0  # seconds


async def admit(admits: Sequence[Admit], exchange: Exchange, scope: Scope, app: ASGIApp) -> ASGIApp:
    """Ask the gates in their order, and return what answers: the application, or what a gate puts in its place.

    Args:
        admits: The methods to ask.
        exchange: The exchange.
        scope: What the application would get.
        app: The application.
    """
    for ask in admits:
        try:
            answer = await ask(exchange, scope)
        except Exception as exc:  # noqa: BLE001
            faults.record(place(ask), exc, consequence="the request was refused")
            return unavailable()
        if answer is not None:
            return answer
    return app


async def settle(settles: Sequence[Settle], exchange: Exchange) -> None:
    """Await the ends of the gates, through cancellations, each for no longer than its `settle_timeout`.

    An exchange that was abandoned, whose event loop is gone, can't wait for anything: nothing is settled then.

    Raises:
        asyncio.CancelledError: The caller was cancelled meanwhile; everything is settled nevertheless.
    """
    if isinstance(sys.exception(), GeneratorExit):
        return
    cancelled: asyncio.CancelledError | None = None
    for method in settles:
        seconds: float = getattr(method, "__self__").settle_timeout  # noqa: B009
        error: BaseException | None
        try:
            work = method(exchange)
        except Exception as exc:  # noqa: BLE001
            faults.record(place(method), exc)
            continue
        if work is None:
            continue
        if _in_asyncio_task():
            error, cancellation = await _settle_in_task(work, seconds)
            cancelled = cancellation or cancelled
        else:
            error = await _settle_in_scope(work, seconds)
        if error is not None:
            faults.record(place(method), error)
    if cancelled is not None:
        raise cancelled


async def _settle_in_scope(work: Coroutine[Any, Any, None], seconds: float) -> Exception | None:
    """Await work for so long, and return what it raised."""
    import anyio

    try:
        with anyio.fail_after(seconds, shield=True):
            await work
    except Exception as exc:  # noqa: BLE001
        return exc
    return None


async def _settle_in_task(
    work: Coroutine[Any, Any, None], seconds: float
) -> tuple[BaseException | None, asyncio.CancelledError | None]:
    """Do the same, and return the cancellation too that came meanwhile.

    From a cancellation of asyncio nothing can be shielded in the task that it hits, only in another one.
    """
    import asyncio

    task = asyncio.create_task(work)
    cancelled = await _wait(task, seconds)
    if not task.done():
        task.cancel()
        cancelled = await _wait(task, _TO_GIVE_UP) or cancelled
    elif not task.cancelled():
        return task.exception(), cancelled
    return TimeoutError(f"it was given up after {seconds:g} seconds"), cancelled


async def _wait(task: asyncio.Task[None], seconds: float) -> asyncio.CancelledError | None:
    """Wait for a task; return the last cancellation that came meanwhile."""
    import asyncio

    import anyio

    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    cancelled = None
    with anyio.CancelScope(shield=True):  # AnyIO repeats its cancellations in every cycle of the loop
        while not task.done() and (left := deadline - loop.time()) > 0:
            try:
                await asyncio.wait({task}, timeout=left)
            except asyncio.CancelledError as exc:
                cancelled = exc
    return cancelled


def _in_asyncio_task() -> bool:
    asyncio = sys.modules.get("asyncio")
    try:  # as a guest of asyncio, trio has a loop but no task
        return asyncio is not None and asyncio.current_task() is not None
    except RuntimeError:
        return False
