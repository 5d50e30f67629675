"""The hooks for frameworks that leave no route in the scope."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asgi_infra.middleware.hooks import FalconRoutes, django_routes, publish_routes, quart_request, quart_websocket
from asgi_infra.middleware.routes import resolve


def drive(app: Any, path: str, *, method: str = "GET", kind: str = "http") -> tuple[str | None, int | None]:
    """Return the route as it is known when the response begins, and the status."""
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.org")],
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        "state": {},
    }
    if kind == "http":
        scope["method"] = method
    else:
        scope |= {"scheme": "ws", "subprotocols": []}
    seen: list[tuple[str | None, int | None]] = []

    async def run() -> None:
        over = asyncio.Event()
        incoming = [{"type": "http.request", "body": b"", "more_body": False}]
        if kind == "websocket":
            incoming = [{"type": "websocket.connect"}]

        async def receive() -> Any:
            if incoming:
                return incoming.pop(0)
            await over.wait()
            return {"type": f"{kind}.disconnect", "code": 1000}

        async def send(message: Any) -> None:
            if message["type"] in {"http.response.start", "websocket.accept", "websocket.close"} and not seen:
                seen.append((resolve(scope, ""), message.get("status")))
            if message["type"] != "http.response.start" and not message.get("more_body"):
                over.set()

        await app(scope, receive, send)

    asyncio.run(run())
    return seen[0]


def quart_app() -> Any:
    quart = pytest.importorskip("quart", reason="this Quart does not run on this Python")
    app = quart.Quart("shop")
    blueprint = quart.Blueprint("b", "b", url_prefix="/b/<string:zone>")

    @app.get("/")
    async def root() -> str:
        return "ok"

    @app.get("/items/<int:item_id>")
    async def item(item_id: int) -> str:
        return "ok"

    @app.get("/boom")
    async def boom() -> str:
        raise LookupError("broken")

    @blueprint.get("/x")
    async def nested(zone: str) -> str:
        return "ok"

    @app.websocket("/ws/<room>")
    async def room(room: str) -> None:
        await quart.websocket.accept()

    @app.before_request
    async def refuse() -> Any:
        return ("no", 403) if "/x" in quart.request.path else None

    app.register_blueprint(blueprint)
    return app


def test_quart_publishes_its_rules():
    app = quart_app()
    assert publish_routes(app)
    assert publish_routes(app)
    assert app.before_request_funcs[None].count(quart_request) == 1
    assert app.before_websocket_funcs[None] == [quart_websocket]
    assert drive(app, "/") == ("/", 200)
    assert drive(app, "/items/7") == ("/items/{item_id}", 200)
    assert drive(app, "/boom") == ("/boom", 500)
    assert drive(app, "/b/east/x") == ("/b/{zone}/x", 403), "also when the application's own hook answers"
    assert drive(app, "/none") == (None, 404)
    assert drive(app, "/items/7", method="DELETE") == (None, 405)
    assert drive(app, "/ws/lobby", kind="websocket")[0] == "/ws/{room}"
    assert drive(app, "/none", kind="websocket")[0] is None


@pytest.fixture(scope="module")
def django_module() -> Any:
    """Django with its settings, which can be made once a process, and its routes in this module."""
    django = pytest.importorskip("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], LOGGING_CONFIG=None)
        django.setup()
    return django


class Urls:
    """What Django reads as its ROOT_URLCONF."""

    def __init__(self) -> None:
        from django.http import HttpResponse
        from django.urls import include, path, re_path
        from django.views.decorators.http import require_GET

        async def view(request: Any, **parameters: Any) -> HttpResponse:
            return HttpResponse("ok")

        def boom(request: Any) -> HttpResponse:
            raise LookupError("broken")

        inner = [path("x/<slug:name>/", view), re_path(r"^y/(?P<year>[0-9]{4})/$", view)]
        self.urlpatterns = [
            path("", view),
            path("items/<int:item_id>", require_GET(view)),
            path("boom", boom),
            path("t/<tenant>/", include(inner)),
        ]


def django_expectations(app: Any) -> None:
    assert drive(app, "/") == ("/", 200)
    assert drive(app, "/items/7") == ("/items/{item_id}", 200)
    assert drive(app, "/boom") == ("/boom", 500)
    assert drive(app, "/t/acme/x/shoe/") == ("/t/{tenant}/x/{name}/", 200)
    assert drive(app, "/t/acme/y/2026/") == ("/t/{tenant}/y/{year}/", 200)
    assert drive(app, "/none") == (None, 404)
    assert drive(app, "/items/7", method="DELETE") == ("/items/{item_id}", 405)


def test_django_publishes_its_routes_without_a_setting(django_module):
    from django.core.asgi import get_asgi_application
    from django.test.utils import override_settings

    with override_settings(ROOT_URLCONF=Urls()):
        app = get_asgi_application()
        assert publish_routes(app)
        hooked = app.resolve_request
        assert publish_routes(app)
        assert app.resolve_request is hooked
        django_expectations(app)


@pytest.mark.parametrize("chain", ["asynchronous", "below a synchronous middleware"])
def test_django_publishes_its_routes_by_the_middleware_setting(django_module, chain):
    from django.core.asgi import get_asgi_application
    from django.test.utils import override_settings

    middleware = ["asgi_infra.middleware.hooks.django_routes"]
    if chain != "asynchronous":
        middleware.insert(0, f"{__name__}.synchronous_only")
        middleware.append(f"{__name__}.synchronous_only")
    with override_settings(ROOT_URLCONF=Urls(), MIDDLEWARE=middleware):
        django_expectations(get_asgi_application())


def synchronous_only(get_response: Any) -> Any:
    return lambda request: get_response(request)


def test_the_django_middleware_does_nothing_without_asgi():
    class Request:
        resolver_match = None

    assert django_routes(lambda request: "response")(Request()) == "response"


def falcon_app() -> Any:
    falcon = pytest.importorskip("falcon.asgi")

    class Item:
        async def on_get(self, req: Any, resp: Any, item_id: int) -> None:
            resp.text = "ok"

        async def on_websocket(self, req: Any, ws: Any, item_id: int) -> None:
            await ws.accept()

    class Boom:
        async def on_get(self, req: Any, resp: Any) -> None:
            raise LookupError("broken")

    app = falcon.App()
    app.add_route("/items/{item_id:int}", Item())
    app.add_route("/boom", Boom())
    return app


def test_falcon_publishes_its_templates():
    app = falcon_app()
    assert publish_routes(app)
    assert publish_routes(app)
    assert sum(isinstance(component, FalconRoutes) for component in app._unprepared_middleware) == 1
    assert drive(app, "/items/7") == ("/items/{item_id}", 200)
    assert drive(app, "/boom") == ("/boom", 500)
    assert drive(app, "/none") == (None, 404)
    assert drive(app, "/items/7", method="DELETE") == ("/items/{item_id}", 405)
    assert drive(app, "/items/7", kind="websocket")[0] == "/items/{item_id}"
    assert drive(app, "/none", kind="websocket")[0] is None


def blacksheep_app() -> Any:
    blacksheep = pytest.importorskip("blacksheep", reason="this BlackSheep does not run on this Python")
    app = blacksheep.Application(router=blacksheep.Router())

    @app.router.get("/items/{int:item_id}")
    async def item(item_id: int) -> str:
        return "ok"

    @app.router.get("/colon/:id/<uuid:part>")
    async def colon(request: blacksheep.Request) -> str:
        return "ok"

    @app.router.get("/boom")
    async def boom() -> str:
        raise LookupError("broken")

    @app.router.ws("/ws/{room}")
    async def room(websocket: blacksheep.WebSocket) -> None:
        await websocket.accept()

    room.__annotations__["websocket"] = blacksheep.WebSocket
    colon.__annotations__["request"] = blacksheep.Request
    return app


def test_blacksheep_publishes_its_patterns():
    app = blacksheep_app()
    assert publish_routes(app)
    hooked = app.router.get_match
    assert publish_routes(app)
    assert app.router.get_match is hooked
    part = "01234567-89ab-cdef-0123-456789abcdef"
    assert drive(app, "/items/7")[0] == "/items/{item_id}"
    assert drive(app, f"/colon/7/{part}")[0] == "/colon/{id}/{part}"
    assert drive(app, "/boom") == ("/boom", 500)
    assert drive(app, "/none") == (None, 404)
    assert drive(app, "/ws/lobby", kind="websocket")[0] == "/ws/{room}"
    assert drive(app, "/none", kind="websocket")[0] is None


def test_frameworks_that_publish_by_themselves_need_no_hook():
    from litestar import Litestar
    from starlette.applications import Starlette

    assert not publish_routes(Starlette())
    assert not publish_routes(Litestar([]))
    assert not publish_routes(drive)
