"""The engine within another one, and what it keeps from one request to the next."""

from __future__ import annotations

import gc
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from recording import EMPTY, OK, Recording, at_once, body, everything, head, recorded, sends, starlette_app

from asgi_infra.context import get_request_id
from asgi_infra.middleware.engine import SCOPE_KEY, Engine, Observer
from asgi_infra.testing import drive, http_scope, run

# Two engines around one application


def two(outer: list[Observer], inner: list[Observer], app: Any, between: Any = None, **options: Any) -> Engine:
    inside = Engine(app, inner)
    return Engine(inside if between is None else partial(between, inside), outer, **options)


async def copies_the_scope(app: Any, scope: Any, receive: Any, send: Any) -> None:
    await app(dict(scope), receive, send)


@pytest.mark.anyio
@pytest.mark.parametrize("between", [None, copies_the_scope], ids=["directly", "scope copied"])
async def test_what_both_have_is_done_once_and_what_only_the_inner_has_is_added(between):
    first, doubled, added = Recording({b"x-id": b"1"}), Recording({b"x-id": b"2"}), Recording({b"x-more": b"3"})
    added.feature = "added"
    driven = await drive(two([first], [doubled, added], sends(*OK), between))
    assert doubled.calls == []
    assert first.calls == added.calls == ["start", "end", "close"]
    assert first.one is added.one
    assert driven.headers == [(b"a", b"1"), (b"x-id", b"1"), (b"x-more", b"3")]


def test_the_application_within_two_engines_gets_the_messages_of_one():
    app = two([Recording()], [Recording()], sends(*OK, receives=1))
    driven = run(app)
    assert [message["type"] for message in driven.sent] == ["http.response.start", "http.response.body"]
    assert driven.received == [EMPTY]


def test_each_engine_has_rules_of_its_own_so_the_inner_does_what_the_outer_left_out():
    outer, inner = Recording(), Recording()
    outer.feature = inner.feature = "metrics"
    run(two([outer], [inner], sends(*OK), exclude="/health"), http_scope(path="/health"))
    assert outer.calls == ["excluded"]
    assert inner.calls == ["start", "end", "close"]


def test_the_route_is_found_in_the_copy_of_the_scope_that_the_router_fills():
    outer, inner = Recording(), Recording()
    run(two([outer], [inner], starlette_app(), copies_the_scope), http_scope(path="/fine"))
    assert outer.one.route == "/fine"


@pytest.mark.anyio
@pytest.mark.parametrize("sent", [(), (head(500), body())], ids=["before", "after a 500"])
async def test_features_of_both_engines_are_told_of_an_exception(sent):
    outer, inner = Recording(), Recording()
    inner.feature = "inner"
    error = ValueError("x")
    await drive(two([outer], [inner], sends(*sent, raises=error)))
    assert outer.errors == inner.errors == [error]
    assert outer.calls == ["start", "end", "close"]
    assert inner.calls == ["start", "close", "end"]  # what `start` set is reset in its own task


def test_an_engine_within_that_is_reached_after_the_end_adds_nothing():
    inner = Recording()
    inner.feature = "inner"
    inside = Engine(sends(), [inner])

    async def app(scope, receive, send):
        await sends(*OK)(scope, receive, send)
        await inside(dict(scope), receive, send)

    wrapped, outer = recorded(app)
    assert run(wrapped).error is None
    assert outer.calls == ["start", "end", "close"]
    assert inner.calls == []


# Scopes that live on


def test_a_scope_that_is_used_again_starts_afresh():
    scope = http_scope()

    async def app(scope, receive, send):
        seen.append(dict(scope[SCOPE_KEY]))
        scope[SCOPE_KEY]["route"] = "/told"
        await sends(*OK)(scope, receive, send)

    seen: list[dict[str, Any]] = []
    wrapped, recording = recorded(app)
    run(wrapped, scope)
    run(wrapped, scope)
    first, second = recording.exchanges
    assert first is not second
    assert [list(state) for state in seen] == [["exchange"], ["exchange"]]
    assert scope[SCOPE_KEY] == {"exchange": None, "route": "/told"}


@pytest.mark.anyio
async def test_a_request_within_a_request_is_an_exchange_of_its_own():
    inner, inside = recorded(sends(head(201), body(b"inner")))

    async def app(scope, receive, send):
        driven = await drive(inner, http_scope(path="/inner"))
        await sends(head(202), body(driven.body))(scope, receive, send)

    outer, outside = recorded(app)
    driven = await drive(outer, http_scope(path="/outer"))
    assert (driven.status, driven.body) == (202, b"inner")
    assert (outside.one.path, outside.one.status) == ("/outer", 202)
    assert (inside.one.path, inside.one.status) == ("/inner", 201)


# State, and what is left behind


@pytest.mark.anyio
async def test_interleaved_requests_on_one_engine_do_not_mix():
    async def app(scope, receive, send):
        number = int(scope["path"][1:])
        ids.append((scope["path"], get_request_id()))
        await send(head(200 + number))
        for _ in range(number % 7):
            await checkpoint()
            assert get_request_id() == f"id-{number}"
        await send(body(b"x" * number))

    ids: list[Any] = []
    recording = Recording()
    stack = everything(app)
    wrapped = Engine(stack, [recording])

    async def one(number: int) -> None:
        scope = http_scope(path=f"/{number}", headers=[(b"x-request-id", f"id-{number}".encode())])
        driven = await drive(wrapped, scope)
        assert driven.error is None
        assert (driven.status, driven.header(b"x-request-id")) == (200 + number, [f"id-{number}".encode()])

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(one, number)
    assert sorted(ids) == sorted((f"/{number}", f"id-{number}") for number in range(100))
    assert {(e.path, e.status, e.bytes_out, e.request_id) for e in recording.exchanges} == {
        (f"/{number}", 200 + number, number, f"id-{number}") for number in range(100)
    }
    assert get_request_id() is None


@pytest.mark.parametrize("error", [None, ValueError], ids=["fine", "failing"])
@pytest.mark.parametrize(
    "stack", [everything, lambda app: everything(everything(app), tracing=False)], ids=["one engine", "two engines"]
)
def test_a_request_leaves_no_reference_cycles(stack, error):
    async def app(scope, receive, send):
        await receive()
        await send(head())
        if error is not None:
            raise error("x")
        await send(body(b"ok"))

    async def read() -> Any:
        return EMPTY

    async def sink(message: Any) -> None:
        """A server."""

    async def request() -> None:
        with suppress(ValueError):
            await wrapped(http_scope(), read, sink)

    wrapped = stack(app)
    at_once(request())
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            at_once(request())
        assert gc.collect() == 0
    finally:
        gc.enable()
