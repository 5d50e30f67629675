"""Applications with routes, and the route of one exchange with them."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse

from asgi_infra.middleware.routes import resolve


class Wrapped:
    """A plain wrapper that asks for the route when the application has returned, as the engine does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.route: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        root_path = scope.get("root_path", "")
        try:
            await self.app(scope, receive, send)
        finally:
            self.route = resolve(scope, root_path)


def http_scope(path: str, method: str = "GET", root_path: str = "", host: str = "example.org") -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": root_path,
        "headers": [(b"host", host.encode())],
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        "state": {},
    }


def websocket_scope(path: str) -> dict[str, Any]:
    scope = http_scope(path) | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]
    return scope


def drive(app: Any, scope: dict[str, Any]) -> tuple[str | None, int | None]:
    """Return the route that was resolved, and the status of the response."""
    wrapped = Wrapped(app)
    status: list[int] = []
    kind = scope["type"]
    incoming = [
        {"type": "http.request", "body": b"", "more_body": False} if kind == "http" else {"type": "websocket.connect"},
        {"type": f"{kind}.disconnect"},
    ]

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": f"{kind}.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    asyncio.run(wrapped(scope, receive, send))
    return wrapped.route, status[0] if status else None


def route_of(app: Any, path: str, **options: Any) -> str | None:
    return drive(app, http_scope(path, **options))[0]


async def answer(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


class Page(HTTPEndpoint):
    async def get(self, request: Any) -> PlainTextResponse:
        return PlainTextResponse("page")


async def close(websocket: Any) -> None:
    await websocket.accept()
    await websocket.close()


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """An application that publishes nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def publishing(scope: Any, receive: Any, send: Any) -> None:
    """An application that sets the documented key."""
    scope["path_template"] = "/mine/<int:id>"
    await foreign(scope, receive, send)
