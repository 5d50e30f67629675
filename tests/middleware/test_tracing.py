"""The server span: one an exchange, by the HTTP semantic conventions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode
from tracing_driver import Recorder, answer, drive, http

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.engine import Engine
from asgi_infra.middleware.request_id import RequestID
from asgi_infra.middleware.tracing import Tracing, TracingMiddleware

# The conventions


def test_an_exchange_has_one_server_span_with_the_attributes_of_the_conventions(recorder: Recorder) -> None:
    scope = http(
        headers=[(b"host", b"shop.example.org:8443"), (b"user-agent", b"probe/1.0")], query_string=b"page=2&sig=s3cret"
    )

    drive(TracingMiddleware(answer(), tracer_provider=recorder.provider), scope)

    assert recorder.span.name == "GET /items/{id}"
    assert recorder.span.kind is SpanKind.SERVER
    assert dict(recorder.span.attributes) == {
        "http.request.method": "GET",
        "url.path": "/items/7",
        "url.scheme": "https",
        "url.query": "page=2&sig=REDACTED",
        "server.address": "shop.example.org",
        "server.port": 8443,
        "client.address": "192.0.2.7",
        "network.peer.address": "192.0.2.7",
        "network.peer.port": 52011,
        "network.protocol.version": "1.1",
        "user_agent.original": "probe/1.0",
        "http.route": "/items/{id}",
        "http.response.status_code": 200,
    }


def test_samplers_see_the_request_at_creation() -> None:
    seen: dict[str, Any] = {}

    class Spy(Sampler):
        def should_sample(self, parent_context: Any, trace_id: Any, name: str, kind: Any = None, attributes: Any = None,
                          links: Any = None, trace_state: Any = None) -> SamplingResult:  # fmt: skip
            seen.update(attributes, name=name)
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

        def get_description(self) -> str:
            return "spy"

    drive(TracingMiddleware(answer(), tracer_provider=Recorder(Spy()).provider))

    assert seen["url.path"] == "/items/7"
    assert seen["name"] == "GET"
    assert "http.response.status_code" not in seen


def test_an_unmatched_path_never_enters_the_name(recorder: Recorder) -> None:
    drive(TracingMiddleware(answer(404, route=None), tracer_provider=recorder.provider))

    assert recorder.span.name == "GET"
    assert "http.route" not in recorder.span.attributes


def test_an_unknown_method_is_other_and_keeps_its_original(recorder: Recorder) -> None:
    drive(TracingMiddleware(answer(), tracer_provider=recorder.provider), http(method="BREW"))

    assert recorder.span.name == "HTTP /items/{id}"
    assert recorder.span.attributes["http.request.method"] == "_OTHER"
    assert recorder.span.attributes["http.request.method_original"] == "BREW"


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        (b"shop.example.org", "shop.example.org", 443),
        (b"shop.example.org:99999999", "shop.example.org", 443),
        (b"[2001:db8::1]:8080", "2001:db8::1", 8080),
        (b"[2001:db8::1]", "2001:db8::1", 443),
        (b"\xff\xfe:1", "\xff\xfe", 1),
    ],
)
def test_the_server_is_the_authority_that_was_asked_for(
    recorder: Recorder, host: bytes, address: str, port: int
) -> None:
    drive(TracingMiddleware(answer(), tracer_provider=recorder.provider), http(headers=[(b"host", host)]))

    assert recorder.span.attributes["server.address"] == address
    assert recorder.span.attributes["server.port"] == port


def test_without_a_host_the_server_is_the_one_of_the_scope_and_ports_may_be_strings(recorder: Recorder) -> None:
    scope = http(headers=[], server=("192.0.2.1", "8000"), client=("192.0.2.7", "52011"))

    drive(TracingMiddleware(answer(), tracer_provider=recorder.provider), scope)

    assert recorder.span.attributes["server.address"] == "192.0.2.1"
    assert recorder.span.attributes["server.port"] == 8000
    assert recorder.span.attributes["network.peer.port"] == 52011


def test_a_minimal_scope_has_a_span_too(recorder: Recorder) -> None:
    drive(
        TracingMiddleware(answer(), tracer_provider=recorder.provider), {"type": "http", "method": "GET", "path": "/"}
    )

    assert recorder.span.attributes["url.scheme"] == "http"
    assert "server.address" not in recorder.span.attributes


def test_bytes_that_are_no_text_never_break_the_span(recorder: Recorder) -> None:
    scope = http(
        path="/caf\udce9",
        query_string=b"q=\xff\xfe&token=\xff",
        headers=[(b"user-agent", b"\xff" * 5000)],
        method="GET",
    )

    drive(TracingMiddleware(answer(), tracer_provider=recorder.provider), scope)

    json.dumps(dict(recorder.span.attributes)).encode("utf-8")
    for value in recorder.span.attributes.values():
        str(value).encode("utf-8")
    assert len(recorder.span.attributes["user_agent.original"]) == 2048


# Options


def test_the_request_id_is_on_the_span(recorder: Recorder) -> None:
    engine = Engine(answer(), [RequestID(), Tracing(tracer_provider=recorder.provider)])

    drive(engine, http(headers=[(b"x-request-id", b"order-7")]))

    assert recorder.span.attributes["request_id"] == "order-7"


def test_only_listed_headers_are_captured_and_credentials_never(recorder: Recorder) -> None:
    headers = [
        (b"accept", b"a"), (b"accept", b"b"), (b"authorization", b"Bearer s3cret"), (b"x-other", b"private"),
    ]  # fmt: skip
    app = answer(headers=[(b"content-type", b"text/plain"), (b"set-cookie", b"id=s3cret")])
    middleware = TracingMiddleware(
        app,
        tracer_provider=recorder.provider,
        capture_request_headers=["Accept", "Authorization"],
        capture_response_headers=["content-type", "set-cookie"],
    )

    drive(middleware, http(headers=headers))

    attributes = recorder.span.attributes
    assert attributes["http.request.header.accept"] == ("a", "b")
    assert attributes["http.request.header.authorization"] == ("REDACTED",)
    assert attributes["http.response.header.content-type"] == ("text/plain",)
    assert "s3cret" not in str(dict(attributes))
    assert "private" not in str(dict(attributes))


@pytest.mark.parametrize("header", ["traceresponse", "server-timing"])
def test_the_trace_is_told_to_the_client_on_request(recorder: Recorder, header: Any) -> None:
    sent = drive(TracingMiddleware(answer(), tracer_provider=recorder.provider, response_header=header))

    context = recorder.span.context
    identity = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    expected = identity if header == "traceresponse" else f'traceparent;desc="{identity}"'
    assert dict(sent[0]["headers"])[header.encode()] == expected.encode()


def test_hooks_see_the_span_and_broken_ones_change_nothing(recorder: Recorder) -> None:
    def on_start(span: Any, exchange: Any) -> None:
        span.set_attribute("shop.tenant", exchange.headers[b"host"].decode())

    def on_end(span: Any, exchange: Any) -> None:
        raise RuntimeError("hook")

    sent = drive(TracingMiddleware(answer(), tracer_provider=recorder.provider, on_start=on_start, on_end=on_end))

    assert sent[0]["status"] == 200
    assert recorder.span.attributes["shop.tenant"] == "shop.example.org"
    assert recorder.span.attributes["http.route"] == "/items/{id}"


def test_an_excluded_path_has_no_span(recorder: Recorder) -> None:
    drive(TracingMiddleware(answer(), tracer_provider=recorder.provider, exclude=["/items/*"]))

    assert recorder.spans == ()


def test_trusted_proxies_give_client_and_scheme(recorder: Recorder) -> None:
    scope = http(
        scheme="http",
        client=("10.0.0.1", 1),
        headers=[(b"forwarded", b"for=198.51.100.9;proto=https;host=shop.example.org")],
    )

    drive(TracingMiddleware(answer(), tracer_provider=recorder.provider, trusted_proxies="10.0.0.0/8"), scope)

    attributes = recorder.span.attributes
    assert attributes["client.address"] == "198.51.100.9"
    assert attributes["network.peer.address"] == "10.0.0.1"
    assert attributes["url.scheme"] == "https"
    assert attributes["server.address"] == "shop.example.org"


@pytest.mark.parametrize(
    "options",
    [
        {"status": "strict"}, {"response_header": "x-trace"}, {"on_start": 1}, {"on_end": "x"},
        {"capture_request_headers": "accept"}, {"capture_response_headers": [b"accept"]}, {"known_methods": []},
    ],
)  # fmt: skip
def test_a_wrong_option_is_a_value_error_that_names_it(options: dict[str, Any]) -> None:
    (name,) = options

    with pytest.raises(ConfigurationError, match=name):
        Tracing(**options)


# WebSockets


def websocket_scope() -> dict[str, Any]:
    scope = http(type="websocket", path="/feed", scheme="wss")
    del scope["method"]
    return scope


async def feed(scope: Any, receive: Any, send: Any) -> None:
    scope["path_template"] = "/feed"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})


@pytest.mark.parametrize(("code", "error"), [(1000, None), (1001, None), (1006, "client_disconnected")])
def test_a_websocket_is_one_span_with_its_close_code(recorder: Recorder, code: int, error: str | None) -> None:
    received = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "one"},
        {"type": "websocket.disconnect", "code": code},
    ]

    drive(TracingMiddleware(feed, tracer_provider=recorder.provider), websocket_scope(), received)

    attributes = recorder.span.attributes
    assert recorder.span.name == "WS /feed"
    assert attributes["websocket.close_code"] == code
    assert attributes["http.response.status_code"] == 101
    assert attributes["network.protocol.name"] == "websocket"
    assert attributes.get("error.type") == error


def test_a_websocket_that_fails_is_an_error(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider), websocket_scope())

    assert recorder.span.status.status_code is StatusCode.ERROR
    assert recorder.span.attributes["error.type"] == "ValueError"
