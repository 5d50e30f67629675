"""What the tests of single features share: applications of a few lines, and a server in process."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn

from asgi_infra.middleware.engine import Observer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

HEADER = b"x-request-id"
SECONDS = 30.0


def http(**changes: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/items/7",
        "query_string": b"",
        "headers": [(b"host", b"shop.example.org")],
        "client": ("192.0.2.7", 52011),
        "scheme": "http",
    }
    return scope | changes


def websocket(**changes: Any) -> dict[str, Any]:
    return http(type="websocket", scheme="ws", path="/live", **changes)


def answer(status: int = 200, headers: Any = (), body: bytes = b"done") -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["path_template"] = "/items/{id}"
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return app


async def exchange(app: Any, scope: Any = None, received: Any = ({"type": "http.request"},)) -> list[Any]:
    """Run one exchange; return what the server was sent."""
    sent: list[Any] = []
    messages = iter(received)

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await app(http() if scope is None else scope, receive, send)
    return sent


def drive(app: Any, scope: Any = None, received: Any = ({"type": "http.request"},)) -> list[Any]:
    """Run one exchange in an event loop of its own."""
    return anyio.run(exchange, app, scope, received)


def echoed(sent: list[Any], name: bytes = HEADER) -> list[bytes]:
    """Return the values of a response header."""
    return [value for key, value in sent[0].get("headers", ()) if key == name]


class Lines(BytesIO):
    """A stream that knows its lines as JSON."""

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def one(self) -> dict[str, Any]:
        (line,) = self.all
        return line


class Seen(Observer):
    """Keeps what an exchange was at its end."""

    feature = "seen"

    def __init__(self) -> None:
        self.exchanges: list[Any] = []

    def end(self, exchange: Any) -> None:
        self.exchanges.append(exchange)


@contextmanager
def served(app: Callable[[Any, Any, Any], Awaitable[None]], **options: Any) -> Iterator[int]:
    """Serve an application with uvicorn, in a thread; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", ws="none", **{"log_config": None, **options})
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + SECONDS
        while not server.started:
            assert thread.is_alive(), "the server has stopped"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.005)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        listener.close()
