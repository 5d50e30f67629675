"""A small application for the tests with real servers; it sets logging up as the variables of the test say."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

from asgi_infra.logs import configure_logging, flush_logging

if os.environ.get("LOG_APP_LATE") != "1":
    configure_logging("INFO", queue=os.environ.get("LOG_APP_QUEUE", "auto"))

logger = logging.getLogger("shop")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    logger.info("handled %s", scope["path"])
    if scope["path"] == "/fail":
        raise ValueError("no login with password=hunter2")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def lifespan(receive, send):
    with suppress(StopAsyncIteration):
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup" and os.environ.get("LOG_APP_LATE") == "1":
                configure_logging("INFO", queue=os.environ.get("LOG_APP_QUEUE", "auto"))
            if message["type"] == "lifespan.shutdown":
                logger.info("goodbye")
                await flush_logging(last=True)
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
