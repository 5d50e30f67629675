"""The template of the route, as each framework leaves it."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from routing import Page, Wrapped, answer, close, drive, foreign, http_scope, publishing, route_of, websocket_scope
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from asgi_infra.middleware import routes
from asgi_infra.middleware.routes import normalise, resolve


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
