"""The server span: one an exchange, by the HTTP semantic conventions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, Status, StatusCode

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.engine import Engine
from asgi_infra.middleware.request_id import RequestID
from asgi_infra.middleware.tracing import Tracing, TracingMiddleware

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorder:
    """A provider of its own, and the spans that have ended."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> Any:
        return self.exporter.get_finished_spans()

    @property
    def span(self) -> Any:
        (span,) = self.spans
        return span


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def answer(status: int = 200, *, route: str | None = "/items/{id}", headers: Any = ()) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if route is not None:
            scope["path_template"] = route
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"done"})

    return app


def http(**changes: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/items/7",
        "query_string": b"",
        "headers": [(b"host", b"shop.example.org")],
        "client": ("192.0.2.7", 52011),
        "server": ("192.0.2.1", 8000),
        "scheme": "https",
        "http_version": "1.1",
    }
    return scope | changes


def drive(app: Any, scope: dict[str, Any] | None = None, received: list[dict[str, Any]] | None = None) -> list[Any]:
    """Run one exchange; return what the server was sent."""
    sent: list[Any] = []
    messages = iter(received or [{"type": "http.request"}])

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(http() if scope is None else scope, receive, send))
    return sent


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


# Status


@given(status=st.integers(100, 599))
@settings(max_examples=60, deadline=None)
def test_property_16_status_mapping_5xx_is_error_with_a_description_and_below_is_ok(status: int) -> None:
    recorder = Recorder()

    drive(TracingMiddleware(answer(status), tracer_provider=recorder.provider))

    if status >= 500:
        assert recorder.span.status.status_code is StatusCode.ERROR
        assert str(status) in recorder.span.status.description
        assert recorder.span.attributes["error.type"] == str(status)
    else:
        assert recorder.span.status.status_code is StatusCode.OK
        assert recorder.span.status.description is None
        assert "error.type" not in recorder.span.attributes


@given(status=st.integers(100, 599))
@settings(max_examples=60, deadline=None)
def test_property_16_status_mapping_by_the_conventions_leaves_everything_below_500_unset(status: int) -> None:
    recorder = Recorder()

    drive(TracingMiddleware(answer(status), tracer_provider=recorder.provider, status="semconv"))

    expected = StatusCode.ERROR if status >= 500 else StatusCode.UNSET
    assert recorder.span.status.status_code is expected
    assert recorder.span.status.description is None


def test_a_callable_decides_the_status(recorder: Recorder) -> None:
    def policy(code: int) -> Status | None:
        return Status(StatusCode.ERROR, "teapot") if code == 418 else None

    drive(TracingMiddleware(answer(418), tracer_provider=recorder.provider, status=policy))

    assert recorder.span.status.description == "teapot"


def test_a_status_policy_that_raises_is_a_fault_and_the_span_still_ends(recorder: Recorder) -> None:
    before = sum(faults.counts().values())

    def policy(code: int) -> Status:
        raise RuntimeError("policy")

    sent = drive(TracingMiddleware(answer(), tracer_provider=recorder.provider, status=policy))

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert recorder.span.name == "GET /items/{id}"
    assert sum(faults.counts().values()) > before


# Errors


def test_an_exception_is_recorded_once_with_its_type(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("no such item")

    with pytest.raises(KeyError):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.status.status_code is StatusCode.ERROR
    assert recorder.span.attributes["error.type"] == "KeyError"
    assert [event.name for event in recorder.span.events] == ["exception"]
    assert "http.response.status_code" not in recorder.span.attributes


def test_an_exception_behind_a_500_is_on_the_span_that_reports_the_500(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(500)(scope, receive, send)
        raise ValueError("what the framework raises again")

    with pytest.raises(ValueError, match="raises again"):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.attributes["http.response.status_code"] == 500
    assert recorder.span.attributes["error.type"] == "ValueError"
    assert [event.name for event in recorder.span.events] == ["exception"]


def test_an_exception_that_can_not_be_told_still_ends_the_span(recorder: Recorder) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise Mute

    with pytest.raises(Mute):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.attributes["error.type"].endswith("Mute")


def test_a_disconnect_is_no_error_of_the_server(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        while (await receive())["type"] != "http.disconnect":
            pass

    drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.status.status_code is StatusCode.UNSET
    assert recorder.span.attributes["error.type"] == "client_disconnected"
    assert recorder.span.attributes["http.response.status_code"] == 200


def test_a_cancellation_is_an_outcome_of_its_own(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def cancel() -> None:
        async def nothing(*_: Any) -> None: ...

        task = asyncio.create_task(TracingMiddleware(app, tracer_provider=recorder.provider)(http(), nothing, nothing))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())

    assert recorder.span.attributes["error.type"] == "cancelled"
    assert recorder.span.events == ()


def test_an_application_that_does_not_answer_is_an_error(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Returns."""

    drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert recorder.span.status.status_code is StatusCode.ERROR
    assert recorder.span.attributes["error.type"] == "incomplete_response"


def test_background_work_is_not_in_the_span_and_its_error_is_a_child_of_it(recorder: Recorder) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer()(scope, receive, send)
        assert len(recorder.spans) == 1
        raise OSError("mail server")

    with pytest.raises(OSError, match="mail server"):
        drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    server, background = recorder.spans
    assert server.status.status_code is StatusCode.OK
    assert server.events == ()
    assert background.parent.span_id == server.context.span_id
    assert background.status.status_code is StatusCode.ERROR
    assert background.start_time == server.end_time


# Context


def test_the_trace_of_the_caller_goes_on(recorder: Recorder) -> None:
    drive(
        TracingMiddleware(answer(), tracer_provider=recorder.provider),
        http(headers=[(b"traceparent", PARENT), (b"tracestate", b"vendor=1")]),
    )

    assert f"{recorder.span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{recorder.span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert recorder.span.context.trace_state.get("vendor") == "1"


def test_baggage_in_several_headers_arrives_whole(recorder: Recorder) -> None:
    seen: dict[str, object] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(baggage.get_all())
        await answer()(scope, receive, send)

    headers = [(b"baggage", b"tenant=acme"), (b"baggage", b"plan=gold")]
    drive(TracingMiddleware(app, tracer_provider=recorder.provider), http(headers=headers))

    assert seen == {"tenant": "acme", "plan": "gold"}


@given(st.one_of(st.binary(max_size=80), st.from_regex(rb"\A[0-9a-f]{2}-[0-9a-fg]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?\Z")))
@settings(max_examples=150, deadline=None)
def test_a_malformed_traceparent_starts_a_trace_and_nothing_else(value: bytes) -> None:
    recorder = Recorder(ALWAYS_ON)

    sent = drive(
        TracingMiddleware(answer(), tracer_provider=recorder.provider), http(headers=[(b"traceparent", value)])
    )

    assert sent[0]["status"] == 200
    assert recorder.span.context.is_valid


def test_the_span_is_current_inside_and_nothing_is_left_afterwards(recorder: Recorder) -> None:
    inside = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.append(trace.get_current_span().get_span_context().span_id)
        await answer()(scope, receive, send)

    async def main() -> None:
        middleware = TracingMiddleware(app, tracer_provider=recorder.provider)

        async def nothing(*_: Any) -> Any: ...

        await middleware(http(), nothing, nothing)
        assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(main())

    assert inside == [recorder.span.context.span_id]


def test_a_sampled_out_request_has_no_span_and_children_of_its_trace_have_none_either() -> None:
    recorder = Recorder(ParentBased(ALWAYS_OFF))
    valid = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        valid.append(trace.get_current_span().get_span_context().is_valid)
        with recorder.provider.get_tracer("shop").start_as_current_span("child"):
            await answer()(scope, receive, send)

    drive(TracingMiddleware(app, tracer_provider=recorder.provider))

    assert valid == [True]
    assert recorder.spans == ()


def test_without_a_provider_the_application_is_served_and_the_callers_trace_is_passed_on() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        await answer()(scope, receive, send)

    provider = trace.NoOpTracerProvider()
    sent = drive(TracingMiddleware(app, tracer_provider=provider), http(headers=[(b"traceparent", PARENT)]))

    assert sent[0]["status"] == 200
    assert f"{seen[0]:032x}" == "0af7651916cd43dd8448eb211c80319c"


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
