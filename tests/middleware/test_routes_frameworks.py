"""The whole templates of FastAPI and Litestar."""

from __future__ import annotations

import fastapi.routing
import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, asgi, get, websocket_listener
from litestar import Request as LitestarRequest
from litestar import Router as LitestarRouter
from routing import answer, close, drive, foreign, http_scope, route_of, websocket_scope
from starlette.applications import Starlette
from starlette.routing import Mount, Route


def fastapi_app() -> FastAPI:
    async def read() -> str:
        return "ok"

    leaf = APIRouter(prefix="/inc")
    leaf.add_api_route("/deep/{q}", read)
    leaf.add_route("/inc/plain/{p}", answer)
    leaf.add_websocket_route("/inc/ws/{w}", close)
    sub = FastAPI()
    sub.add_api_route("/s/{k}", read)
    sub.include_router(leaf, prefix="/v2")
    leaf.mount("/inc/files/{area}", Starlette(routes=[Route("/f/{name}", answer)]))
    leaf.mount("/inc/again", sub)
    app = FastAPI()
    app.add_api_route("/items/{id:int}", read)
    app.include_router(leaf, prefix="/v1/r/{tenant}")
    app.include_router(leaf, prefix="/v1b")
    app.mount("/sub/{s}", sub)
    app.mount("/other", sub)
    return app


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/items/7", "/items/{id}"),
        ("/docs", "/docs"),
        ("/openapi.json", "/openapi.json"),
        ("/v1/r/acme/inc/deep/5", "/v1/r/{tenant}/inc/deep/{q}"),
        ("/v1b/inc/deep/5", "/v1b/inc/deep/{q}"),
        ("/v1/r/acme/inc/plain/5", "/v1/r/{tenant}/inc/plain/{p}"),
        ("/v1/r/acme/inc/files/eu/f/x", "/v1/r/{tenant}/inc/files/{area}/f/{name}"),
        ("/v1b/inc/files/eu/f/x", "/v1b/inc/files/{area}/f/{name}"),
        ("/v1b/inc/again/s/5", "/v1b/inc/again/s/{k}"),
        ("/sub/9/s/5", "/sub/{s}/s/{k}"),
        ("/sub/s/s/s", "/sub/{s}/s/{k}"),
        ("/other/s/5", "/other/s/{k}"),
        ("/sub/9/docs", "/sub/{s}/docs"),
        ("/sub/9/v2/inc/deep/5", "/sub/{s}/v2/inc/deep/{q}"),
        ("/other/v2/inc/plain/5", "/other/v2/inc/plain/{p}"),
    ],
)
@pytest.mark.parametrize("root_path", ["", "/proxy"])
def test_fastapi_gives_the_whole_template(path, expected, root_path):
    if ("/files/" in path or "/again/" in path) and not hasattr(fastapi.routing, "iter_route_contexts"):
        pytest.skip("this FastAPI does not include the mounts of a router")
    app = fastapi_app()
    assert drive(app, http_scope(root_path + path, root_path=root_path)) == (expected, 200)


def test_fastapi_behind_a_proxy_that_strips_its_prefix():
    app = fastapi_app()
    assert route_of(app, "/items/7", root_path="/proxy") == "/items/{id}"
    assert route_of(app, "/v1/r/acme/inc/deep/5", root_path="/proxy") == "/v1/r/{tenant}/inc/deep/{q}"


def test_fastapi_says_which_route_refused_a_method_and_nothing_of_a_404():
    app = fastapi_app()
    assert drive(app, http_scope("/v1b/inc/deep/5", method="POST")) == ("/v1b/inc/deep/{q}", 405)
    assert drive(app, http_scope("/sub/9/s/5", method="POST")) == ("/sub/{s}/s/{k}", 405)
    for path in ("/none", "/v1b/inc/none", "/sub/9/none", "/v1b/inc/files/eu/none", "/v1b/inc/again/none"):
        assert drive(app, http_scope(path)) == (None, 404)


def test_fastapi_websockets_in_included_routers():
    app = fastapi_app()
    assert drive(app, websocket_scope("/v1b/inc/ws/1"))[0] == "/v1b/inc/ws/{w}"
    assert drive(app, websocket_scope("/sub/9/v2/inc/ws/1"))[0] == "/sub/{s}/v2/inc/ws/{w}"


def test_fastapi_with_its_own_root_path_and_below_starlette():
    app = FastAPI(root_path_in_servers=False)

    @app.get("/x/{y}")
    async def read(y: str) -> str:
        return y

    app.root_path = "/prefix"
    assert route_of(app, "/prefix/x/1") == "/x/{y}"
    app.root_path = ""
    outer = Starlette(routes=[Mount("/m/{z}", app=app)])
    assert drive(outer, http_scope("/m/1/x/1")) == ("/m/{z}/x/{y}", 200)
    assert drive(outer, http_scope("/m/1/docs")) == ("/m/{z}/docs", 200)
    assert drive(outer, http_scope("/m/1/none")) == (None, 404)


def litestar_app() -> Litestar:
    @get("/items/{item_id:int}")
    async def item(request: LitestarRequest) -> str:
        return "ok"

    @get("/")
    async def root() -> str:
        return "ok"

    @websocket_listener("/ws/{room:str}")
    async def room(data: str) -> str:
        return data

    inner = asgi("/inner", is_mount=True, copy_scope=False)(Starlette(routes=[Route("/x/{y}/", answer)]))
    mounted = asgi("/foreign", is_mount=True, copy_scope=False)(foreign)
    v1 = LitestarRouter("/v1/{tenant:str}", route_handlers=[item, room])
    return Litestar([root, v1, inner, mounted], openapi_config=None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ("/", 200)),
        ("/v1/acme/items/7", ("/v1/{tenant}/items/{item_id}", 200)),
        ("/foreign/a/b", ("/foreign/{path}", 200)),
        ("/inner/x/1/", ("/inner/x/{y}/", 200)),
        ("/inner/none/", (None, 404)),
        ("/none", (None, 404)),
    ],
)
def test_litestar_gives_the_whole_template(path, expected):
    route, status = drive(litestar_app(), http_scope(path))
    assert (route, 200 if status == 307 else status) == expected


def test_litestar_below_starlette_and_behind_a_proxy():
    outer = Starlette(routes=[Mount("/l/{z}", app=litestar_app())])
    assert route_of(outer, "/l/1/v1/acme/items/7") == "/l/{z}/v1/{tenant}/items/{item_id}"
    assert route_of(outer, "/l/1/none") is None
    assert route_of(litestar_app(), "/api/v1/acme/items/7", root_path="/api") == "/v1/{tenant}/items/{item_id}"
    assert drive(litestar_app(), websocket_scope("/v1/acme/ws/lobby"))[0] == "/v1/{tenant}/ws/{room}"
