"""What has to go out before a server ends its process.

On SIGTERM servers end without running `atexit` handlers, right after they have been told that the application has shut
down. Telemetry and logging therefore leave here what flushes them, and the middleware runs it at the last moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING

from asgi_infra import faults

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgi_infra.types import Message, Send

_LAST_MESSAGES = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")

_lock = Lock()
_flushes: list[Callable[[], Awaitable[object]]] = []


def at_shutdown(flush: Callable[[], Awaitable[object]]) -> None:
    """Have a function awaited when the application has shut down; the same function counts once.

    Args:
        flush: Must end within a time of its own, since the server waits for it. What it raises is a fault.
    """
    with _lock:
        if flush not in _flushes:
            _flushes.append(flush)


async def flush_all() -> None:
    """Await everything that was left with `at_shutdown`, in that order."""
    for flush in tuple(_flushes):
        try:
            await flush()
        except Exception as exc:  # noqa: BLE001
            faults.record("shutdown.flush", exc)


def flushing_send(send: Send) -> Send:
    """Return a `send` for a `lifespan` scope that flushes before the server hears of the end of the shutdown.

    What the application did in its own shutdown is flushed too. Both outermost middlewares of this package and
    applications without one can use it.

    Example:
        >>> async def application(scope, receive, send):
        ...     if scope["type"] == "lifespan":
        ...         send = flushing_send(send)
        ...     await wrapped(scope, receive, send)
    """

    async def flush_then_send(message: Message) -> None:
        if isinstance(message, Mapping) and message.get("type") in _LAST_MESSAGES:
            await flush_all()
        await send(message)

    return flush_then_send
