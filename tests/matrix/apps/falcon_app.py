from __future__ import annotations

import asyncio
from typing import Any

import falcon.asgi


class Item:
    async def on_get(self, req: Any, resp: Any, item_id: int) -> None:
        resp.media = {"id": item_id}

    on_head = on_get


class Echo:
    async def on_post(self, req: Any, resp: Any) -> None:
        resp.data = await req.stream.read()


class Boom:
    async def on_get(self, req: Any, resp: Any) -> None:
        raise LookupError("broken on purpose")


class Stream:
    async def on_get(self, req: Any, resp: Any) -> None:
        async def chunks() -> Any:
            yield b"first"
            await asyncio.sleep(0.05)
            raise LookupError("broken on purpose, in mid-stream")

        resp.stream = chunks()


class Slow:
    async def on_get(self, req: Any, resp: Any) -> None:
        async def chunks() -> Any:
            for _ in range(20):
                yield b"tick"
                await asyncio.sleep(0.05)

        resp.stream = chunks()


class Socket:
    async def on_websocket(self, req: Any, ws: Any) -> None:
        await ws.accept()
        await ws.send_text(await ws.receive_text())
        await ws.close(4001)


class Nested:
    async def on_get(self, req: Any, resp: Any, tenant: str, y: str) -> None:
        resp.text = "nested"


app = falcon.asgi.App()
app.add_route("/items/{item_id:int}", Item())
app.add_route("/echo", Echo())
app.add_route("/boom", Boom())
app.add_route("/stream", Stream())
app.add_route("/slow", Slow())
app.add_route("/ws", Socket())
app.add_route("/t/{tenant}/x/{y}", Nested())
