"""Exactly one server span, whatever else traces the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from fastapi import Depends, FastAPI
from opentelemetry import baggage, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware as StarletteMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_infra.middleware.engine import Engine
from asgi_infra.middleware.install import install
from asgi_infra.middleware.request_id import RequestID
from asgi_infra.middleware.tracing import Tracing, TracingMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def fastapi_app(**options: Any) -> FastAPI:
    app = FastAPI(**options)

    def price() -> int:
        return 3

    @app.get("/items/{id}")
    async def item(id: int, price: int = Depends(price)) -> dict[str, int]:  # noqa: A002
        return {"id": id, "price": price}

    return app


def starlette_app() -> Starlette:
    async def item(request: Any) -> PlainTextResponse:
        return PlainTextResponse("lamp")

    return Starlette(routes=[Route("/items/{id}", item)])


def ask(app: Any, headers: Any = ()) -> list[Any]:
    sent: list[Any] = []
    scope = {
        "type": "http", "method": "GET", "path": "/items/7", "raw_path": b"/items/7", "query_string": b"",
        "headers": list(headers), "client": ("192.0.2.7", 1), "server": ("192.0.2.1", 80), "scheme": "http",
        "http_version": "1.1", "root_path": "", "state": {},
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    anyio.run(app, scope, receive, send)
    return sent


def ask_within(app: Any) -> None:
    """Ask in the present context, as an application does that calls another one."""

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        pass

    call = app({"type": "http", "method": "GET", "path": "/items/7", "headers": []}, receive, send)
    with pytest.raises(StopIteration):
        call.send(None)


def servers(exporter: InMemorySpanExporter) -> list[Any]:
    return [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]


def the_server(exporter: InMemorySpanExporter) -> Any:
    (server,) = servers(exporter)
    assert {span.context.trace_id for span in exporter.get_finished_spans()} == {server.context.trace_id}
    assert server.name == "GET /items/{id}"
    assert server.attributes["http.route"] == "/items/{id}"
    return server


def test_around_fastapi_its_own_telemetry_makes_no_server_span_and_its_operations_are_children(
    exporter: InMemorySpanExporter,
) -> None:
    ask(TracingMiddleware(fastapi_app()))

    server = the_server(exporter)
    assert server.instrumentation_scope.name == "asgi_infra"
    operations = [span for span in exporter.get_finished_spans() if span is not server]
    assert operations
    assert all(span.name.startswith("fastapi.") for span in operations)
    assert server.context.span_id in {span.parent.span_id for span in operations}


@pytest.mark.parametrize("telemetry", [{"operation_spans": False}, {"tracing": False}])
def test_around_fastapi_operations_that_it_was_told_not_to_trace_are_not_traced(
    exporter: InMemorySpanExporter, telemetry: Any
) -> None:
    ask(TracingMiddleware(fastapi_app(telemetry=telemetry)))

    assert [span.name for span in exporter.get_finished_spans()] == ["GET /items/{id}"]


def test_within_fastapi_its_server_span_is_adopted(exporter: InMemorySpanExporter) -> None:
    app = fastapi_app()
    app.add_middleware(Engine, observers=[RequestID(), Tracing()])

    ask(app, [(b"x-request-id", b"order-7")])

    server = the_server(exporter)
    assert server.instrumentation_scope.name == "fastapi"
    assert server.attributes["request_id"] == "order-7"


def test_installed_on_fastapi_there_is_one_server_span(exporter: InMemorySpanExporter) -> None:
    app = fastapi_app()

    ask(install(app, metrics=False, access_log=False))

    assert the_server(exporter).attributes["request_id"]


def test_around_starlettes_middleware_ours_is_the_server_span(exporter: InMemorySpanExporter) -> None:
    ask(TracingMiddleware(StarletteMiddleware(starlette_app())))

    assert the_server(exporter).instrumentation_scope.name == "asgi_infra"


def test_within_starlettes_middleware_its_server_span_is_adopted(exporter: InMemorySpanExporter) -> None:
    app = StarletteMiddleware(Engine(starlette_app(), [RequestID(), Tracing()]))

    ask(app, [(b"x-request-id", b"order-7")])

    assert the_server(exporter).attributes["request_id"] == "order-7"


def test_around_the_contrib_middleware_ours_is_the_server_span(exporter: InMemorySpanExporter) -> None:
    ask(TracingMiddleware(ContribMiddleware(starlette_app())))

    assert the_server(exporter).instrumentation_scope.name == "asgi_infra"


def test_within_the_contrib_middleware_its_server_span_is_adopted(exporter: InMemorySpanExporter) -> None:
    ask(ContribMiddleware(Engine(starlette_app(), [RequestID(), Tracing()])), [(b"x-request-id", b"order-7")])

    (server,) = servers(exporter)
    assert server.attributes["request_id"] == "order-7"
    assert server.attributes["http.route"] == "/items/{id}"


@pytest.mark.parametrize("outside", [True, False])
def test_beside_the_fastapi_instrumentor_there_is_one_server_span(
    exporter: InMemorySpanExporter, outside: bool
) -> None:
    app = fastapi_app()
    FastAPIInstrumentor.instrument_app(app)
    if not outside:
        app.add_middleware(TracingMiddleware)

    ask(TracingMiddleware(app) if outside else app)

    assert len(servers(exporter)) == 1
    assert len({span.context.trace_id for span in exporter.get_finished_spans()}) == 1


def test_an_outer_server_span_that_was_sampled_out_gets_no_second_trace(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    sampled = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    ask(ContribMiddleware(TracingMiddleware(starlette_app()), tracer_provider=provider), [(b"traceparent", sampled)])

    assert servers(exporter) == []


def test_a_request_that_another_application_makes_in_process_has_its_own_server_span(
    exporter: InMemorySpanExporter,
) -> None:
    inner = TracingMiddleware(starlette_app())

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope | {"path": "/items/8", "asgi_infra": None}, receive, send)

    ask(TracingMiddleware(outer))

    outer_span, inner_span = servers(exporter)  # in the order of their ends: the outer one had sent its last message
    assert outer_span.attributes["url.path"] == "/items/7"
    assert inner_span.attributes["url.path"] == "/items/8"
    assert inner_span.parent.span_id == outer_span.context.span_id


def test_on_an_excluded_path_fastapi_makes_no_server_span_either(exporter: InMemorySpanExporter) -> None:
    ask(TracingMiddleware(fastapi_app(), exclude={"tracing": "/items/*"}))

    assert servers(exporter) == []


def test_a_span_that_an_inner_middleware_added_is_ended_when_the_application_fails(
    exporter: InMemorySpanExporter,
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        ask(Engine(TracingMiddleware(broken), [RequestID()]))

    (server,) = servers(exporter)
    assert server.attributes["error.type"] == "ValueError"


def test_an_adopted_span_is_told_to_the_client_too(exporter: InMemorySpanExporter) -> None:
    app = fastapi_app()
    app.add_middleware(TracingMiddleware, response_header="traceresponse")

    headers = dict(ask(app)[0]["headers"])

    context = the_server(exporter).context
    assert headers[b"traceresponse"].startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}".encode())


def test_a_span_of_somebody_elses_provider_is_left_alone_where_we_have_none(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("cron").start_as_current_span("job") as job:
        ask_within(TracingMiddleware(starlette_app(), tracer_provider=trace.NoOpTracerProvider()))
        assert job.is_recording()
        assert job.name == "job"


def test_a_request_that_a_handler_makes_in_process_for_the_same_path_has_its_own_span(
    exporter: InMemorySpanExporter,
) -> None:
    inner = TracingMiddleware(starlette_app())

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        ours = ("asgi_infra", "starlette.opentelemetry", "fastapi.telemetry")
        await inner({key: value for key, value in scope.items() if key not in ours}, receive, send)

    ask(TracingMiddleware(outer))

    assert len(servers(exporter)) == 2


def test_without_an_sdk_the_baggage_of_the_caller_goes_on() -> None:
    seen: dict[str, object] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(baggage.get_all())
        await starlette_app()(scope, receive, send)

    ask(TracingMiddleware(app, tracer_provider=trace.NoOpTracerProvider()), [(b"baggage", b"tenant=acme")])

    assert seen == {"tenant": "acme"}
