from __future__ import annotations

import asyncio
from typing import Any

from litestar import Litestar, Request, Router, WebSocket, get, post, route, websocket
from litestar.enums import HttpMethod
from litestar.response import Response, Stream


@route("/items/{item_id:int}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def item(request: Request) -> Response[str]:
    return Response("" if request.method == "HEAD" else str(request.path_params["item_id"]), media_type="text/plain")


@post("/echo", status_code=200)
async def echo(request: Request) -> bytes:
    return await request.body()


@get("/boom")
async def boom() -> None:
    raise LookupError("broken on purpose")


@get("/stream")
async def stream() -> Stream:
    async def chunks() -> Any:
        yield b"first"
        await asyncio.sleep(0.05)
        raise LookupError("broken on purpose, in mid-stream")

    return Stream(chunks())


@get("/slow")
async def slow() -> Stream:
    async def chunks() -> Any:
        for _ in range(40):
            yield b"tick"
            await asyncio.sleep(0.05)

    return Stream(chunks())


@websocket("/ws")
async def echo_socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close(code=4001)


@get("/x/{y:str}")
async def nested() -> str:
    return "nested"


app = Litestar(
    [item, echo, boom, stream, slow, echo_socket, Router("/t/{tenant:str}", route_handlers=[nested])],
    openapi_config=None,
)
