"""An observer that remembers, and the messages that applications send."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_infra.middleware.access_log import AccessLog
from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.stack import InfraMiddleware
from asgi_infra.middleware.tracing import Tracing

EMPTY = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


class Recording(Observer):
    """Remembers each exchange, and in which order it was told of what."""

    feature = "recording"

    def __init__(self, headers: dict[bytes, bytes] | None = None) -> None:
        self.headers = headers or {}
        self.exchanges: list[Any] = []
        self.errors: list[BaseException | None] = []
        self.late: list[BaseException] = []
        self.calls: list[str] = []

    @property
    def one(self) -> Any:
        (exchange,) = self.exchanges
        return exchange

    @property
    def outcome(self) -> tuple[str, str | None]:
        return self.one.outcome, self.one.error_type

    def excluded(self, scope: Any) -> None:
        self.calls.append("excluded")

    def start(self, exchange: Any) -> None:
        self.calls.append("start")
        exchange.response_headers.update(self.headers)

    def end(self, exchange: Any) -> None:
        self.calls.append("end")
        self.exchanges.append(exchange)
        self.errors.append(exchange.error)

    def late_error(self, exchange: Any, error: BaseException) -> None:
        self.calls.append("late_error")
        self.late.append(error)

    def close(self, exchange: Any) -> None:
        self.calls.append("close")


def head(status: Any = 200, headers: Any = (), **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: Any = b"", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


def request(data: Any = b"", **more: Any) -> dict[str, Any]:
    return {"type": "http.request", "body": data, **more}


def sends(*messages: Any, receives: int = 0, raises: BaseException | None = None) -> Any:
    """Return an application that receives some messages, sends these, and then raises."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(receives):
            await receive()
        for message in messages:
            await send(message)
        if raises is not None:
            raise raises

    return app


def recorded(app: Any, headers: dict[bytes, bytes] | None = None, **options: Any) -> tuple[Engine, Recording]:
    recording = Recording(headers)
    return Engine(app, [recording], **options), recording


OK = head(headers=[(b"a", b"1")]), body(b"ok")


def everything(app: Any, **options: Any) -> InfraMiddleware:
    return InfraMiddleware(
        app,
        **{
            "tracing": Tracing(tracer_provider=TracerProvider(shutdown_on_exit=False)),
            "metrics": Metrics(registry=CollectorRegistry()),
            "access_log": AccessLog(stream=io.StringIO(), replace_server_log=False),
            **options,
        },
    )


def starlette_app(background: Any = None) -> Starlette:
    def boom(request: Any) -> None:
        raise LookupError("broken on purpose")

    async def fine(request: Any) -> PlainTextResponse:
        return PlainTextResponse("fine", background=None if background is None else BackgroundTask(background))

    return Starlette(routes=[Route("/boom", boom), Route("/fine", fine)])


def at_once(call: Any) -> None:
    """Run a coroutine that never waits."""
    with suppress(StopIteration):
        call.send(None)
