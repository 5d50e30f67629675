"""Quart: `hypercorn quart_app:app`."""

from __future__ import annotations

from quart import Quart

from asgi_infra import InfraMiddleware, get_request_id, publish_routes

app = Quart(__name__)


@app.get("/items/<int:id>")
async def show_item(id: int) -> dict[str, int | str | None]:  # noqa: A002 - the name in the path
    return {"id": id, "request_id": get_request_id()}


publish_routes(app)  # Quart tells nobody which route it has chosen; this makes it
app.asgi_app = InfraMiddleware(app.asgi_app, service="shop")  # type: ignore[method-assign]
