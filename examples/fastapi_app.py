"""FastAPI: `fastapi run fastapi_app.py`, or `uvicorn fastapi_app:app --no-access-log`."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.routing import Route

from asgi_infra import get_request_id, install, metrics_app

router = APIRouter(prefix="/v1")


@router.get("/items/{id}")
async def show_item(id: int) -> dict[str, int | str | None]:  # noqa: A002 - the name in the path
    return {"id": id, "request_id": get_request_id()}


app = FastAPI(title="Shop")
app.include_router(router)
app.routes.append(Route("/metrics", metrics_app()))

# Outermost, so that errors carry the id too, and `app` stays a FastAPI object. `app.add_middleware(InfraMiddleware,
# service="shop")` works as well, and sees all but the responses that are made for unhandled exceptions.
install(app, service="shop", exclude=["/metrics"])
