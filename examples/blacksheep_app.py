"""BlackSheep: `uvicorn blacksheep_app:app --no-access-log`."""

from __future__ import annotations

from blacksheep import Application, Response, json

from asgi_infra import InfraMiddleware, get_request_id, publish_routes

shop = Application()


@shop.router.get("/items/{int:id}")
async def show_item(id: int) -> Response:  # noqa: A002 - the name in the path
    return json({"id": id, "request_id": get_request_id()})


publish_routes(shop)  # BlackSheep tells nobody which route it has chosen; this makes it
app = InfraMiddleware(shop, service="shop")
