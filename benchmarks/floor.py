"""The floor: one hand-written middleware for one application, with the same visible work as all of our features.

It is what a careful engineer would write who needs it once: no options, no other frameworks, no WebSockets, no
excluded paths, no hooks, nothing that survives a broken header or a broken log. It reads the headers once, accepts or
makes a request id, continues the caller's trace, starts a server span with its request attributes and makes it
current, sets route, status and id on it at the end, feeds a counter, two histograms and a gauge through children that
are already bound, writes one JSON line, adds the response header, and resets the context variable.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry import propagate, trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from typing import BinaryIO

    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

request_id_var: ContextVar[str | None] = ContextVar("floor_request_id", default=None)

_VALID_ID = re.compile(rb"[0-9A-Za-z._:-]{1,128}")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_BYTES = (100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
_JSON = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "_OTHER")
_OK = Status(StatusCode.OK)
_ERROR = Status(StatusCode.ERROR)


class Floor:
    """The middleware; `app` answers HTTP and leaves `scope["route"]`, as Starlette does."""

    def __init__(
        self, app: Any, *, tracer_provider: TracerProvider | None, registry: CollectorRegistry, sink: BinaryIO
    ) -> None:
        self.app = app
        self.descriptor = sink.fileno()
        self.tracer = trace.get_tracer("shop", tracer_provider=tracer_provider)
        self.propagation = frozenset(name.encode() for name in propagate.get_global_textmap().fields)
        labels = ["method", "path", "status_code"]
        self.requests = Counter("http_requests", "Requests.", labels, registry=registry)
        self.seconds = Histogram(
            "http_request_duration_seconds", "Duration.", labels, buckets=_SECONDS, registry=registry
        )
        self.bytes = Histogram("http_response_size_bytes", "Sizes.", labels, buckets=_BYTES, registry=registry)
        in_progress = Gauge("http_requests_in_progress", "In progress.", ["method"], registry=registry)
        self.in_progress = {method: in_progress.labels(method) for method in _METHODS}
        self.bound: dict[tuple[str, str, int], tuple[Any, Any, Any]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        user_agent = host = b""
        given_id = None
        carrier: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"user-agent":
                user_agent = value
            elif name == b"x-request-id":
                given_id = value
            elif name in self.propagation:
                carrier[name.decode()] = value.decode("latin-1")

        if given_id is not None and _VALID_ID.fullmatch(given_id):
            request_id = given_id.decode()
        else:
            request_id = os.urandom(16).hex()
        id_token = request_id_var.set(request_id)

        method, path, client = scope["method"], scope["path"], scope["client"][0]
        address, _, port = host.decode("latin-1").partition(":")
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "url.path": path,
            "url.scheme": scope["scheme"],
            "server.address": address,
            "server.port": int(port) if port else 80,
            "client.address": client,
            "network.protocol.version": scope["http_version"],
            "user_agent.original": user_agent.decode("latin-1"),
        }
        if scope["query_string"]:
            attributes["url.query"] = scope["query_string"].decode("latin-1")
        parent = propagate.extract(carrier) if carrier else None
        span = self.tracer.start_span(method, parent, SpanKind.SERVER, attributes)
        span_token = attach(set_span_in_context(span, parent))
        in_progress = self.in_progress.get(method) or self.in_progress["_OTHER"]
        in_progress.inc()

        status, bytes_in, bytes_out, first_byte = 500, 0, 0, started
        encoded_id = request_id.encode()

        async def receive_on() -> Any:
            nonlocal bytes_in
            message = await receive()
            if message["type"] == "http.request":
                bytes_in += len(message.get("body", b""))
            return message

        async def send_on(message: Any) -> None:
            nonlocal status, bytes_out, first_byte
            if message["type"] == "http.response.start":
                status, first_byte = message["status"], perf_counter()
                message["headers"] = [*message["headers"], (b"x-request-id", encoded_id)]
            elif message["type"] == "http.response.body":
                bytes_out += len(message.get("body", b""))
            await send(message)

        error: BaseException | None = None
        try:
            await self.app(scope, receive_on, send_on)
        except BaseException as exc:
            error, status = exc, 500
            raise
        finally:
            duration = perf_counter() - started
            detach(span_token)
            request_id_var.reset(id_token)
            in_progress.dec()
            route = scope.get("route")
            template = route.path_format if route is not None else "unmatched"

            if span.is_recording():
                span.update_name(f"{method} {template}")
                span.set_attributes(
                    {"http.route": template, "http.response.status_code": status, "request_id": request_id}
                )
                span.set_status(_OK if status < 500 else _ERROR)
                if error is not None:
                    span.record_exception(error)
            span.end()

            children = self.bound.get((method, template, status)) or self.bind(method, template, status)
            children[0].inc()
            children[1].observe(duration)
            children[2].observe(bytes_out)

            context = span.get_span_context()
            line = {
                "timestamp": datetime.now(UTC),
                "level": "INFO" if status < 500 else "ERROR",
                "logger": "shop.access",
                "message": f"{method} {path} {status}",
                "request_id": request_id,
                "trace_id": f"{context.trace_id:032x}" if context.is_valid else None,
                "span_id": f"{context.span_id:016x}" if context.is_valid else None,
                "method": method,
                "route": template,
                "path": path,
                "status": status,
                "outcome": "ok" if status < 500 else "error",
                "duration_s": round(duration, 6),
                "first_byte_s": round(first_byte - started, 6),
                "bytes_in": bytes_in,
                "bytes_out": bytes_out,
                "client": client,
            }
            os.write(self.descriptor, orjson.dumps(line, option=_JSON))

    def bind(self, method: str, template: str, status: int) -> tuple[Any, Any, Any]:
        values = (method, template, str(status))
        children = (self.requests.labels(*values), self.seconds.labels(*values), self.bytes.labels(*values))
        self.bound[method, template, status] = children
        return children
