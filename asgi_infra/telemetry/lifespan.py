"""Flushing when a server shuts an application down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .provider import flush_telemetry

if TYPE_CHECKING:
    from asgi_infra.types import Message, Send

_LAST_MESSAGES = {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}


def flushing_send(send: Send, *, timeout: float = 5.0) -> Send:
    """Return a `send` for a `lifespan` scope that flushes telemetry before the server hears of the shutdown.

    Everything that the application did in its own shutdown is exported, too. Servers wait for that message, and on
    SIGTERM end their process right after it, without running `atexit` handlers.

    Args:
        send: The server's `send`.
        timeout: Seconds that the shutdown waits for telemetry at most.

    Example:
        >>> async def application(scope, receive, send):
        ...     if scope["type"] == "lifespan":
        ...         send = flushing_send(send)
        ...     await wrapped(scope, receive, send)
    """

    async def flush_then_send(message: Message) -> None:
        if message["type"] in _LAST_MESSAGES:
            await flush_telemetry(timeout)
        await send(message)

    return flush_then_send
