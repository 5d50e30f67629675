from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute


async def item(request: Any) -> JSONResponse:
    return JSONResponse({"id": request.path_params["item_id"]})


async def echo(request: Any) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


async def boom(request: Any) -> None:
    raise LookupError("broken on purpose")


async def stream(request: Any) -> StreamingResponse:
    async def chunks() -> Any:
        yield b"first"
        await asyncio.sleep(0.05)
        raise LookupError("broken on purpose, in mid-stream")

    return StreamingResponse(chunks())


async def slow(request: Any) -> StreamingResponse:
    async def chunks() -> Any:
        for _ in range(40):
            yield b"tick"
            await asyncio.sleep(0.05)

    return StreamingResponse(chunks())


async def nested(request: Any) -> PlainTextResponse:
    return PlainTextResponse("nested")


async def websocket(socket: Any) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close(code=4001)


app = Starlette(
    routes=[
        Route("/items/{item_id:int}", item),
        Route("/echo", echo, methods=["POST"]),
        Route("/boom", boom),
        Route("/stream", stream),
        Route("/slow", slow),
        WebSocketRoute("/ws", websocket),
        Mount("/t/{tenant}", routes=[Route("/x/{y}", nested)]),
    ]
)
