from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse

app = FastAPI()


@app.get("/items/{item_id}")
@app.head("/items/{item_id}")
async def item(item_id: int) -> dict[str, int]:
    return {"id": item_id}


@app.post("/echo")
async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


@app.get("/boom")
async def boom() -> None:
    raise LookupError("broken on purpose")


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> Any:
        yield b"first"
        await asyncio.sleep(0.05)
        raise LookupError("broken on purpose, in mid-stream")

    return StreamingResponse(chunks())


@app.get("/slow")
async def slow() -> StreamingResponse:
    async def chunks() -> Any:
        for _ in range(40):
            yield b"tick"
            await asyncio.sleep(0.05)

    return StreamingResponse(chunks())


@app.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close(code=4001)


router = APIRouter(prefix="/x")


@router.get("/{y}")
async def nested(tenant: str, y: str) -> str:
    return "nested"


app.include_router(router, prefix="/t/{tenant}")
