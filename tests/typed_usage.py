"""What the documentation tells users to write, for the type checkers; nothing runs it."""

from __future__ import annotations

from fastapi import FastAPI
from litestar import Litestar
from litestar.middleware import DefineMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route

from asgi_infra import (
    AccessLog,
    AccessLogMiddleware,
    InfraMiddleware,
    Metrics,
    MetricsMiddleware,
    PathRules,
    RequestID,
    RequestIDMiddleware,
    Tracing,
    TracingMiddleware,
    install,
    metrics_app,
)

fastapi = FastAPI()
fastapi.add_middleware(InfraMiddleware, service="shop", exclude=["/health", "/static/**"])
fastapi.add_middleware(RequestIDMiddleware, header="X-Correlation-ID", accept=False)
fastapi.add_middleware(TracingMiddleware, status="semconv", response_header="server-timing")
fastapi.add_middleware(MetricsMiddleware, buckets=[0.1, 1.0], exemplars=True)
fastapi.add_middleware(AccessLogMiddleware, slow=1.0, sample=0.1)
fastapi.routes.append(Route("/metrics", metrics_app()))
fastapi.mount("/metrics", metrics_app())
served = install(fastapi, service="shop", metrics=Metrics(naming="semconv"))

starlette = Starlette(
    routes=[Mount("/metrics", metrics_app()), Route("/exact", metrics_app())],
    middleware=[Middleware(InfraMiddleware, exclude=PathRules(["/health"]))],
)
litestar = Litestar(middleware=[DefineMiddleware(InfraMiddleware, service="shop")])
wrapped = InfraMiddleware(
    starlette,
    exclude={"*": ["/health"], "access_log": "/static/**"},
    request_id=RequestID(max_length=64),
    tracing=Tracing(status="semconv"),
    metrics=False,
    access_log=AccessLog(slow=0.5),
    trusted_proxies=["10.0.0.0/8"],
)
