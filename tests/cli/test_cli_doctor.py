from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest
from cli_django import unconfigured
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute

from asgi_infra.cli.doctor import diagnose
from asgi_infra.cli.doctor.layers import examine
from asgi_infra.cli.doctor.peers import PEERS
from asgi_infra.cli.doctor.routes import preview
from asgi_infra.middleware.hooks import publish_routes
from asgi_infra.middleware.install import install
from asgi_infra.middleware.metrics import MetricsMiddleware
from asgi_infra.middleware.request_id import RequestIDMiddleware
from asgi_infra.middleware.stack import InfraMiddleware


async def plain(scope, receive, send):
    """An application of no framework."""


async def endpoint(request):
    return Response("fine")


@pytest.fixture(autouse=True)
def _django_settings():
    with unconfigured() as settings:
        settings.configure(MIDDLEWARE=[], USE_TZ=True)
        yield


def codes(app, level=None, **environ):
    return [f.code for f in diagnose(examine(app), environ) if level is None or f.level == level]


def worse_than_info(app, **environ):
    return [f.code for f in diagnose(examine(app), environ) if f.level != "info"]


def litestar():
    from litestar import Litestar

    return Litestar(openapi_config=None)


def quart():
    from quart import Quart

    return Quart("shop")


def django():
    from django.core.handlers.asgi import ASGIHandler

    return ASGIHandler()


def falcon():
    import falcon.asgi

    return falcon.asgi.App()


def blacksheep():
    blacksheep = pytest.importorskip("blacksheep", reason="it is not there for this Python")
    return blacksheep.Application(router=blacksheep.Router())  # the default one is shared by all applications


FRAMEWORKS = [("Starlette", Starlette), ("FastAPI", FastAPI), ("Litestar", litestar), ("Quart", quart)]
FRAMEWORKS += [("Django", django), ("Falcon", falcon), ("BlackSheep", blacksheep)]


@pytest.mark.parametrize(("name", "make"), FRAMEWORKS)
def test_the_framework_is_recognised_and_its_version_known(name, make):
    anatomy = examine(make())
    assert anatomy.framework == name
    assert anatomy.version


@pytest.mark.parametrize(("name", "make"), FRAMEWORKS)
def test_nothing_is_wrong_with_an_application_that_install_was_called_on(name, make):
    assert worse_than_info(install(make())) == []


@pytest.mark.parametrize(("name", "make"), FRAMEWORKS)
def test_an_application_without_us_is_told_so(name, make):
    assert worse_than_info(make()) == ["middleware-missing"]


def test_a_plain_application_has_no_framework_and_nothing_wrong():
    anatomy = examine(InfraMiddleware(plain))
    assert (anatomy.framework, [layer.features for layer in anatomy.layers]) == (
        None,
        [("request_id", "tracing", "metrics", "access_log")],
    )
    assert worse_than_info(InfraMiddleware(plain)) == []


def test_the_chain_is_seen_through_functions_and_starlettes_own_middleware():
    def timing(app):
        async def timed(scope, receive, send):
            await app(scope, receive, send)

        return timed

    inner = Starlette()
    inner.add_middleware(GZipMiddleware)
    names = [layer.name.rpartition(".")[2] for layer in examine(timing(InfraMiddleware(inner))).layers]
    assert names == ["timed", "InfraMiddleware", "ServerErrorMiddleware", "GZipMiddleware", "ExceptionMiddleware"]


def test_a_chain_that_bites_its_tail_ends():
    class Loop:
        async def __call__(self, scope, receive, send): ...

    loop = Loop()
    loop.app = loop
    assert len(examine(loop).layers) == 1


def test_two_stacks_are_one_too_many_but_two_features_are_not():
    assert "middleware-twice" in codes(InfraMiddleware(InfraMiddleware(plain)))
    assert "middleware-twice" not in codes(RequestIDMiddleware(MetricsMiddleware(plain)))


def test_add_middleware_is_not_outermost():
    app = Starlette()
    app.add_middleware(InfraMiddleware)
    (finding,) = [f for f in diagnose(examine(app), {}) if f.level == "warning"]
    assert finding.code == "middleware-inside"
    assert finding.why == "Those responses carry no request id; metrics and log count them as 500, which they are."


def test_what_stands_outside_of_us_is_a_hint_unless_it_belongs_there():
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    assert "middleware-above" in codes(GZipMiddleware(InfraMiddleware(plain)), "info")
    assert "middleware-above" not in codes(ProxyHeadersMiddleware(InfraMiddleware(plain)))
    assert "middleware-above" not in codes(InfraMiddleware(GZipMiddleware(plain)))


def test_litestars_middleware_misses_404s():
    from litestar import Litestar
    from litestar.middleware import DefineMiddleware

    app = Litestar(middleware=[DefineMiddleware(InfraMiddleware, service="shop")], openapi_config=None)
    assert worse_than_info(app) == ["middleware-inside"]


def test_a_base_http_middleware_is_named():
    class Greeting(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            return await call_next(request)

    app = Starlette()
    app.add_middleware(Greeting)
    (finding,) = [f for f in diagnose(examine(install(app)), {}) if f.level == "warning"]
    assert (finding.code, "Greeting" in finding.what) == ("base-http-middleware", True)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.module)
def test_what_does_the_same_as_a_feature_of_ours_is_named_once(peer):
    class Middleware(GZipMiddleware):
        __module__ = f"{peer.module}.middleware"

    findings = [f for f in diagnose(examine(InfraMiddleware(Middleware(Middleware(plain)))), {}) if f.level != "info"]
    assert [f.code for f in findings] == [f"doubles-{peer.feature.replace('_', '-')}"]
    assert peer.package in findings[0].what


def test_a_middleware_whose_module_only_begins_like_a_peers_is_none():
    class Middleware(GZipMiddleware):
        __module__ = "ddtracer.middleware"

    assert worse_than_info(InfraMiddleware(Middleware(plain))) == []


@pytest.mark.parametrize(
    ("module", "name", "code"),
    [
        ("starlette.middleware.opentelemetry", "OpenTelemetryMiddleware", "doubles-tracing"),
        ("asgi_correlation_id", "CorrelationIdMiddleware", "doubles-request-id"),
        ("starlette_exporter", "PrometheusMiddleware", "doubles-metrics"),
    ],
)
def test_the_peers_middlewares_are_where_we_look_for_them(module, name, code):
    app = Starlette()
    app.add_middleware(getattr(pytest.importorskip(module, reason=f"{module} is not installed"), name))
    assert worse_than_info(install(app)) == [code]


def test_prometheus_fastapi_instrumentator_doubles_ours():
    peer = pytest.importorskip("prometheus_fastapi_instrumentator", reason="it comes with the extra 'bench' alone")
    app = FastAPI()
    peer.Instrumentator(registry=CollectorRegistry()).instrument(app)
    assert worse_than_info(install(app)) == ["doubles-metrics"]


def test_the_contrib_instrumentation_doubles_ours():
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app)
    try:
        assert worse_than_info(InfraMiddleware(app)) == ["doubles-tracing"]
    finally:
        FastAPIInstrumentor.uninstrument_app(app)


@pytest.mark.parametrize(
    ("options", "expected"), [({"traces_sample_rate": 0.1}, ["doubles-tracing"]), ({"traces_sample_rate": 0}, [])]
)
def test_sentry_doubles_ours_when_it_traces(options, expected, monkeypatch):
    sentry = ModuleType("sentry_sdk")
    sentry.get_client = lambda: SimpleNamespace(is_active=lambda: True, options=options)
    monkeypatch.setitem(sys.modules, "sentry_sdk", sentry)
    assert worse_than_info(InfraMiddleware(plain)) == expected


def test_ddtrace_doubles_ours_unless_it_is_off(monkeypatch):
    monkeypatch.setitem(sys.modules, "ddtrace", ModuleType("ddtrace"))
    assert worse_than_info(InfraMiddleware(plain)) == ["doubles-tracing"]
    monkeypatch.setenv("DD_TRACE_ENABLED", "false")
    assert worse_than_info(InfraMiddleware(plain)) == []


def test_fastapis_own_telemetry_is_a_hint_unless_it_is_off():
    pytest.importorskip("fastapi.telemetry", reason="this FastAPI has no telemetry of its own")
    assert "fastapi-telemetry" in codes(InfraMiddleware(FastAPI()), "info")
    (adopting,) = [f for f in diagnose(examine(install(FastAPI())), {}) if f.code == "fastapi-telemetry"]
    assert adopting.level == "info"
    assert adopting.what.startswith("our middleware is inside FastAPI's telemetry, which makes the server span")
    assert "fastapi-telemetry" not in codes(install(FastAPI(telemetry={"tracing": False})))


def test_a_middleware_that_cannot_be_built_is_an_error():
    class Picky:
        def __init__(self, app):
            raise ValueError("no licence\nat all")

    app = Starlette()
    app.add_middleware(Picky)
    (finding,) = [f for f in diagnose(examine(app), {}) if f.level == "error"]
    assert (finding.code, finding.what) == (
        "middleware-fails",
        "putting the middleware together failed: ValueError: no licence",
    )


@pytest.mark.parametrize("make", [quart, django, falcon, blacksheep])
def test_frameworks_that_hide_their_routes_need_the_hook(make):
    app = make()
    assert worse_than_info(InfraMiddleware(app)) == ["routes-hidden"]
    publish_routes(app)
    assert worse_than_info(InfraMiddleware(app)) == []


def test_a_missing_tracer_provider_is_a_hint_and_a_warning_where_spans_are_wanted():
    assert "no-tracer-provider" in codes(InfraMiddleware(plain), "info")
    assert "no-tracer-provider" in codes(InfraMiddleware(plain), "warning", OTEL_TRACES_EXPORTER="otlp")
    assert "no-tracer-provider" in codes(InfraMiddleware(plain), "info", OTEL_TRACES_EXPORTER="none")
    assert "no-tracer-provider" not in codes(InfraMiddleware(plain, tracing=False))


def test_workers_need_a_directory_for_their_metrics(tmp_path):
    app = InfraMiddleware(plain)
    assert worse_than_info(app, WEB_CONCURRENCY="1") == []
    assert worse_than_info(app, WEB_CONCURRENCY="4") == ["multiproc-dir-missing"]
    assert worse_than_info(app, WEB_CONCURRENCY="4", PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) == []
    assert worse_than_info(app, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "absent")) == ["multiproc-dir-absent"]
    assert worse_than_info(InfraMiddleware(plain, metrics=False), WEB_CONCURRENCY="4") == []


def test_a_label_that_takes_any_value_is_found(monkeypatch):
    registry = CollectorRegistry()
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)
    Counter("orders", "Orders", ["user_id", "country"], registry=registry)
    (finding,) = [f for f in diagnose(examine(InfraMiddleware(plain)), {}) if f.level == "warning"]
    assert (finding.code, finding.what) == ("unbounded-label", "the metric orders has the label user_id")


def test_a_server_log_that_was_switched_on_again_doubles_ours(monkeypatch):
    app = InfraMiddleware(plain)
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "disabled", False)
    assert worse_than_info(app) == ["doubles-access-log"]
    assert worse_than_info(InfraMiddleware(plain, access_log=False)) == []


def test_what_is_not_installed_is_a_hint(monkeypatch):
    monkeypatch.setattr("asgi_infra.cli.doctor.surroundings.find_spec", lambda name: None)
    assert codes(InfraMiddleware(plain), "info") == ["sdk-missing", "no-server"]


def test_every_finding_says_why_and_how_to_mend_it():
    class Slow(BaseHTTPMiddleware): ...

    app = Starlette()
    app.add_middleware(InfraMiddleware)
    app.add_middleware(Slow)
    findings = diagnose(examine(InfraMiddleware(app)), {"WEB_CONCURRENCY": "2"})
    assert len(findings) >= 4
    assert all(finding.what and finding.why.endswith(".") and finding.mend for finding in findings)
    assert [f.level for f in findings] == sorted((f.level for f in findings), key=["error", "warning", "info"].index)


def test_the_routes_are_shown_as_the_label_will_show_them():
    inner = APIRouter(prefix="/{tenant}")
    inner.add_api_route("/items/{id}", endpoint, methods=["GET", "PUT"])
    app = FastAPI(openapi_url=None)
    app.include_router(inner, prefix="/v1")
    app.mount("/static", plain)
    assert preview(examine(app)) == [("GET,PUT", "/v1/{tenant}/items/{id}"), ("*", "/static/{path}")]


def test_mounts_and_websockets_of_starlette_are_shown():
    async def socket(websocket): ...

    routes = [
        Mount("/t/{tenant}", routes=[Route("/x/{y:int}", endpoint), WebSocketRoute("/live", socket)]),
        Route("/", endpoint),
    ]
    shown = preview(examine(InfraMiddleware(Starlette(routes=routes))))
    assert shown == [("GET,HEAD", "/t/{tenant}/x/{y}"), ("WS", "/t/{tenant}/live"), ("GET,HEAD", "/")]


def test_the_routes_of_litestar_and_quart_are_shown():
    from litestar import Litestar, get

    @get("/items/{id:int}")
    async def show() -> None: ...

    assert ("GET,OPTIONS", "/items/{id}") in preview(examine(Litestar([show], openapi_config=None)))
    app = quart()
    app.add_url_rule("/items/<int:id>", view_func=endpoint)
    assert ("GET,HEAD,OPTIONS", "/items/{id}") in preview(examine(app))
