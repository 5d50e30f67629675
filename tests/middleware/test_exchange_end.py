"""One exchange: where its end is, and how WebSockets go."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from recording import EMPTY, GONE, body, head, recorded, sends

from asgi_infra.testing import drive, run, websocket_scope

ID = {b"x-request-id": b"id-1"}
ACCEPT = {"type": "websocket.accept"}
CONNECT = {"type": "websocket.connect"}


def spoilt(_: Any) -> None:
    raise BrokenPipeError("the client has gone")


# Where the end is


@pytest.mark.parametrize(
    "messages",
    [
        [head(), body()],
        [head(), body(b"a", more_body=True), body(b"b")],
        [{"type": "http.response.early_hint", "links": []}, head(), body()],
        [{"type": "http.response.push", "path": "/", "headers": []}, head(), body()],
        [head(trailers=True), body(b"x"), {"type": "http.response.trailers", "headers": []}],
        [
            head(trailers=True),
            body(b"x"),
            {"type": "http.response.trailers", "headers": [], "more_trailers": True},
            {"type": "http.response.trailers", "headers": [], "more_trailers": False},
        ],
        [head(), {"type": "http.response.pathsend", "path": "/srv/file"}],
        [
            head(trailers=True),
            {"type": "http.response.pathsend", "path": "/srv/file"},
            {"type": "http.response.trailers", "headers": []},
        ],
        [head(), {"type": "http.response.zerocopysend", "file": 3}],
        [head(), {"type": "http.response.zerocopysend", "file": 3, "more_body": True}, body()],
        [head(), {"type": "http.response.debug", "info": {}}, body()],
    ],
    ids=[
        "whole", "stream", "early hint", "push", "trailers", "two trailers", "pathsend", "pathsend with trailers",
        "zerocopysend", "zerocopysend in parts", "unknown",
    ],
)  # fmt: skip
def test_the_end_is_the_last_message_of_the_response_and_no_earlier(messages):
    finished: list[bool] = []

    async def app(scope, receive, send):
        exchange = scope["asgi_infra"]["exchange"]
        for message in messages:
            assert not exchange.finished
            await send(message)
            finished.append(exchange.finished)

    wrapped, recording = recorded(app)
    driven = run(wrapped)
    assert driven.error is None
    assert driven.sent == messages
    assert finished == [False] * (len(messages) - 1) + [True]
    assert recording.outcome == ("ok", None)
    exchange = recording.one
    assert exchange.started <= exchange.first_byte <= exchange.ended
    assert exchange.duration == exchange.ended - exchange.started


def test_observers_are_told_after_the_last_message_has_reached_the_server():
    app, recording = recorded(sends(head(), body()))
    run(app, on_send=lambda message: recording.calls.append(message["type"]))
    assert recording.calls == ["start", "http.response.start", "http.response.body", "end", "close"]


@pytest.mark.parametrize("clock", [range(0, 1000, 10)])
def test_first_byte_and_end_are_read_when_head_and_last_message_leave(monkeypatch, clock):
    ticks = iter(clock)
    monkeypatch.setattr("asgi_infra.middleware.exchange.perf_counter", lambda: float(next(ticks)))
    app, recording = recorded(sends(head(), body(b"a", more_body=True), body()))
    run(app)
    exchange = recording.one
    assert (exchange.started, exchange.first_byte, exchange.ended, exchange.duration) == (0.0, 10.0, 20.0, 20.0)


def test_an_end_without_a_last_message_is_the_return_of_the_application(monkeypatch):
    ticks = iter(range(0, 1000, 10))
    monkeypatch.setattr("asgi_infra.middleware.exchange.perf_counter", lambda: float(next(ticks)))
    app, recording = recorded(sends())
    run(app)
    assert (recording.one.first_byte, recording.one.ended, recording.one.duration) == (None, 10.0, 10.0)


def test_messages_after_the_end_pass_and_change_nothing(monkeypatch):
    late = body(b"late")
    app, recording = recorded(sends(head(), body(b"x"), late))
    driven = run(app)
    assert driven.sent[2] is late
    assert recording.calls == ["start", "end", "close"]


# Disconnects


@pytest.mark.anyio
async def test_a_disconnect_seen_through_receive_ends_a_stream_as_disconnected():
    app, recording = recorded(sends(head(), body(b"a", more_body=True), receives=2))
    driven = await drive(app, messages=[EMPTY, GONE])
    assert driven.received == [EMPTY, GONE]
    assert recording.one.disconnected
    assert recording.outcome == ("disconnected", "client_disconnected")


@pytest.mark.anyio
async def test_an_oserror_from_send_is_a_disconnect_and_reaches_the_application():
    app, recording = recorded(sends(head(), body(b"a")))
    driven = await drive(app, on_send=spoilt)
    assert isinstance(driven.error, BrokenPipeError)
    assert recording.outcome == ("disconnected", "client_disconnected")


def test_an_oserror_from_send_that_the_application_swallows_is_a_disconnect():
    async def app(scope, receive, send):
        try:
            await send(head())
            await send(body())
        except OSError:
            return

    wrapped, recording = recorded(app)
    assert run(wrapped, on_send=spoilt).error is None
    assert recording.outcome == ("disconnected", "client_disconnected")


def test_an_oserror_of_the_applications_own_is_an_error():
    app, recording = recorded(sends(raises=FileNotFoundError("a file")))
    run(app)
    assert recording.outcome == ("error", "FileNotFoundError")


def test_a_disconnect_after_the_end_is_none():
    app, recording = recorded(sends(head(), body()))

    async def listening(scope, receive, send):
        await app(scope, receive, send)

    async def inner(scope, receive, send):
        await send(head())
        await send(body())
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"

    app.app = inner
    run(listening)
    assert recording.outcome == ("ok", None)
    assert not recording.one.disconnected


def test_a_500_is_reported_at_the_disconnect_by_an_application_that_waits_for_it():
    calls: list[str] = []

    async def app(scope, receive, send):
        await send(head(500))
        await send(body())
        calls.extend(recording.calls)
        await receive()
        await receive()
        calls.extend(recording.calls)

    wrapped, recording = recorded(app)
    run(wrapped)
    assert calls == ["start", "start", "end"]
    assert recording.outcome == ("error", "500")


# WebSockets


@pytest.mark.anyio
async def test_a_websocket_that_the_application_closes():
    app, recording = recorded(sends(ACCEPT, {"type": "websocket.close", "code": 3000}, receives=1), ID)
    driven = await drive(app, websocket_scope())
    assert driven.sent[0] == {**ACCEPT, "headers": [(b"x-request-id", b"id-1")]}
    exchange = recording.one
    assert exchange.is_websocket
    assert (exchange.status, exchange.close_code, recording.outcome) == (101, 3000, ("ok", None))
    assert exchange.started <= exchange.first_byte <= exchange.ended


@pytest.mark.anyio
async def test_a_websocket_that_the_client_closes_ends_there():
    script = [CONNECT, {"type": "websocket.disconnect", "code": 1001}]
    app, recording = recorded(sends(receives=2))

    async def inner(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        ended = scope["asgi_infra"]["exchange"].ended
        await anyio.lowlevel.checkpoint()
        assert ended is scope["asgi_infra"]["exchange"].ended is not None

    app.app = inner
    assert (await drive(app, websocket_scope(), script)).error is None
    assert (recording.one.close_code, recording.outcome) == (1001, ("ok", None))


@pytest.mark.parametrize(
    ("close", "code"), [({}, 1000), ({"code": None}, 1000), ({"code": 4000, "reason": None}, 4000)]
)
def test_the_code_of_a_close_may_be_missing(close, code):
    app, recording = recorded(sends(ACCEPT, {"type": "websocket.close", **close}))
    run(app, websocket_scope())
    assert recording.one.close_code == code


@pytest.mark.parametrize(("fields", "code"), [({}, 1005), ({"code": None}, 1005), ({"code": 1006}, 1006)])
def test_the_code_of_a_disconnect_may_be_missing(fields, code):
    app, recording = recorded(sends(ACCEPT, receives=2))
    run(app, websocket_scope(), [CONNECT, {"type": "websocket.disconnect", **fields}])
    assert recording.one.close_code == code


def test_a_websocket_that_is_refused_without_a_status_is_a_403():
    app, recording = recorded(sends({"type": "websocket.close"}))
    run(app, websocket_scope())
    assert (recording.one.status, recording.outcome) == (403, ("ok", None))


def test_a_websocket_that_is_refused_with_a_response_has_its_status_and_the_added_header():
    messages = [
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"1")]},
        {"type": "websocket.http.response.body", "body": b"no", "more_body": True},
        {"type": "websocket.http.response.body"},
    ]
    app, recording = recorded(sends(*messages), ID)
    driven = run(app, websocket_scope())
    assert driven.headers == [(b"a", b"1"), (b"x-request-id", b"id-1")]
    assert driven.sent[1:] == messages[1:]
    exchange = recording.one
    assert (exchange.status, exchange.bytes_out, recording.outcome) == (401, 2, ("ok", None))


@pytest.mark.parametrize("name", ["headers", "subprotocol"])
def test_optional_keys_of_an_acceptance_may_be_none(name):
    message = {**ACCEPT, name: None}
    app, _ = recorded(sends(message, {"type": "websocket.close"}), ID)
    assert run(app, websocket_scope()).headers == [(b"x-request-id", b"id-1")]
    assert message[name] is None


def test_unknown_messages_of_a_websocket_pass():
    odd = {"type": "websocket.ping"}
    app, _ = recorded(sends(ACCEPT, odd, {"type": "websocket.close"}))
    assert run(app, websocket_scope()).sent[1] is odd
