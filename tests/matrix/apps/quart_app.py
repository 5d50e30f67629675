from __future__ import annotations

import asyncio
from typing import Any

from quart import Blueprint, Quart, request, websocket

app = Quart(__name__)
blueprint = Blueprint("nested", __name__, url_prefix="/t/<tenant>")


@app.get("/items/<int:item_id>")
async def item(item_id: int) -> dict[str, int]:
    return {"id": item_id}


@app.post("/echo")
async def echo() -> bytes:
    return await request.get_data()


@app.get("/boom")
async def boom() -> str:
    raise LookupError("broken on purpose")


@app.get("/stream")
async def stream() -> Any:
    async def chunks() -> Any:
        yield b"first"
        await asyncio.sleep(0.05)
        raise LookupError("broken on purpose, in mid-stream")

    return chunks()


@app.get("/slow")
async def slow() -> Any:
    async def chunks() -> Any:
        for _ in range(40):
            yield b"tick"
            await asyncio.sleep(0.05)

    return chunks()


@app.websocket("/ws")
async def socket() -> None:
    await websocket.send(await websocket.receive())
    await websocket.close(4001)


@blueprint.get("/x/<y>")
async def nested(tenant: str, y: str) -> str:
    return "nested"


app.register_blueprint(blueprint)
