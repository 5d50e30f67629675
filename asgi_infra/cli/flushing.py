"""Exporting what is left when the server shuts down: on SIGTERM, servers end without running `atexit` handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.shutdown import flush_all

if TYPE_CHECKING:
    from asgi_infra.types import ASGIApp, Message, Receive, Scope, Send

_ENDS = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


class FlushAtEnd:
    """The application, whose lifespan ends once telemetry has been exported.

    An application that knows no lifespan, which by the ASGI specification raises or returns without an answer, gets
    one here.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        asked = answered = False

        async def note_and_receive() -> Message:
            nonlocal asked
            message: Message = await receive()
            asked = True
            return message

        async def flush_and_send(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] in _ENDS:
                await flush_all()
            await send(message)

        try:
            await self.app(scope, note_and_receive, flush_and_send)
        except Exception:
            if answered:
                raise
        if not answered:
            if not asked:
                await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await flush_and_send({"type": "lifespan.shutdown.complete"})
