"""`install`: outermost, once, and the framework's object stays what it was."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.access_log import AccessLog
from asgi_infra.middleware.install import install
from asgi_infra.middleware.stack import InfraMiddleware


class Log:
    """The options of a stack that only answers with an id and writes the access log, and its lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.options: dict[str, Any] = {
            "tracing": False,
            "metrics": False,
            "access_log": AccessLog(stream=self.stream, replace_server_log=False),
        }

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def log() -> Log:
    return Log()


def ask(app: Any, path: str, method: str = "GET") -> tuple[int, list[str]]:
    """Return the status and the values of `X-Request-ID`; what the application raises then is the server's affair."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"x-request-id", b"install-1")],
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        "state": {},
    }
    heads: list[dict[str, Any]] = []

    async def run() -> None:
        over = asyncio.Event()
        incoming = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if incoming:
                return incoming.pop(0)
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                heads.append(message)
            elif not message.get("more_body"):
                over.set()

        try:
            await app(scope, receive, send)
        except LookupError:
            assert heads

    asyncio.run(run())
    ids = [value.decode() for name, value in heads[0]["headers"] if name.lower() == b"x-request-id"]
    return heads[0]["status"], ids


async def answer(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def boom(request: Any) -> None:
    raise LookupError("broken")


def starlette_app() -> Starlette:
    mount = Mount("/t/{tenant}", routes=[Route("/x", answer)])
    return Starlette(routes=[Route("/a/{b}", answer), Route("/boom", boom), mount])


def fastapi_app() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/a/{b}", lambda b: b)
    app.add_route("/boom", boom)
    app.mount("/t/{tenant}", Starlette(routes=[Route("/x", answer)]))
    return app


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
def test_starlette_and_fastapi_stay_what_they_are_and_errors_carry_the_id(make, log):
    app = make()
    kind = type(app)
    assert install(app, **log.options) is app
    assert type(app) is kind
    app.add_middleware(GZipMiddleware)  # after install() too
    assert ask(app, "/a/1") == (200, ["install-1"])
    assert ask(app, "/none") == (404, ["install-1"])
    assert ask(app, "/a/1", "DELETE") == (405, ["install-1"])
    assert ask(app, "/boom") == (500, ["install-1"])
    assert ask(app, "/t/acme/x") == (200, ["install-1"])
    assert [line["route"] for line in log.lines] == ["/a/{b}", None, "/a/{b}", "/boom", "/t/{tenant}/x"]
    assert log.lines[3]["error_type"] == "LookupError"


def test_it_is_outside_of_the_middlewares_of_the_application(log):
    class Refuses:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("no", status_code=403)(scope, receive, send)

    app = install(Starlette(middleware=[Middleware(Refuses)]), **log.options)
    assert ask(app, "/a/1") == (403, ["install-1"])
    assert log.lines[0]["status"] == 403


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
def test_an_application_that_has_started_is_refused(make):
    app = make()
    ask(app, "/a/1")
    with pytest.raises(ConfigurationError, match=rf"this {type(app).__name__} has.*Call install\(\) where"):
        install(app)


def test_litestar_stays_what_it_is_and_404_405_and_500_carry_the_id(log):
    @get("/a/{b:str}")
    async def read() -> str:
        return "ok"

    @get("/boom")
    async def broken() -> None:
        raise LookupError("broken")

    app = Litestar([read, broken], openapi_config=None, logging_config=None)
    assert install(app, **log.options) is app
    assert type(app) is Litestar
    assert ask(app, "/a/1") == (200, ["install-1"])
    assert ask(app, "/none") == (404, ["install-1"])
    assert ask(app, "/a/1", "DELETE") == (405, ["install-1"])
    assert ask(app, "/boom") == (500, ["install-1"])
    assert [line["route"] for line in log.lines] == ["/a/{b}", None, None, "/boom"]


def test_quart_stays_what_it_is_and_says_its_routes(log):
    quart = pytest.importorskip("quart", reason="this Quart does not run on this Python")
    app = quart.Quart("shop")

    @app.get("/a/<int:b>")
    async def read(b: int) -> str:
        return "ok"

    assert install(app, **log.options) is app
    assert type(app) is quart.Quart
    assert ask(app, "/a/1") == (200, ["install-1"])
    assert ask(app, "/none") == (404, ["install-1"])
    assert [line["route"] for line in log.lines] == ["/a/{b}", None]


def test_falcon_is_wrapped_and_says_its_routes(log):
    falcon = pytest.importorskip("falcon.asgi")

    class Read:
        async def on_get(self, req: Any, resp: Any, b: int) -> None:
            resp.text = "ok"

    app = falcon.App()
    app.add_route("/a/{b:int}", Read())
    wrapped = install(app, **log.options)
    assert isinstance(wrapped, InfraMiddleware)
    assert ask(wrapped, "/a/1") == (200, ["install-1"])
    assert log.lines[0]["route"] == "/a/{b}"


def test_blacksheep_is_wrapped_and_says_its_routes(log):
    blacksheep = pytest.importorskip("blacksheep", reason="this BlackSheep does not run on this Python")
    app = blacksheep.Application(router=blacksheep.Router())

    @app.router.get("/a/{b}")
    async def read(b: int) -> str:
        return "ok"

    wrapped = install(app, **log.options)
    assert isinstance(wrapped, InfraMiddleware)
    assert ask(wrapped, "/a/1")[1] == ["install-1"]
    assert log.lines[0]["route"] == "/a/{b}"


def test_django_is_wrapped_and_says_its_routes(log):
    django = pytest.importorskip("django")
    from django.conf import settings
    from django.http import HttpResponse
    from django.test.utils import override_settings
    from django.urls import path

    if not settings.configured:
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], LOGGING_CONFIG=None)
        django.setup()
    from django.core.asgi import get_asgi_application

    class Urls:
        urlpatterns = (path("a/<int:b>", lambda request, b: HttpResponse("ok")),)

    with override_settings(ROOT_URLCONF=Urls):
        wrapped = install(get_asgi_application(), **log.options)
        assert isinstance(wrapped, InfraMiddleware)
        assert ask(wrapped, "/a/1") == (200, ["install-1"])
    assert log.lines[0]["route"] == "/a/{b}"


def test_any_other_application_is_wrapped(log):
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        scope["path_template"] = "/mine/<x>"
        await PlainTextResponse("ok")(scope, receive, send)

    wrapped = install(plain, **log.options)
    assert ask(wrapped, "/mine/1") == (200, ["install-1"])
    assert log.lines[0]["route"] == "/mine/{x}"


def quart_app() -> Any:
    return pytest.importorskip("quart", reason="this Quart does not run on this Python").Quart("shop")


@pytest.mark.parametrize(
    "make", [starlette_app, fastapi_app, lambda: Litestar([], logging_config=None), quart_app, lambda: answer_asgi]
)
def test_a_second_time_changes_nothing(make, log):
    once = install(make(), **log.options)
    assert install(once, **log.options) is once
    assert ask(once, "/none")[1] == ["install-1"]
    assert len(log.lines) == 1


async def answer_asgi(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("ok")(scope, receive, send)


def test_with_add_middleware_beside_it_one_line_is_written(log):
    app = starlette_app()
    app.add_middleware(InfraMiddleware, **log.options)
    install(app, **log.options)
    assert ask(app, "/a/1") == (200, ["install-1"])
    assert len(log.lines) == 1


@pytest.mark.parametrize("make", [starlette_app, fastapi_app, quart_app, lambda: answer_asgi])
def test_a_wrong_option_is_told_at_once(make):
    with pytest.raises(ConfigurationError, match="service"):
        install(make(), service=" ")


@pytest.mark.parametrize(("feature", "name"), [("access_log", "AccessLog"), ("request_id", "RequestID")])
def test_a_feature_with_something_else_than_its_options_is_told_what_they_are(feature, name):
    with pytest.raises(ConfigurationError, match=rf"^{feature} must be True, False or {name}\(\.\.\.\), not 'yes'$"):
        install(starlette_app(), **{feature: "yes"})


@pytest.mark.parametrize("app", [None, 7, "module:app", Starlette])
def test_what_is_no_application_is_refused(app):
    with pytest.raises(ConfigurationError, match="app must be an ASGI application"):
        install(app)


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
def test_add_middleware_records_a_500_whose_response_has_no_id(make, log):
    app = make()
    app.add_middleware(InfraMiddleware, **log.options)
    assert ask(app, "/none") == (404, ["install-1"])
    assert ask(app, "/boom") == (500, []), "the response is made outside of the middlewares that are added"
    assert (log.lines[1]["outcome"], log.lines[1]["error_type"], log.lines[1]["route"]) == (
        "error",
        "LookupError",
        "/boom",
    )


def test_define_middleware_in_litestar_runs_after_routing(log):
    from litestar.middleware import DefineMiddleware

    @get("/a/{b:str}")
    async def read() -> str:
        return "ok"

    @get("/boom")
    async def broken() -> None:
        raise LookupError("broken")

    middleware = [DefineMiddleware(InfraMiddleware, **log.options)]
    app = Litestar([read, broken], middleware=middleware, openapi_config=None, logging_config=None)
    assert ask(app, "/a/1") == (200, ["install-1"])
    assert ask(app, "/none") == (404, [])
    assert ask(app, "/a/1", "DELETE") == (405, [])
    assert ask(app, "/boom") == (500, ["install-1"])
    assert [(line["route"], line["status"]) for line in log.lines] == [("/a/{b}", 200), ("/boom", 500)]
