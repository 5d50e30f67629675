"""Wrapped or bare, an application and its server see the same: real frameworks, and whatever messages there may be."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording import EMPTY, GONE, everything, request

from asgi_infra.testing import Driven, drive, http_scope, websocket_scope

APPS = Path(__file__).parents[1] / "matrix" / "apps"
OURS = {"asgi_infra", "fastapi.telemetry", "starlette.opentelemetry"}
"""What the scope holds for and because of us."""
HEADS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


def without_id(message: Any) -> Any:
    """Return a message as the application sent it, and so that two of them can be compared."""
    if not isinstance(message, dict) or message.get("type") not in HEADS:
        return message
    headers = message.get("headers") or ()
    if isinstance(headers, (list, tuple)):
        pairs = [tuple(pair) if isinstance(pair, list) else pair for pair in headers]
        headers = [pair for pair in pairs if not isinstance(pair, tuple) or pair[:1] != (b"x-request-id",)]
    return {**message, "headers": headers}


# Real frameworks


def matrix_app(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"transparent_{name}", APPS / f"{name}_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # Litestar looks for it there
    spec.loader.exec_module(module)
    return module.app


def django_app() -> Any:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], LOGGING_CONFIG=None)
        django.setup()
    from django.core.handlers.asgi import ASGIHandler

    class Handler(ASGIHandler):
        """Closes the file of a request's body, which Django leaves to the collector where the response fails."""

        async def read_body(self, receive: Any) -> Any:
            self.body_file = await super().read_body(receive)
            return self.body_file

        async def handle(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await super().handle(scope, receive, send)
            finally:
                if hasattr(self, "body_file"):
                    self.body_file.close()

    return Handler()


class DjangoUrls:
    """What Django reads as its ROOT_URLCONF."""

    def __init__(self) -> None:
        from django.http import HttpResponse, StreamingHttpResponse
        from django.urls import path
        from django.views.decorators.http import require_POST, require_safe

        async def item(request: Any, **parameters: Any) -> HttpResponse:
            return HttpResponse(repr(parameters))

        async def echo(request: Any) -> HttpResponse:
            return HttpResponse(request.body)

        async def boom(request: Any) -> HttpResponse:
            raise LookupError("broken on purpose")

        def streaming(*, fails: bool) -> Any:
            async def chunks() -> Any:
                for _ in range(3):
                    yield b"tick"
                    await anyio.lowlevel.checkpoint()
                if fails:
                    raise LookupError("broken on purpose, in mid-stream")

            async def view(request: Any) -> StreamingHttpResponse:
                return StreamingHttpResponse(chunks())

            return view

        self.urlpatterns = [
            path("items/<int:item_id>", require_safe(item)),
            path("echo", require_POST(echo)),
            path("boom", boom),
            path("stream", streaming(fails=True)),
            path("slow", streaming(fails=False)),
            path("t/<tenant>/x/<y>", item),
        ]


@pytest.fixture(scope="module", params=["starlette", "fastapi", "litestar", "quart", "django", "falcon", "blacksheep"])
def framework(request: pytest.FixtureRequest) -> Any:
    """The application of a framework, with the same routes for all."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} does not run on this Python")
    if request.param != "django":
        yield matrix_app(request.param)
        return
    app = django_app()
    from django.test.utils import override_settings

    with override_settings(ROOT_URLCONF=DjangoUrls()):
        yield app


class Spy:
    """Stands between the middleware and the application, and remembers what the application sees and sends."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.received: list[Any] = []
        self.sent: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = {key: copy.copy(value) for key, value in scope.items() if key not in OURS}

        async def spying_receive() -> Any:
            message = await receive()
            self.received.append(message)
            return message

        async def spying_send(message: Any) -> None:
            self.sent.append(copy.copy(message))
            await send(message)

        await self.app(scope, spying_receive, spying_send)


def seen(app: Any, wrap: Any, scope: Any, messages: Any, breaks_at: int | None) -> dict[str, Any]:
    spy = Spy(app)
    sends = 0

    def on_send(message: Any) -> None:
        nonlocal sends
        sends += 1
        if breaks_at is not None and sends >= breaks_at:
            raise BrokenPipeError("the client has gone")

    async def exchange() -> Driven:
        return await drive(wrap(spy), copy.deepcopy(scope), copy.deepcopy(messages), on_send=on_send)

    driven = anyio.run(exchange)
    return {
        "what the server sees": [without_id(message) for message in driven.sent],
        "what the server gives": driven.received,
        "what the application sends": [without_id(message) for message in spy.sent],
        "what the application receives": spy.received,
        "the scope it starts with": spy.scope,
        "what it raises": repr(driven.error),
    }


CONNECT = {"type": "websocket.connect"}
EXCHANGES: dict[str, tuple[Any, list[Any] | None, int | None]] = {
    "answer": (http_scope(path="/items/7"), None, None),
    "head": (http_scope("HEAD", "/items/7"), None, None),
    "own id": (http_scope(path="/items/7", headers=[(b"x-request-id", b"client-1"), (b"x", b"\xff")]), None, None),
    "body in parts": (
        http_scope("POST", "/echo", headers=[(b"content-length", b"4")]),
        [request(b"ab", more_body=True), request(b"cd")],
        None,
    ),
    "disconnect within the body": (
        http_scope("POST", "/echo", headers=[(b"content-length", b"4")]),
        [request(b"ab", more_body=True), GONE],
        None,
    ),
    "failure": (http_scope(path="/boom"), None, None),
    "failure within the response": (http_scope(path="/stream"), None, None),
    "disconnect within the response": (http_scope(path="/slow"), [EMPTY, GONE], None),
    "send fails": (http_scope(path="/slow"), None, 3),
    "send fails at the head": (http_scope(path="/items/7"), None, 1),
    "not found": (http_scope(path="/none"), None, None),
    "wrong method": (http_scope("DELETE", "/items/7"), None, None),
    "unknown method": (http_scope("ODD", "/items/7"), None, None),
    "nested route": (http_scope(path="/t/acme/x/1", query_string=b"q=%FF\xff"), None, None),
    "below a root path": (http_scope(path="/api/items/7", root_path="/api"), None, None),
    "no addresses": (http_scope(path="/items/7", client=None, server=None), None, None),
    "websocket": (websocket_scope("/ws"), [CONNECT, {"type": "websocket.receive", "text": "hi"}], None),
    "websocket that ends at once": (websocket_scope("/ws"), [CONNECT, {"type": "websocket.disconnect"}], None),
    "unknown websocket": (websocket_scope("/none"), None, None),
    "lifespan": ({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, None, None),
}


@pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES)
def test_a_framework_and_its_server_see_the_same_wrapped_and_bare(framework, exchange):
    bare = seen(framework, lambda app: app, *exchange)
    wrapped = seen(framework, everything, *exchange)
    assert wrapped == bare


# Whatever messages there may be

ABSENT = object()


def dictionaries(kind: str, **fields: Any) -> Any:
    """Messages of a type, each of whose keys may be missing."""
    drawn = st.fixed_dictionaries({name: values | st.just(ABSENT) for name, values in fields.items()})
    return drawn.map(
        lambda found: {"type": kind, **{key: value for key, value in found.items() if value is not ABSENT}}
    )


flags = st.sampled_from([True, False, None, 0, "yes"])
bodies = st.sampled_from([b"", b"abc", b"\xff" * 70, None, bytearray(b"xy"), "text", 5])
names = st.sampled_from([b"a", b"content-type", b"\xff", b"", b"A-B"])
headers = st.one_of(
    st.lists(st.tuples(names, names), max_size=3),
    st.lists(st.tuples(names, names), max_size=3).map(tuple),
    st.lists(st.lists(names, min_size=2, max_size=2), max_size=3),
    st.sampled_from([None, 5, [None], [b"ab"], [(b"a",)], [("a", "b")], [(None, None)], {b"a": b"b"}]),
)
statuses = st.sampled_from([200, 204, 404, 500, 503, 0, True, None, "200", 2.5])
codes = st.sampled_from([1000, 1011, None, "x"])
responses = st.one_of(
    dictionaries("http.response.start", status=statuses, headers=headers, trailers=flags),
    dictionaries("http.response.body", body=bodies, more_body=flags),
    dictionaries("http.response.trailers", headers=headers, more_trailers=flags),
    dictionaries("http.response.pathsend", path=st.just("/srv/file")),
    dictionaries("http.response.zerocopysend", file=st.just(3), more_body=flags),
    dictionaries("http.response.early_hint", links=st.just([b"</a.css>"])),
    dictionaries("websocket.accept", headers=headers, subprotocol=st.none()),
    dictionaries("websocket.send", text=st.sampled_from(["é", None, 5]), bytes=bodies),
    dictionaries("websocket.close", code=codes, reason=st.none()),
    dictionaries("websocket.http.response.start", status=statuses, headers=headers),
    dictionaries("websocket.http.response.body", body=bodies, more_body=flags),
    dictionaries("odd.extension", data=bodies),
    st.sampled_from([{}, {"type": None}, {"type": []}, None, 5, "http.response.body"]),
)
requests = st.one_of(
    dictionaries("http.request", body=bodies, more_body=flags),
    dictionaries("http.disconnect"),
    dictionaries("websocket.connect"),
    dictionaries("websocket.receive", text=st.sampled_from(["é", None, 5]), bytes=bodies),
    dictionaries("websocket.disconnect", code=codes),
    dictionaries("odd.extension", data=bodies),
    st.sampled_from([{}, {"type": None}, None]),
)
steps = st.lists(st.just("receive") | responses, max_size=8)


class Stopped(BaseException):
    """Stands for what is no `Exception`."""


def events(wrap: Any, scope: Any, steps: Any, incoming: Any, fails_at: int, failure: Any, end: Any) -> list[Any]:
    """Return all that happens, in order, as application and server see it."""
    log: list[Any] = []
    script = iter(incoming)

    async def server_receive() -> Any:
        log.append("asked")
        return next(script, GONE)

    async def server_send(message: Any) -> None:
        log.append(("server", without_id(message)))
        if sum(event[0] == "server" for event in log) > fails_at:
            raise failure

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for step in steps:
            try:
                if step == "receive":
                    log.append(("application", await receive()))
                else:
                    await send(step)
                    log.append("sent")
            except Exception as exc:
                log.append(("raised", exc))
                if end is None:
                    raise
        if end is not None:
            raise end

    call = wrap(app)(scope, server_receive, server_send)
    try:
        call.send(None)
    except StopIteration:
        log.append("returned")
    except BaseException as exc:
        log.append(("reraised", exc))
    return log


@settings(max_examples=400, deadline=None)
@given(
    scope=st.sampled_from([http_scope(), websocket_scope(), {"type": "http"}, {"type": "websocket", "headers": None}]),
    steps=steps,
    incoming=st.lists(requests, max_size=4),
    fails_at=st.integers(0, 8),
    failure=st.sampled_from([OSError("gone"), RuntimeError("refused")]),
    end=st.sampled_from([None, ValueError("x"), ExceptionGroup("x", [KeyError()]), Stopped(), GeneratorExit()]),
)
def test_whatever_is_sent_and_received_application_and_server_see_the_same_in_the_same_order(
    scope, steps, incoming, fails_at, failure, end
):
    before = copy.deepcopy((steps, incoming))
    bare = events(lambda app: app, dict(scope), steps, incoming, fails_at, failure, end)
    wrapped = events(everything_shared, dict(scope), steps, incoming, fails_at, failure, end)
    assert wrapped == bare
    assert (steps, incoming) == before


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


_stack = everything(nothing)


def everything_shared(app: Any) -> Any:
    """The stack around one more application; making a new one for each example takes long."""
    _stack.app = app
    return _stack
