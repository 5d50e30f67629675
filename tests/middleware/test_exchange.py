"""One exchange: what is recorded, and what passes, message by message."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import anyio
import pytest
from recording import body, head, recorded, request, sends

from asgi_infra import faults
from asgi_infra.testing import http_scope, run, websocket_scope

ID = {b"x-request-id": b"id-1"}
ACCEPT = {"type": "websocket.accept"}
CONNECT = {"type": "websocket.connect"}


def spoilt(_: Any) -> None:
    raise BrokenPipeError("the client has gone")


# The request


def test_what_the_scope_says_is_on_the_exchange():
    app, recording = recorded(sends(head(), body()))
    headers = [(b"host", b"a.example.org"), (b"accept", b"x"), (b"accept", b"y")]
    run(app, http_scope("POST", "/api/items", root_path="/api", headers=headers, scheme="https"))
    exchange = recording.one
    assert (exchange.method, exchange.path, exchange.root_path, exchange.scheme) == (
        "POST", "/api/items", "/api", "https"
    )  # fmt: skip
    assert (exchange.host, exchange.client) == (b"a.example.org", "192.0.2.7")
    assert exchange.headers == {b"host": b"a.example.org", b"accept": b"x"}
    assert not exchange.is_websocket


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("exclude", [(), "/health"])
def test_all_but_the_type_of_a_scope_may_be_missing(kind, exclude):
    app, recording = recorded(sends(head(), body()), exclude=exclude)
    driven = run(app, {"type": kind})
    assert driven.error is None
    assert driven.sent == [head(), body()]
    exchange = recording.one
    assert (exchange.path, exchange.root_path, exchange.client, exchange.host) == ("", "", None, None)
    assert exchange.headers == {}
    assert exchange.method == ("GET" if kind == "websocket" else "")


@pytest.mark.parametrize("exclude", [(), "/health"])
def test_what_is_none_in_a_scope_is_as_if_missing(exclude):
    names = ("method", "path", "root_path", "query_string", "headers", "client", "server", "http_version", "scheme")
    app, recording = recorded(sends(head(), body()), exclude=exclude)
    driven = run(app, {"type": "http", **dict.fromkeys(names)})
    assert driven.sent == [head(), body()]
    exchange = recording.one
    assert (exchange.method, exchange.path, exchange.root_path, exchange.scheme) == ("", "", "", "http")
    assert (exchange.client, exchange.host, exchange.headers) == (None, None, {})


@pytest.mark.parametrize("client", [5, {"host": "192.0.2.7"}, object()])
def test_a_client_that_is_no_pair_is_no_client(client):
    app, recording = recorded(sends(head(), body()))
    driven = run(app, http_scope(client=client))
    assert driven.error is None
    assert recording.one.client is None


PAIRS = [(b"host", b"example.org"), (b"x-tag", b"\xff\xfe\x00"), (b"\xf6dd", b"")]


@pytest.mark.parametrize(
    "headers",
    [PAIRS, tuple(PAIRS), [list(pair) for pair in PAIRS], iter(PAIRS), (pair for pair in PAIRS), dict(PAIRS).items()],
    ids=["list", "tuple", "list of lists", "iterator", "generator", "view"],
)
def test_headers_may_come_as_any_iterable_and_the_application_still_reads_them(headers):
    seen = []

    async def app(scope, receive, send):
        seen.extend(tuple(pair) for pair in scope["headers"])
        await send(head())
        await send(body())

    wrapped, recording = recorded(app)
    run(wrapped, http_scope(headers=headers))
    assert seen == PAIRS
    assert recording.one.headers == dict(PAIRS)


@pytest.mark.parametrize(
    "broken",
    [[(b"host",)], [None], [(b"a", b"b", b"c")], [("host", "x")], [(b"host", None)], [([], b"x")], [5], [b"ab"]],
    ids=repr,
)
def test_a_broken_header_is_left_out_and_stays_where_the_application_sees_it(broken):
    scope = http_scope(headers=[*broken, (b"accept", b"*/*")])
    headers = scope["headers"]
    app, recording = recorded(sends(head(), body()))
    driven = run(app, scope)
    assert driven.error is None
    assert scope["headers"] is headers
    assert recording.one.headers.get(b"accept") == b"*/*"
    assert recording.one.host is None


def test_headers_that_are_no_headers_at_all_do_not_stop_a_request():
    app, recording = recorded(sends(head(), body()))
    scope = http_scope(headers=5)
    assert run(app, scope).error is None
    assert scope["headers"] == 5
    assert recording.one.headers == {}


# Bytes


def test_bytes_are_counted_in_both_directions():
    chunks = [request(b"abc", more_body=True), request(b"", more_body=True), request(b"de")]
    app, recording = recorded(sends(head(), body(b"12345", more_body=True), body(b"678"), receives=3))
    run(app, messages=chunks)
    assert (recording.one.bytes_in, recording.one.bytes_out) == (5, 8)


@pytest.mark.parametrize(
    "message", [{"type": "http.request"}, {"type": "http.request", "body": None, "more_body": None}], ids=repr
)
def test_a_request_body_may_be_missing_or_none(message):
    app, recording = recorded(sends(head(), body(b"x"), receives=1))
    driven = run(app, messages=[message])
    assert driven.received == [message]
    assert (recording.outcome, recording.one.bytes_in) == (("ok", None), 0)


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.start", "status": 204}, {"type": "http.response.body"}],
        [head(headers=None, trailers=None), body(None, more_body=None)],
    ],
)
def test_all_that_is_optional_in_a_response_may_be_missing_or_none(messages):
    app, recording = recorded(sends(*messages))
    driven = run(app)
    assert driven.sent == messages
    assert recording.outcome == ("ok", None)
    assert recording.one.bytes_out == 0


@pytest.mark.parametrize("data", [bytearray(b"1234"), memoryview(b"1234")], ids=lambda data: type(data).__name__)
def test_other_kinds_of_buffers_are_counted_too(data):
    app, recording = recorded(sends(head(), body(data)))
    assert run(app).sent[1]["body"] is data
    assert recording.one.bytes_out == 4


def test_bytes_of_a_websocket_are_those_of_its_payload():
    script = [
        CONNECT,
        {"type": "websocket.receive", "text": "häß"},
        {"type": "websocket.receive", "bytes": b"\xff\xfe", "text": None},
        {"type": "websocket.receive", "text": "\ud800"},
        {"type": "websocket.receive"},
    ]
    messages = [
        ACCEPT,
        {"type": "websocket.send", "text": "plain"},
        {"type": "websocket.send", "bytes": b"12"},
        {"type": "websocket.send", "text": "é"},
        {"type": "websocket.close"},
    ]
    app, recording = recorded(sends(*messages, receives=5))
    driven = run(app, websocket_scope(), script)
    assert driven.error is None
    assert driven.received == script
    assert (recording.one.bytes_in, recording.one.bytes_out) == (5 + 2 + 3, 5 + 2 + 2)


# The response's head


@pytest.mark.parametrize(
    "headers",
    [
        [(b"a", b"1"), (b"a", b"2")],
        ((b"a", b"1"), (b"a", b"2")),
        [[b"a", b"1"], [b"a", b"2"]],
        iter([(b"a", b"1"), (b"a", b"2")]),
    ],
    ids=["list", "tuple", "list of lists", "iterator"],
)
def test_a_header_is_added_to_whatever_form_of_headers(headers):
    app, recording = recorded(sends(head(headers=headers), body()), ID)
    driven = run(app)
    assert driven.headers == [(b"a", b"1"), (b"a", b"2"), (b"x-request-id", b"id-1")]
    assert [tuple(pair) for pair in recording.one.sent_headers] == driven.headers


def test_headers_from_an_iterator_reach_server_and_observers_when_none_is_added():
    app, recording = recorded(sends(head(headers=iter([(b"a", b"1")])), body()))
    assert run(app).headers == [(b"a", b"1")]
    assert list(recording.one.sent_headers) == [(b"a", b"1")]


@pytest.mark.parametrize("name", [b"x-request-id", b"X-Request-ID"])
def test_the_applications_own_header_is_replaced_however_often_and_however_it_is_spelt(name):
    app, _ = recorded(sends(head(headers=[(name, b"own"), (b"a", b"1"), (name, b"again")]), body()), ID)
    assert run(app).headers == [(b"a", b"1"), (b"x-request-id", b"id-1")]


def test_a_message_that_the_application_sends_again_and_again_is_not_changed():
    start, end = head(headers=[(b"x-request-id", b"own"), (b"a", b"1")]), body(b"ok")
    app, _ = recorded(sends(start, end), ID)
    for _ in range(2):
        driven = run(app)
        assert driven.headers == [(b"a", b"1"), (b"x-request-id", b"id-1")]
        assert driven.sent[1] is end
    assert start == head(headers=[(b"x-request-id", b"own"), (b"a", b"1")])


def test_other_keys_of_the_head_are_kept():
    app, _ = recorded(sends(head(trailers=True, odd=1), body(), {"type": "http.response.trailers", "headers": []}), ID)
    assert run(app).sent[0] == head(headers=[(b"x-request-id", b"id-1")], trailers=True, odd=1)


def test_without_a_header_to_add_every_message_is_the_very_object():
    messages = [head(headers=[(b"a", b"1")]), body(b"x", more_body=True), {"type": "odd.extension"}, body()]
    app, _ = recorded(sends(*messages))
    assert all(sent is message for sent, message in zip(run(app).sent, messages, strict=True))


@pytest.mark.parametrize("headers", [5, [5], [None], [b""]], ids=repr)
def test_headers_that_are_none_at_all_are_left_to_the_server(headers):
    before = sum(faults.counts().values())
    message = head(headers=headers)
    app, recording = recorded(sends(message, body()), ID)
    driven = run(app)
    assert driven.error is None
    assert driven.sent[0] is message
    assert recording.one.status == 200
    assert sum(faults.counts().values()) == before + 1


def test_of_two_heads_the_first_counts_and_the_second_passes_untouched():
    second = head(500, headers=[(b"b", b"2")])
    app, recording = recorded(sends(head(201), second, body()), ID)
    driven = run(app)
    assert driven.sent[1] is second
    assert driven.sent[0]["headers"] == [(b"x-request-id", b"id-1")]
    assert (recording.one.status, recording.outcome) == (201, ("ok", None))


@pytest.mark.parametrize(
    ("status", "known"),
    [(HTTPStatus.CREATED, 201), (599, 599), ("200", None), (None, None), (200.0, None), (b"200", None)],
)
def test_a_status_is_an_integer_or_unknown(status, known):
    app, recording = recorded(sends(head(status), body()))
    driven = run(app)
    assert driven.sent[0]["status"] is status
    assert recording.one.status == known
    assert type(recording.one.status) in (int, type(None))


def test_a_head_without_a_status_is_no_complete_response():
    app, recording = recorded(sends({"type": "http.response.start"}, body()))
    assert run(app).error is None
    assert recording.outcome == ("error", "incomplete_response")


@pytest.mark.parametrize(
    "message",
    [body(5), body([1]), {"type": "http.response.start", "status": 200, "headers": object()}],
    ids=["a number", "a list", "no headers"],
)
def test_what_the_server_has_to_refuse_reaches_the_server(message):
    refusal = TypeError("refused by the server")

    def refuse(sent: Any) -> None:
        if sent["type"] == message["type"]:
            raise refusal

    first = [] if "status" in message else [head()]
    app, recording = recorded(sends(*first, message), ID)
    driven = run(app, on_send=refuse)
    assert driven.error is refusal
    assert driven.sent[-1] is message
    assert recording.outcome == ("error", "TypeError")


@pytest.mark.parametrize("message", [{}, {"status": 200}, None, "http.response.body"], ids=repr)
def test_a_message_without_a_type_is_the_servers_to_refuse(message):
    passed = []

    async def receive() -> Any:
        return message

    async def server_send(sent: Any) -> None:
        passed.append(sent)

    async def app(scope, receive, send):
        assert await receive() is message
        await send(message)

    wrapped, recording = recorded(app)
    anyio.run(wrapped, http_scope(), receive, server_send)
    assert passed == [message]
    assert recording.outcome == ("error", "incomplete_response")
