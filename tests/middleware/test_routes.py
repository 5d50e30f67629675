"""The template of the route, as each framework leaves it."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import fastapi.routing
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import example, given
from hypothesis import strategies as st
from litestar import Litestar, asgi, get, websocket_listener
from litestar import Request as LitestarRequest
from litestar import Router as LitestarRouter
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from asgi_infra.middleware import routes
from asgi_infra.middleware.routes import normalise, resolve


class Wrapped:
    """A plain wrapper that asks for the route when the application has returned, as the engine does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.route: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        root_path = scope.get("root_path", "")
        try:
            await self.app(scope, receive, send)
        finally:
            self.route = resolve(scope, root_path)


def http_scope(path: str, method: str = "GET", root_path: str = "", host: str = "example.org") -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": root_path,
        "headers": [(b"host", host.encode())],
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        "state": {},
    }


def websocket_scope(path: str) -> dict[str, Any]:
    scope = http_scope(path) | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]
    return scope


def drive(app: Any, scope: dict[str, Any]) -> tuple[str | None, int | None]:
    """Return the route that was resolved, and the status of the response."""
    wrapped = Wrapped(app)
    status: list[int] = []
    kind = scope["type"]
    incoming = [
        {"type": "http.request", "body": b"", "more_body": False} if kind == "http" else {"type": "websocket.connect"},
        {"type": f"{kind}.disconnect"},
    ]

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": f"{kind}.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    asyncio.run(wrapped(scope, receive, send))
    return wrapped.route, status[0] if status else None


def route_of(app: Any, path: str, **options: Any) -> str | None:
    return drive(app, http_scope(path, **options))[0]


async def answer(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


class Page(HTTPEndpoint):
    async def get(self, request: Any) -> PlainTextResponse:
        return PlainTextResponse("page")


async def close(websocket: Any) -> None:
    await websocket.accept()
    await websocket.close()


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """An application that publishes nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def publishing(scope: Any, receive: Any, send: Any) -> None:
    """An application that sets the documented key."""
    scope["path_template"] = "/mine/<int:id>"
    await foreign(scope, receive, send)


def starlette_app() -> Starlette:
    twice = Router([Route("/leaf/{leaf_id:int}", answer), Route("/", answer)])
    return Starlette(
        routes=[
            Route("/", answer),
            Route("/items/{id:int}", answer),
            Route("/page/{name}", Page),
            WebSocketRoute("/ws/{room}", close),
            Mount("/sub", routes=[Route("/deep/{q}", answer), Mount("/{zone}", routes=[Route("/x", answer)])]),
            Mount("/t/{tenant}", routes=[Route("/x/{y}", answer), WebSocketRoute("/ws", close)]),
            Mount("/one", app=twice),
            Mount("/two/{n}", app=twice),
            Mount("/wrapped", app=GZipMiddleware(Starlette(routes=[Route("/{a}", answer)]))),
            Mount("/static", app=StaticFiles(directory=tempfile.gettempdir())),
            Mount("/foreign/{kind}", app=foreign),
            Mount("/publishing/{kind}", app=publishing),
            Host(
                "api.example.org", app=Router([Route("/h/{id}", answer), Mount("/m/{a}", routes=[Route("/b", answer)])])
            ),
        ]
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/items/7", "/items/{id}"),
        ("/page/home", "/page/{name}"),
        ("/sub/deep/9", "/sub/deep/{q}"),
        ("/sub/east/x", "/sub/{zone}/x"),
        ("/t/acme/x/1", "/t/{tenant}/x/{y}"),
        ("/t/t/x/x", "/t/{tenant}/x/{y}"),
        ("/t/x/x/t", "/t/{tenant}/x/{y}"),
        ("/one/leaf/1", "/one/leaf/{leaf_id}"),
        ("/two/5/leaf/1", "/two/{n}/leaf/{leaf_id}"),
        ("/two/one/", "/two/{n}/"),
        ("/wrapped/1", "/wrapped/{a}"),
        ("/static/none.txt", "/static/{path}"),
        ("/foreign/a/b/c", "/foreign/{kind}/{path}"),
        ("/publishing/a/mine/3", "/publishing/{kind}/mine/{id}"),
    ],
)
@pytest.mark.parametrize("publishes", [True, False], ids=["scope-route", "endpoint-only"])
@pytest.mark.parametrize("root_path", ["", "/proxy", "/t"])
def test_starlette_gives_the_whole_template(path, expected, publishes, root_path):
    app = starlette_app()
    full = root_path + path
    if publishes:
        assert route_of(app, full, root_path=root_path) == expected
        assert route_of(app, full, root_path=root_path) == expected, "the second time, from the cache"
    else:
        assert route_of(Silent(app), full, root_path=root_path) == expected


class Silent:
    """An older Starlette: it leaves the endpoint in the scope, and no route."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            scope.pop("route", None)


@pytest.mark.parametrize(
    "path", ["/none", "/items/seven", "/sub/none", "/t/acme/none", "/t/acme", "/one/none", "/page"]
)
@pytest.mark.parametrize("wrap", [lambda app: app, Silent], ids=["scope-route", "endpoint-only"])
def test_a_404_has_no_route_inside_a_mount_neither(path, wrap):
    assert drive(wrap(starlette_app()), http_scope(path)) in [(None, 404), (None, 307)]


def test_a_405_has_the_route():
    for app in (starlette_app(), Silent(starlette_app())):
        assert drive(app, http_scope("/items/7", method="DELETE")) == ("/items/{id}", 405)
        assert drive(app, http_scope("/t/acme/x/1", method="PUT")) == ("/t/{tenant}/x/{y}", 405)


def test_a_host_adds_nothing_to_the_template():
    app = starlette_app()
    assert route_of(app, "/h/3", host="api.example.org") == "/h/{id}"
    assert route_of(app, "/m/3/b", host="api.example.org") == "/m/{a}/b"
    assert route_of(app, "/h/3", host="www.example.org") is None


def test_websockets_have_routes_too():
    app = starlette_app()
    assert drive(app, websocket_scope("/ws/lobby"))[0] == "/ws/{room}"
    assert drive(app, websocket_scope("/t/acme/ws"))[0] == "/t/{tenant}/ws"
    assert drive(app, websocket_scope("/none"))[0] is None


def test_one_endpoint_on_two_paths_keeps_them_apart_without_a_published_route():
    app = Silent(Starlette(routes=[Route("/a/{x}", answer), Route("/b/{y}", answer)]))
    assert route_of(app, "/a/1") == "/a/{x}"
    assert route_of(app, "/b/1") == "/b/{y}"


def test_a_route_that_is_added_while_running_is_found():
    app = starlette_app()
    inner = next(route for route in app.routes if getattr(route, "path", "") == "/t/{tenant}")
    assert route_of(app, "/t/acme/x/1") == "/t/{tenant}/x/{y}"

    async def late(request: Any) -> PlainTextResponse:
        return PlainTextResponse("late")

    inner.routes.append(Route("/late/{z}", late))
    assert route_of(app, "/t/acme/late/1") == "/t/{tenant}/late/{z}"


def test_an_application_that_is_mounted_in_itself_ends():
    app = Starlette(routes=[Route("/x/{y}", answer)])
    app.mount("/self", app)
    assert route_of(app, "/x/1") == "/x/{y}"
    assert route_of(app, "/self/x/1") in {"/self/x/{y}", "/x/{y}"}


def test_an_inner_wrap_still_knows_the_mounts_above_it():
    inner = Wrapped(Starlette(routes=[Route("/x/{y}", answer)]))
    outer = Starlette(routes=[Mount("/t/{tenant}", app=inner)])
    assert route_of(outer, "/t/acme/x/1") == "/t/{tenant}/x/{y}"
    assert inner.route == "/t/{tenant}/x/{y}"


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


def test_our_key_wins_and_path_template_comes_next():
    scope = http_scope("/x") | {"path_template": "/b/{b}", "route": Route("/c/{c}", answer)}
    assert resolve(scope | {"asgi_infra": {"route": "a/<int:a>"}}, "") == "/a/{a}"
    assert resolve(scope | {"asgi_infra": {"exchange": None}}, "") == "/b/{b}"
    assert resolve(scope | {"path_template": None}, "") == "/c/{c}"
    assert resolve(http_scope("/x"), "") is None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("/items/{id}", "/items/{id}"),
        ("/items/{id:int}", "/items/{id}"),
        ("/items/{id:int(min=1)}/{day:dt('%Y-%m-%d')}", "/items/{id}/{day}"),
        (r"/items/{id:\d{2}}", "/items/{id}"),
        ("/items/<id>", "/items/{id}"),
        ("/items/<int:id>", "/items/{id}"),
        ("/<string(length=2):lang>/<any(a,b):kind>", "/{lang}/{kind}"),
        ("/items/:id", "/items/{id}"),
        ("/items/:id/parts/:part", "/items/{id}/parts/{part}"),
        ("/items/{id}:archive", "/items/{id}:archive"),
        ("/items:batch", "/items:batch"),
        ("items/<int:id>/", "/items/{id}/"),
        ("", "/"),
        ("/", "/"),
        (r"^items/(?P<id>[0-9]+)/$", "/items/{id}/"),
        (r"api/^v1/items/(?P<id>(?:a|b)[()]{2})\.json$", "/api/v1/items/{id}.json"),
        (r"^plain/(\d+)/$", "/plain/{var}/"),
        (r"^(?:en|de)/x/?\Z", "/en|de/x/"),
        (r"^broken/(?P<id>", "/broken/{id}"),
    ],
)
def test_parameters_have_one_spelling(template, expected):
    assert normalise(template) == expected
    assert normalise(expected) == expected


@given(st.text(alphabet="/{}<>()[]:?P^$\\ab1*+", max_size=60))
@example("/" + "(" * 60)
@example("\\")
def test_a_strange_template_is_spelled_somehow_and_always_alike(template):
    once = normalise(template)
    assert once.startswith("/")
    assert normalise(template) == once


class Hostile:
    """Raises whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("key", ["asgi_infra", "path_template", "route", "fastapi", "endpoint", "router", "root_path"])
@pytest.mark.parametrize("kind", [Hostile, int, bytes, str, list, dict, object])
def test_whatever_the_scope_holds_nothing_is_raised_and_the_path_not_told(key, kind):
    app = starlette_app()
    scope = http_scope("/secret") | {"router": app.router, "endpoint": answer, key: kind()}
    assert resolve(scope, "/proxy") in {None, "/"}
    assert resolve(scope | {"fastapi": {"effective_route_context": kind()}}, "/proxy") in {None, "/"}


def test_what_is_remembered_is_bounded():
    for number in range(routes._MAX_TEMPLATES + 10):
        normalise(f"/bounded/{number}")
    assert len(routes._templates) <= routes._MAX_TEMPLATES
    for _ in range(routes._MAX_ROUTERS + 10):
        assert route_of(starlette_app(), "/t/acme/x/1") == "/t/{tenant}/x/{y}"
    assert len(routes._indexes) <= routes._MAX_ROUTERS


def test_endpoints_that_are_new_each_time_are_not_looked_for_for_ever():
    router = Router([Route("/a", answer)])
    for _ in range(routes._MAX_MISSING + 50):
        assert resolve(http_scope("/b") | {"router": router, "endpoint": object()}, "") is None
    assert len(routes._indexes[id(router)]._missing) == routes._MAX_MISSING


def test_a_thousand_routes_are_walked_once():
    many = [Route(f"/r{number}/{{x}}", answer) for number in range(1000)]
    app = Starlette(routes=[Mount("/t/{tenant}", routes=many)])
    assert route_of(app, "/t/acme/r999/1") == "/t/{tenant}/r999/{x}"
    assert route_of(app, "/t/acme/r0/1") == "/t/{tenant}/r0/{x}"
    index = routes._indexes[id(app.router)]
    places = index._places
    for number in range(0, 1000, 50):
        assert route_of(app, f"/t/acme/r{number}/1") == f"/t/{{tenant}}/r{number}/{{x}}"
    assert index._places is places
