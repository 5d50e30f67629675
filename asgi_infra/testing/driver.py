"""Drive an ASGI application in-process: scripted messages in, recorded messages out, without a server or a socket.

Unlike an HTTP client, the driver shows the messages themselves, in the order in which they passed, and it can do what
few clients can: break off in the middle, send what no server would, fail in `send`.

Example:
    >>> driven = run(app, http_scope("POST", "/items"), [{"type": "http.request", "body": b"lamp"}])
    >>> driven.status, driven.body
    (201, b'lamp')
"""

from __future__ import annotations

from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asgi_infra.types import ASGIApp, Message, Scope

TIMEOUT = 10.0
"""Seconds after which an application that does not return is given up, by default."""


@dataclass(slots=True)
class Driven:
    """What passed between an application and the driver."""

    scope: Scope
    """The scope as the application has left it."""
    received: list[Message] = field(default_factory=list)
    """What the application received, in order: the scripted messages, and the disconnect after them."""
    sent: list[Message] = field(default_factory=list)
    """What the application sent, in order; the very objects."""
    error: Exception | None = None
    """What the application raised."""

    @property
    def status(self) -> int | None:
        """The status of the response, `None` when no head was sent."""
        return self._head().get("status")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the response, or of the acceptance of a WebSocket."""
        return [(bytes(name), bytes(value)) for name, value in self._head().get("headers") or ()]

    @property
    def body(self) -> bytes:
        """The body of the response."""
        return b"".join(
            message.get("body") or b"" for message in self.sent if message["type"].endswith("response.body")
        )

    def header(self, name: bytes) -> list[bytes]:
        """Return the values of a header, whose name is in lower case."""
        return [value for key, value in self.headers if key.lower() == name]

    def _head(self) -> Message:
        heads = ("http.response.start", "websocket.accept", "websocket.http.response.start")
        return next((message for message in self.sent if message["type"] in heads), {})


def http_scope(method: str = "GET", path: str = "/", **changes: Any) -> dict[str, Any]:
    """Return the scope of an HTTP request, as a server would make it.

    Args:
        method: The method.
        path: The path, without a query.
        **changes: Other keys of the scope, such as `headers`, `query_string`, `root_path` or `extensions`.
    """
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"shop.example.org")],
        "client": ("192.0.2.7", 50000),
        "server": ("192.0.2.1", 80),
        "state": {},
        **changes,
    }


def websocket_scope(path: str = "/", **changes: Any) -> dict[str, Any]:
    """Return the scope of a WebSocket connection; the arguments are those of `http_scope`."""
    scope = http_scope(path=path, type="websocket", scheme="ws", subprotocols=[])
    del scope["method"]
    return {**scope, **changes}


async def drive(
    app: ASGIApp,
    scope: Scope | None = None,
    messages: Iterable[Message] | None = None,
    *,
    on_send: Callable[[Message], None] | None = None,
    timeout: float = TIMEOUT,  # noqa: ASYNC109
) -> Driven:
    """Run an application once, in a task with a fresh `contextvars.Context`, on asyncio or trio.

    Args:
        app: The ASGI application.
        scope: The scope, `http_scope()` by default; the application gets this very object.
        messages: What the application receives, one after the other; by default an empty request body, for a
            WebSocket `websocket.connect`, for a lifespan its start and its shutdown. When all have been received and
            the application has sent its last message, it receives the disconnect, as it would from a server.
        on_send: Called with each message that the application sends; what it raises is raised in the application,
            such as an `OSError` for a client that has gone.
        timeout: Seconds after which the application is cancelled.

    Returns:
        What passed. What the application raised is in its `error`, and not raised here.

    Raises:
        TimeoutError: The application has not returned in time.
    """
    driven = Driven(http_scope() if scope is None else scope)
    kind = driven.scope["type"]
    if messages is None:
        messages = [message.copy() for message in _OPENINGS[kind]]
    script = iter(messages)
    over = anyio.Event()
    trailers = False

    async def receive() -> Message:
        message = next(script, None)
        if message is None:
            await over.wait()
            message = (
                {"type": "websocket.disconnect", "code": 1005} if kind == "websocket" else {"type": "http.disconnect"}
            )
        driven.received.append(message)
        return message

    async def send(message: Message) -> None:
        nonlocal trailers
        driven.sent.append(message)
        if on_send is not None:
            on_send(message)
        trailers = trailers or bool(message.get("trailers"))
        if _is_last(message, trailers=trailers):
            over.set()

    async def call() -> None:
        try:
            await app(driven.scope, receive, send)
        except Exception as exc:  # noqa: BLE001
            driven.error = exc

    with anyio.fail_after(timeout):
        async with anyio.create_task_group() as tasks:
            Context().run(tasks.start_soon, call)
    return driven


def run(
    app: ASGIApp,
    scope: Scope | None = None,
    messages: Iterable[Message] | None = None,
    *,
    on_send: Callable[[Message], None] | None = None,
    timeout: float = TIMEOUT,
    backend: str = "asyncio",
) -> Driven:
    """Run an application once, in an event loop of its own; for tests that are not asynchronous.

    Args:
        app: As for `drive`, like all others.
        scope: The scope.
        messages: What the application receives.
        on_send: Called with each message that the application sends.
        timeout: Seconds after which the application is cancelled.
        backend: `"asyncio"` or `"trio"`.
    """

    async def main() -> Driven:
        return await drive(app, scope, messages, on_send=on_send, timeout=timeout)

    return anyio.run(main, backend=backend)


_OPENINGS: dict[str, list[dict[str, Any]]] = {
    "http": [{"type": "http.request", "body": b"", "more_body": False}],
    "websocket": [{"type": "websocket.connect"}],
    "lifespan": [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}],
}


def _is_last(message: Message, *, trailers: bool) -> bool:
    kind = message["type"]
    if kind == "websocket.close":
        return True
    if kind == "http.response.trailers":
        return not message.get("more_trailers")
    if kind == "websocket.http.response.body":
        return not message.get("more_body")
    ends = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")
    return kind in ends and not message.get("more_body") and not trailers
