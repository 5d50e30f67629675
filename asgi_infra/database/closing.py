"""Connections to PostgreSQL that take their running statement with them when they are given up."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any


def closing_connection(closing: set[asyncio.Task[object]]) -> type[Any]:
    """Make a class of connections that end well although they are terminated.

    When a statement is cancelled, the driver asks the server, on a connection of its own, to cancel it, and SQLAlchemy
    then closes the connection. If the task is cancelled again meanwhile, as AnyIO does in every cycle of the loop,
    SQLAlchemy terminates it at once, and with it the driver's request: the server, which listens to nobody while it
    executes, would go on to the end of the statement, locks and all. Here the close that has begun goes on in
    its own task, by SQLAlchemy for two seconds at most.

    Args:
        closing: Where the tasks are kept that close connections.
    """

    driver_connection: Any = import_module("asyncpg").Connection

    class ClosingConnection(driver_connection):  # type: ignore[misc]
        _is_closing = False

        async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's signature
            task = asyncio.current_task()
            self._is_closing = True
            if task is not None:
                closing.add(task)
            try:
                await super().close(timeout=timeout)
            finally:
                self._is_closing = False
                if task is not None:
                    closing.discard(task)

        def terminate(self) -> None:
            if not self._is_closing or self._loop.is_closed():
                super().terminate()

    return ClosingConnection
