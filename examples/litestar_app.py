"""Litestar: `uvicorn litestar_app:app --no-access-log`."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, asgi, get

from asgi_infra import get_request_id, install, metrics_app


@get("/items/{id:int}")
async def show_item(request: Request[Any, Any, Any]) -> dict[str, int | str | None]:
    return {"id": request.path_params["id"], "request_id": get_request_id()}


app = Litestar(route_handlers=[show_item, asgi("/metrics", copy_scope=True)(metrics_app())], openapi_config=None)

# Outermost, so that 404, 405 and errors are seen too. `middleware=[DefineMiddleware(InfraMiddleware, service="shop")]`
# works as well, and sees what Litestar's router has found a handler for.
install(app, service="shop", exclude=["/metrics"])
