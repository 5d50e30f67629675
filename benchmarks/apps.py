"""The applications that are measured, and the requests that they get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.middleware import Middleware
    from starlette.requests import Request

TEMPLATE = "/items/{id}"
PATH = "/items/7"
EXCLUDED_PATH = "/health"
BODY = b'{"id":"7","name":"lamp"}'

HEADERS = [
    (b"host", b"shop.example.org"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json, text/plain, */*"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"referer", b"https://shop.example.org/items"),
    (b"cookie", b"theme=dark; basket=3"),
    (b"connection", b"keep-alive"),
]
"""What a browser sends; half of the requests also bring the ids of a caller, see `scopes`."""

REQUEST_ID = b"6f1c2a9be0d84c7f9a53c8f8a1b2c3d4"
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


def scopes(path: str = PATH, *, sampled: bool = True) -> list[dict[str, Any]]:
    """Return two requests: one from outside, and one from a caller that sends its request id and its trace."""
    flag = b"01" if sampled else b"00"
    called = [*HEADERS, (b"x-request-id", REQUEST_ID), (b"traceparent", TRACE + flag)]
    return [_scope(path, HEADERS), _scope(path, called)]


def _scope(path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.7", 52011),
        "server": ("192.0.2.1", 8000),
    }


async def item(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.path_params["id"], "name": "lamp"})


_ROUTE = Route(TEMPLATE, item)


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """Answer with two messages, and publish the route as Starlette does."""
    scope["route"] = _ROUTE
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"24")],
        }
    )
    await send({"type": "http.response.body", "body": BODY})


ECHOES = 10


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what a WebSocket's client sends."""
    scope["route"] = _ROUTE
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message["text"]})


def websocket_scope() -> dict[str, Any]:
    scope = _scope(PATH, HEADERS)
    del scope["method"]
    return {**scope, "type": "websocket", "scheme": "ws", "subprotocols": []}


def starlette(layers: Sequence[Middleware] = (), *, routes: int = 1) -> Starlette:
    """Return an application of so many routes, of which the last one is `TEMPLATE`."""
    others = [Route(f"/shelf{number}/{{id}}", item) for number in range(routes - 1)]
    return Starlette(routes=[*others, Route(TEMPLATE, item)], middleware=list(layers))
