"""Falcon: `uvicorn falcon_app:app --no-access-log`."""

from __future__ import annotations

import falcon.asgi

from asgi_infra import InfraMiddleware, get_request_id
from asgi_infra.middleware.hooks import FalconRoutes


class Item:
    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, id: int) -> None:  # noqa: A002
        response.media = {"id": id, "request_id": get_request_id()}


shop = falcon.asgi.App(middleware=[FalconRoutes()])  # tells which route Falcon has chosen
shop.add_route("/items/{id:int}", Item())

app = InfraMiddleware(shop, service="shop")
