import asyncio
from typing import Any

from blacksheep import Application, Content, Request, Response, Router, StreamedContent, WebSocket, json, text

router = Router()
app = Application(router=router)


@router.get("/items/{item_id}")
@router.head("/items/{item_id}")
async def item(item_id: int) -> Response:
    return json({"id": item_id})


@router.post("/echo")
async def echo(request: Request) -> Response:
    return Response(200, content=Content(b"text/plain", await request.read() or b""))


@router.get("/boom")
async def boom() -> Response:
    raise LookupError("broken on purpose")


@router.get("/stream")
async def stream() -> Response:
    async def chunks() -> Any:
        yield b"first"
        await asyncio.sleep(0.05)
        raise LookupError("broken on purpose, in mid-stream")

    return Response(200, content=StreamedContent(b"text/plain", chunks))


@router.get("/slow")
async def slow() -> Response:
    async def chunks() -> Any:
        for _ in range(20):
            yield b"tick"
            await asyncio.sleep(0.05)

    return Response(200, content=StreamedContent(b"text/plain", chunks))


@router.ws("/ws")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close(4001)


@router.get("/t/{tenant}/x/{y}")
async def nested(tenant: str, y: str) -> Response:
    return text("nested")
