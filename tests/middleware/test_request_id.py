"""Request ids: accepted when valid, made otherwise, told everywhere, gone afterwards."""

from __future__ import annotations

import asyncio
import http.client
import io
import logging
import re
import uuid
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from middleware_driver import HEADER, Lines, Seen, answer, drive, echoed, exchange, served, websocket
from middleware_driver import http as http_scope
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_infra import (
    AccessLog,
    InfraMiddleware,
    RequestID,
    RequestIDFilter,
    RequestIDMiddleware,
    Tracing,
    faults,
    forward_request_id,
    get_request_id,
    install,
)
from asgi_infra.context import bind
from asgi_infra.middleware.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    monkeypatch.setattr(faults, "_counts", counts)
    return counts


def asking(value: bytes | None, name: bytes = HEADER) -> dict[str, Any]:
    given = [] if value is None else [(name, value)]
    return http_scope(headers=[(b"host", b"shop.example.org"), *given])


class Everything:
    """The whole stack around an application, with all that it tells in reach."""

    def __init__(self, app: Any = None, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.lines = Lines()
        self.scope: dict[str, Any] = {}
        self.app = InfraMiddleware(
            app or answer(),
            request_id=RequestID(**options),
            tracing=Tracing(tracer_provider=provider),
            metrics=False,
            access_log=AccessLog(stream=self.lines),
        )

    def drive(self, scope: dict[str, Any], received: Any = ({"type": "http.request"},)) -> str:
        """Run an exchange; check that all signals have one id, and return it."""
        sent = drive(self.app, scope, received)
        (shown,) = echoed(sent)
        request_id = shown.decode("ascii")
        (span,) = self.exporter.get_finished_spans()
        assert scope["asgi_infra"]["request_id"] == request_id
        assert self.lines.one["request_id"] == request_id
        assert span.attributes["request_id"] == request_id
        return request_id

    @property
    def told(self) -> str:
        """All that was said of the exchange but for the response."""
        spans = "".join(span.to_json() for span in self.exporter.get_finished_spans())
        return self.lines.getvalue().decode() + spans


# Accepted or replaced


@pytest.mark.parametrize(
    "value",
    [
        b"a",
        b"0191b5a3-7c1e-7d2f-9c3a-1b2c3d4e5f60",
        b"01J6ZQ8X7N9V4K2M5P3R1T0WYB",
        b"f" * 32,
        b"Root=1-67891233-abcdef012345678912345678",
        b"az09AZ._:+/=@~-",
        b"x" * 128,
    ],
    ids=["one", "uuid", "ulid", "nginx", "aws", "all characters", "longest"],
)
def test_a_valid_id_is_taken_and_echoed(value: bytes) -> None:
    assert Everything().drive(asking(value)) == value.decode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b" ",
        b"two words",
        b"id\r\nset-cookie: a=b",
        b"id\n",
        b"id\x00",
        b"\xc3\xa9",
        b"\xff\xfe",
        b"x" * 129,
        b"-" * 5000,
        b"-" * 5000 + b"0" * 32,
        b"{5b1c}",
        b"<script>",
        b'"quoted"',
        b"a,b",
        b"${jndi:ldap://198.51.100.1/a}",
        b"x" * 1_000_000,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_id_that_is_not_valid_is_replaced(value: bytes | None) -> None:
    assert UUID7.fullmatch(Everything().drive(asking(value)))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text("abcXYZ019._:+/=@~-", max_size=140).map(str.encode))
def test_property_14_propagation_an_accepted_id_is_echoed_and_a_refused_one_appears_nowhere(value: bytes) -> None:
    everything = Everything()
    shown = everything.drive(asking(value))
    if 1 <= len(value) <= 128 and not set(value) - set(
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._:+/=@~-"
    ):
        assert shown.encode() == value
    else:
        assert UUID7.fullmatch(shown)
        marked = value.decode("latin-1")
        if len(marked) > 3:  # shorter ones may stand anywhere by chance
            assert marked not in shown
            assert marked not in everything.told


def test_of_several_ids_the_first_counts() -> None:
    scope = http_scope(headers=[(HEADER, b"first"), (HEADER, b"second")])
    assert Everything().drive(scope) == "first"


def test_max_length_is_the_longest_id_that_is_accepted() -> None:
    assert Everything(max_length=5).drive(asking(b"abcde")) == "abcde"
    assert UUID7.fullmatch(Everything(max_length=5).drive(asking(b"abcdef")))


def test_the_clients_id_is_not_taken_where_nobody_is_trusted() -> None:
    everything = Everything(accept=False)
    assert UUID7.fullmatch(everything.drive(asking(b"mine-1")))
    assert "mine-1" not in everything.told


def test_another_header_is_read_and_echoed_in_any_case() -> None:
    sent = drive(RequestIDMiddleware(answer(), header="X-Correlation-ID"), asking(b"c-1", b"x-correlation-id"))
    assert echoed(sent, b"x-correlation-id") == [b"c-1"]
    assert echoed(sent) == []


def test_nothing_is_echoed_where_that_is_off() -> None:
    scope = asking(b"quiet-1")
    assert echoed(drive(RequestIDMiddleware(answer(), echo=False), scope)) == []
    assert scope["asgi_infra"]["request_id"] == "quiet-1"


# Validator and generator


def test_a_validator_decides_after_length_and_characters() -> None:
    asked: list[str] = []

    def validator(request_id: str) -> bool:
        asked.append(request_id)
        return request_id.startswith("shop-")

    assert Everything(validator=validator).drive(asking(b"shop-1")) == "shop-1"
    assert UUID7.fullmatch(Everything(validator=validator).drive(asking(b"other-1")))
    assert UUID7.fullmatch(Everything(validator=validator).drive(asking(b"shop-\r\n")))
    assert asked == ["shop-1", "other-1"]


def test_a_match_of_a_regular_expression_is_a_verdict() -> None:
    validator: Any = re.compile("[0-9a-f]{32}").fullmatch
    assert Everything(validator=validator).drive(asking(b"a" * 32)) == "a" * 32
    assert UUID7.fullmatch(Everything(validator=validator).drive(asking(b"b" * 31)))


def test_an_id_is_replaced_when_the_validator_is_broken(counted: dict[Any, int]) -> None:
    def validator(request_id: str) -> bool:
        raise LookupError(request_id)

    everything = Everything(validator=validator)
    assert UUID7.fullmatch(everything.drive(asking(b"asked-1")))
    assert "asked-1" not in everything.told
    assert counted == {("request_id.validator", "LookupError"): 1}


def test_a_generator_makes_the_ids() -> None:
    numbers = iter(range(10))
    everything = Everything(generator=lambda: f"order-{next(numbers)}")
    assert everything.drive(asking(None)) == "order-0"


@pytest.mark.parametrize(
    "made",
    ["", "two words", "a\r\nb: c", "é", "\ud800", "x" * 129, None, 5, b"bytes", uuid.UUID(int=5), ["list"]],
    ids=ascii,
)
def test_what_a_generator_may_not_return_is_replaced_and_counted(made: Any, counted: dict[Any, int]) -> None:
    assert UUID7.fullmatch(Everything(generator=lambda: made).drive(asking(None)))
    ((place, _),) = counted
    assert place == "request_id.generator"


def test_a_generator_that_raises_is_replaced_and_counted(counted: dict[Any, int]) -> None:
    def generator() -> str:
        raise OSError("no entropy")

    assert UUID7.fullmatch(Everything(generator=generator).drive(asking(None)))
    assert counted == {("request_id.generator", "OSError"): 1}


# Every response has it


@pytest.mark.parametrize("status", [200, 204, 304, 404, 405, 500, 503])
def test_every_status_carries_the_id(status: int) -> None:
    assert echoed(drive(RequestIDMiddleware(answer(status)), asking(b"s-1"))) == [b"s-1"]


def test_an_id_that_the_application_set_is_replaced_and_all_other_headers_stay() -> None:
    headers = [(b"set-cookie", b"a=1"), (HEADER, b"own"), (b"set-cookie", b"b=2")]
    sent = drive(RequestIDMiddleware(answer(headers=headers)), asking(b"given"))
    assert sent[0]["headers"] == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (HEADER, b"given")]


def test_a_response_without_headers_gets_the_id() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    assert echoed(drive(RequestIDMiddleware(app), asking(b"bare-1"))) == [b"bare-1"]


def test_the_500_of_starlettes_outermost_middleware_carries_the_id_that_handlers_see() -> None:
    seen: list[str | None] = []

    async def broken(request: Any) -> None:
        raise RuntimeError("shop")

    async def handler(request: Any, error: Exception) -> PlainTextResponse:
        seen.append(get_request_id())
        return PlainTextResponse("sorry", 500)

    app = Starlette(routes=[Route("/items/7", broken)], exception_handlers={500: handler})
    install(app, metrics=False, tracing=False, access_log=False)
    sent: list[Any] = []

    async def main() -> None:
        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        with pytest.raises(RuntimeError, match="shop"):
            await app(asking(b"broken-1"), receive, send)

    anyio.run(main)
    assert sent[0]["status"] == 500
    assert echoed(sent) == [b"broken-1"]
    assert seen == ["broken-1"]


@pytest.mark.parametrize("kind", ["accept", "refuse", "deny"])
def test_a_websocket_carries_the_id_from_its_first_answer(kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        if kind == "accept":
            await send({"type": "websocket.accept", "headers": [(b"x-shop", b"1")]})
        if kind == "deny":
            await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})
        else:
            await send({"type": "websocket.close", "code": 1000})

    scope = websocket() | {"headers": [(HEADER, b"ws-1")]}
    sent = drive(RequestIDMiddleware(app), scope, [{"type": "websocket.connect"}])
    assert scope["asgi_infra"]["request_id"] == "ws-1"
    # A close before the acceptance has no headers of its own.
    assert echoed(sent) == ([] if kind == "refuse" else [b"ws-1"])


def test_lifespan_and_unknown_scopes_have_no_id() -> None:
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_request_id())

    for kind in ("lifespan", "telepathy"):
        scope = {"type": kind}
        drive(RequestIDMiddleware(app), scope)
        assert scope == {"type": kind}
    assert seen == [None, None]


def test_an_excluded_path_has_no_id() -> None:
    scope = asking(b"health-1") | {"path": "/health"}
    assert echoed(drive(RequestIDMiddleware(answer(), exclude=["/health"]), scope)) == []
    assert "asgi_infra" not in scope


def test_two_middlewares_around_one_application_make_one_id() -> None:
    sent = drive(RequestIDMiddleware(RequestIDMiddleware(answer())), asking(None))
    assert len(echoed(sent)) == 1


def test_an_inner_middleware_adds_the_id_to_an_exchange_that_has_none() -> None:
    seen = Seen()
    sent = drive(Engine(RequestIDMiddleware(answer()), [seen]), asking(b"inner-1"))
    assert echoed(sent) == [b"inner-1"]
    assert seen.exchanges[0].request_id == "inner-1"
    assert get_request_id() is None


# In the context, and out of it again


async def tell(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the id, as this task sees it after others had their turn."""
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    thread = await anyio.to_thread.run_sync(get_request_id)
    body = f"{get_request_id()} {thread}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.anyio
async def test_property_14_propagation_interleaved_requests_and_their_threads_each_see_their_own() -> None:
    app = RequestIDMiddleware(tell)
    bodies: dict[str, str] = {}

    async def one(name: str) -> None:
        sent = await exchange(app, asking(name.encode()))
        bodies[name] = sent[1]["body"].decode()
        assert echoed(sent) == [name.encode()]
        assert get_request_id() is None

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(one, f"r-{number}")
    assert bodies == {f"r-{number}": f"r-{number} r-{number}" for number in range(40)}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("abc019-", min_size=1, max_size=12), min_size=1, max_size=12), st.randoms())
def test_property_14_propagation_holds_for_any_order_of_turns(names: list[str], random: Any) -> None:
    turns = {index: random.randint(0, 6) for index in range(len(names))}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen = []
        for _ in range(scope["turns"]):
            await asyncio.sleep(0)
            seen.append(get_request_id())
        assert set(seen) <= {scope["expected"]}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": (get_request_id() or "").encode()})

    async def main() -> list[Any]:
        wrapped = RequestIDMiddleware(app)
        return await asyncio.gather(
            *(
                exchange(wrapped, asking(name.encode()) | {"turns": turns[index], "expected": name})
                for index, name in enumerate(names)
            )
        )

    assert [sent[1]["body"].decode() for sent in asyncio.run(main())] == names


@pytest.mark.anyio
async def test_property_14_propagation_tasks_that_a_request_starts_inherit_its_id() -> None:
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def child() -> None:
            await anyio.lowlevel.checkpoint()
            seen.append(get_request_id())

        async with anyio.create_task_group() as group:
            group.start_soon(child)
        await answer()(scope, receive, send)

    await exchange(RequestIDMiddleware(app), asking(b"parent-1"))
    assert seen == ["parent-1"]


@pytest.mark.anyio
async def test_property_14_propagation_background_tasks_keep_the_id_after_the_response() -> None:
    seen: list[str | None] = []

    async def background() -> None:
        seen.append(get_request_id())

    async def item(request: Any) -> PlainTextResponse:
        return PlainTextResponse("lamp", background=BackgroundTask(background))

    app = RequestIDMiddleware(Starlette(routes=[Route("/items/7", item)]))
    await exchange(app, asking(b"late-1"))
    assert seen == ["late-1"]
    assert get_request_id() is None


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
async def test_property_14_propagation_the_id_is_gone_after_an_error(error: type[BaseException]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with bind(request_id="outside"):
        with pytest.raises(error):
            await exchange(RequestIDMiddleware(app), asking(b"failing-1"))
        assert get_request_id() == "outside"


@pytest.mark.anyio
async def test_property_14_propagation_the_id_is_gone_after_a_cancellation() -> None:
    seen: list[str | None] = []
    scope = asking(b"cancelled-1")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_request_id())
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as cancelled:
        await exchange(RequestIDMiddleware(app), scope)
    assert cancelled.cancelled_caught
    assert seen == ["cancelled-1"]
    assert get_request_id() is None
    assert scope["asgi_infra"]["request_id"] == "cancelled-1"  # for those outside, such as the server


@pytest.mark.anyio
async def test_property_14_propagation_the_id_is_gone_after_a_websocket() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert get_request_id() == "ws-2"
        await send({"type": "websocket.close"})

    scope = websocket() | {"headers": [(HEADER, b"ws-2")]}
    await exchange(RequestIDMiddleware(app), scope, [{"type": "websocket.connect"}])
    assert get_request_id() is None


def test_property_14_propagation_two_requests_on_one_connection_have_nothing_of_each_other() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], outside.get(scope["path"]), get_request_id()))
        if scope["path"] == "/broken":
            raise RuntimeError("shop")
        await tell(scope, receive, send)

    wrapped = RequestIDMiddleware(app)
    outside: dict[str, str | None] = {}

    async def server_side(scope: Any, receive: Any, send: Any) -> None:
        outside[scope["path"]] = get_request_id()  # what an earlier request has left in the connection's context
        await wrapped(scope, receive, send)

    with served(server_side, log_level="critical") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.connect()
        first_socket = connection.sock
        answers = []
        for path, headers in (("/1", {"X-Request-ID": "one-1"}), ("/2", {}), ("/3", {"X-Request-ID": "three-3"})):
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            answers.append((response.getheader("x-request-id"), response.read().decode()))
        assert connection.sock is first_socket, "all on one connection"
        connection.request("GET", "/broken", headers={"X-Request-ID": "four-4"})
        connection.getresponse().read()
        connection.close()
        connection.request("GET", "/5")
        response = connection.getresponse()
        answers.append((response.getheader("x-request-id"), response.read().decode()))
        connection.close()

    assert outside == dict.fromkeys(["/1", "/2", "/3", "/broken", "/5"])
    assert answers[0] == ("one-1", "one-1 one-1")
    assert answers[2] == ("three-3", "three-3 three-3")
    for request_id, body in (answers[1], answers[3]):
        assert request_id is not None
        assert UUID7.fullmatch(request_id)
        assert body == f"{request_id} {request_id}"
    assert [(path, request_id) for path, _, request_id in seen if path == "/broken"] == [("/broken", "four-4")]


# For logs


def test_the_filter_gives_records_the_id() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RequestIDFilter(default="none"))
    handler.setFormatter(logging.Formatter("%(request_id)s %(message)s"))
    logger = logging.Logger("shop")
    logger.addHandler(handler)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        logger.info("sold")
        await answer()(scope, receive, send)

    logger.info("starting")
    drive(RequestIDMiddleware(app), asking(b"sale-1"))
    logger.info("stopping")
    assert stream.getvalue() == "none starting\nsale-1 sold\nnone stopping\n"


def test_the_filter_lets_every_record_pass() -> None:
    assert RequestIDFilter().filter(logging.makeLogRecord({})) is True


# Onwards, with outgoing requests


def _clients() -> list[Any]:
    return [
        pytest.param(library, kind, id=f"{library.__name__}-{kind}")
        for library in (httpx, httpx2)
        for kind in ("sync", "async")
    ]


def _ask(library: Any, kind: str, **options: Any) -> list[Any]:
    asked: list[Any] = []

    def handler(request: Any) -> Any:
        asked.append(request)
        return library.Response(200)

    hooks: dict[str, list[Callable[..., Any]]] = {"request": [forward_request_id]}
    transport = library.MockTransport(handler)
    if kind == "sync":
        with library.Client(transport=transport, event_hooks=hooks) as client:
            client.get("https://stock.example.org/lamps", **options)
    else:

        async def main() -> None:
            async with library.AsyncClient(transport=transport, event_hooks=hooks) as client:
                await client.get("https://stock.example.org/lamps", **options)

        asyncio.run(main())
    return asked


@pytest.mark.parametrize(("library", "kind"), _clients())
def test_the_id_travels_on(library: Any, kind: str) -> None:
    with bind(request_id="travel-1"):
        (request,) = _ask(library, kind)
    assert request.headers.get_list("x-request-id") == ["travel-1"]


@pytest.mark.parametrize(("library", "kind"), _clients())
def test_an_outgoing_request_with_an_id_of_its_own_keeps_it(library: Any, kind: str) -> None:
    with bind(request_id="travel-1"):
        (request,) = _ask(library, kind, headers={"x-request-id": "own-1"})
    assert request.headers.get_list("x-request-id") == ["own-1"]


@pytest.mark.parametrize(("library", "kind"), _clients())
def test_outside_of_a_request_nothing_travels(library: Any, kind: str) -> None:
    (request,) = _ask(library, kind)
    assert "x-request-id" not in request.headers
