"""Paths that need a token: no spelling of one gets past the check."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from token_driver import Visited, guarded

from asgi_infra.middleware.token_paths import DemandedPaths
from asgi_infra.middleware.tokens import TokenMiddleware
from asgi_infra.testing import http_scope, run
from asgi_infra.tokens import InMemoryTokenStore

OPTIONAL = ["/", "/login", "/static/**", "/public/*"]


def demand(path: str, require: Any = "/**", optional: Any = OPTIONAL, **scope: Any) -> bool:
    return DemandedPaths(require, optional).demand({"path": path, "root_path": "", **scope})


@pytest.mark.parametrize(
    "path", ["/", "/login", "/static", "/static/", "/static/a/b.css", "/public/x", "/static/ä ö", "/static/a%2Fb"]
)
def test_a_path_that_does_without_a_token_does_without(path):
    assert not demand(path)


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/login/",
        "/LOGIN",
        "//login",
        "/static/../admin",
        "/static/../x",
        "/static/./../admin",
        "/static//../admin",
        "/static/%2e%2e/admin",
        "/static/%2E./admin",
        "/static/%252e%252e/admin",
        "/static/%25252e%25252e/admin",
        "/static/..\\admin",
        "/static\\..\\..\\admin",
        "/static/%5c..%5c../admin",
        "/static/..;x/admin",
        "/static/..;/admin",
        "/public/../x",
        "/public/a/b",
        "/login\0",
        "/login;a",
        "/login%00",
        "*",
        "",
        "login",
        "http://example.org/login",
        "/static/" + "%25" * 2000 + "2e",
        "/static/%252525252e%252525252e/admin",
        "/static/%" + "25" * 600 + "2e",
    ],
)
def test_a_path_that_can_be_read_as_one_that_needs_a_token_needs_one(path):
    assert demand(path)


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/admin/",
        "/admin/users",
        "/ADMIN/users",
        "/Admin",
        "//admin/users",
        "/./admin",
        "/x/../admin/users",
        "/%61dmin/users",
        "/admin%2Fusers",
        "\\admin\\users",
        "/\\admin",
        "/admin;v=1/users",
        "/admin\0/users",
        "/admin%00",
        "/admin\n",
        "/admin/\n",
        "/admin%0A",
        "/admin\n;v=1",
        "/x/../admin\n",
    ],
)
def test_a_path_that_can_be_read_as_a_required_one_is_required(path):
    assert demand(path, ["/admin/**"], [])


def test_a_newline_at_the_end_gets_nobody_past_a_router_that_overlooks_it():
    async def secret(request):
        return PlainTextResponse("secret")

    routes = [Route(path, secret) for path in ("/admin", "/ping")]
    app = TokenMiddleware(Starlette(routes=routes), store=InMemoryTokenStore(), require=["/admin"])
    assert run(app, http_scope(path="/ping\n")).status == 200
    assert run(app, http_scope(path="/admin\n")).status == 401
    assert demand("/admin\n", optional=["/admin?"])


@pytest.mark.parametrize("path", ["/", "/shop", "/administration", "/shop/admin"])
def test_other_paths_are_not(path):
    assert not demand(path, ["/admin/**"], [])


@pytest.mark.parametrize(("require", "path"), [("/admin", "/admin/"), ("/admin/", "/admin"), ("/a/*", "/a/b/")])
def test_a_slash_at_the_end_makes_no_difference_for_what_is_required(require, path):
    assert demand(path, [require], [])


def test_an_encoded_slash_is_read_both_ways():
    assert demand("/admin/a/b", ["/admin/*"], [], raw_path=b"/admin/a%2Fb")
    assert demand("/admin/a/b", ["/admin/*"], [], raw_path=b"/admin/a%2fb?q=1")
    assert not demand("/admin/a/b", ["/admin/*"], [], raw_path=b"/admin/a/b")


def test_the_path_is_the_one_that_the_application_routes_on():
    assert not demand("/api/login", root_path="/api")
    assert demand("/api/admin", root_path="/api")
    assert demand("/login/admin", root_path="/login")
    assert demand("/api/admin/a/b", ["/admin/*"], [], root_path="/api", raw_path=b"/api/admin/a%2Fb")


def test_answers_are_kept_and_bounded():
    paths = DemandedPaths("/**", OPTIONAL)
    for number in range(5000):
        assert paths.demand({"path": f"/items/{number}"})
        assert not paths.demand({"path": f"/static/{number}"})
    assert len(paths._known) <= 4096


# What frameworks, servers and proxies do to a path, one after the other

TRICKS = [
    lambda path: re.sub("/+", "/", path),
    lambda path: path.replace("\\", "/"),
    lambda path: path.removesuffix("\n"),
    unquote,
    str.lower,
    lambda path: path.rstrip("/") or "/",
    lambda path: re.sub(";[^/]*", "", path),
    lambda path: re.sub(r"/[^/]+/\.\.(?=/|$)", "", path, count=1) or "/",
    lambda path: re.sub(r"/\.(?=/|$)", "", path) or "/",
]
pieces = st.sampled_from(
    [
        "/",
        "//",
        "\\",
        "..",
        ".",
        "admin",
        "ADMIN",
        "static",
        "login",
        ";",
        ";x=1",
        "%2e",
        "%2f",
        "%5c",
        "%61",
        "a",
        "%25",
        "\n",
    ]
)


@given(parts=st.lists(pieces, max_size=10), tricks=st.lists(st.sampled_from(TRICKS), max_size=4))
@example(parts=["static", "/", "..", ";", "/", "admin"], tricks=[TRICKS[6], TRICKS[7]])
@example(parts=["static", "\\", "..", "\\", "admin"], tricks=[TRICKS[1], TRICKS[7]])
def test_property_15_no_spelling_that_becomes_a_required_path_gets_past(parts, tricks):
    path = "/" + "".join(parts)
    read = path
    for trick in tricks:
        read = trick(read)
    if re.match(r"/admin(/|$)", read):
        assert demand(path, ["/admin/**"], [])
        assert demand(path)


@given(path=st.text(max_size=30).map(lambda text: "/" + text), secret=st.sampled_from(["/admin", "/admin/users"]))
def test_property_15_whatever_is_put_before_it_a_resolved_path_is_seen(path, secret):
    depth = "/..".join([""] * (path.count("/") + path.count("\\") + 2 + path.count("%")))
    assert demand(path + depth + secret)


@pytest.mark.parametrize(
    ("path", "raw", "status"),
    [
        ("/static/a.css", None, 200),
        ("/static/ä 100%.png", None, 200),
        ("/static//a;b", None, 200),
        ("/static/../admin", None, 401),
        ("/static/%2e%2e/admin", None, 401),
        ("/static/..\\admin", None, 401),
        ("/static\\..\\admin", None, 401),
        ("/static/..;/admin", None, 401),
        ("/static/%252e%252e%252fadmin", None, 401),
        ("/static/a", b"/static%2Fa", 401),
        ("/static/../admin", b"/static%2f..%2fadmin", 401),
    ],
)
def test_an_excluded_path_is_one_in_every_reading(path, raw, status):
    raw = quote(path).encode() if raw is None else raw
    guard = guarded(Visited(), InMemoryTokenStore(), exclude=["/static/**", "/health"])
    assert run(guard, http_scope(path=path, raw_path=raw)).status == status


@given(parts=st.lists(pieces, max_size=10), tricks=st.lists(st.sampled_from(TRICKS), max_size=4))
def test_property_15_no_exclusion_lets_a_spelling_of_another_path_get_past(parts, tricks):
    path = read = "/static/" + "".join(parts)
    for trick in tricks:
        read = trick(read)
    if re.match(r"/admin(/|$)", read):
        app = Visited()
        run(guarded(app, InMemoryTokenStore(), exclude="/static/**"), http_scope(path=path))
        assert app.users == []


@pytest.mark.parametrize("path", ["/static/../admin", "/%61dmin", "//admin", "/admin/", "/ADMIN"])
@pytest.mark.parametrize("option", [{"optional": OPTIONAL}, {"require": "/admin/**"}, {"exclude": "/static/**"}])
def test_the_application_is_not_reached(path, option):
    app = Visited()
    scope = http_scope(path=unquote(path), raw_path=quote(path).encode())
    assert run(guarded(app, InMemoryTokenStore(), **option), scope).status == 401
    assert app.users == []
