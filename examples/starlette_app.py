"""Starlette: `uvicorn starlette_app:app --no-access-log`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from asgi_infra import get_request_id, install, metrics_app

if TYPE_CHECKING:
    from starlette.requests import Request


async def show_item(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.path_params["id"], "request_id": get_request_id()})


app = Starlette(routes=[Route("/items/{id:int}", show_item), Route("/metrics", metrics_app())])

# Outermost, so that errors carry the id too. `app.add_middleware(InfraMiddleware, service="shop")` works as well, and
# sees all but the responses that Starlette makes for unhandled exceptions.
install(app, service="shop", exclude=["/metrics"])
