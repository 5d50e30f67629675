"""Spans, metrics and log lines that are left when the server shuts down: on SIGTERM, no `atexit` handler runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.shutdown import flushing_send

if TYPE_CHECKING:
    from asgi_infra.types import ASGIApp, Message, Receive, Scope, Send


class FlushAtEnd:
    """The application, whose lifespan ends once telemetry has been exported and log lines are written.

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
        flush_and_send = flushing_send(send)
        asked = answered = False

        async def note_and_receive() -> Message:
            nonlocal asked
            message: Message = await receive()
            asked = True
            return message

        async def note_and_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await flush_and_send(message)

        try:
            await self.app(scope, note_and_receive, note_and_send)
        except Exception:
            if answered:
                raise
        if not answered:
            if not asked:
                await receive()
            await flush_and_send({"type": "lifespan.startup.complete"})
            await receive()
            await flush_and_send({"type": "lifespan.shutdown.complete"})
