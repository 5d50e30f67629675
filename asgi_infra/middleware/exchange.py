"""One exchange: the record of what happened, and the only wrapper of `receive` and `send`.

An exchange is one HTTP request with its response, or one WebSocket connection. It is filled from the messages that
pass. They reach the application and the server as they were, but for the headers that an observer asked to add to the
response.

The end is the last body message, the last trailer or the end of the connection, never the return of the application:
what it does afterwards is not request time. A response of 500 and above is reported once the application has returned
or raised, because frameworks answer first and raise then; its time is still that of its last message.
"""

from __future__ import annotations

from operator import itemgetter
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from asgi_infra import faults
from asgi_infra.middleware.outcome import http_outcome, is_cancellation, websocket_outcome
from asgi_infra.middleware.routes import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_infra.middleware.engine import Plan
    from asgi_infra.types import Message, Receive, Scope, Send

_NAME = itemgetter(0)

Outcome: TypeAlias = Literal["ok", "error", "disconnected", "cancelled"]

_FILES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Messages that stand for a body: the server reads it from a file."""


class Exchange:
    """The record of one exchange, and the `receive` and `send` that the application gets."""

    __slots__ = (
        "_receive",
        "_send",
        "_trailers",
        "before_head",
        "bytes_in",
        "bytes_out",
        "client",
        "close_code",
        "disconnected",
        "duration",
        "ended",
        "error",
        "error_type",
        "finished",
        "first_byte",
        "headers",
        "host",
        "is_websocket",
        "method",
        "notes",
        "outcome",
        "path",
        "plan",
        "request_id",
        "request_id_token",
        "response_headers",
        "root_path",
        "route",
        "scheme",
        "scope",
        "sent_headers",
        "span",
        "span_name",
        "span_token",
        "started",
        "started_ns",
        "status",
        "user_id",
    )

    status: int | None
    """The status that was sent; 101 for an accepted WebSocket, 403 for one refused without a status."""
    outcome: Outcome
    error: BaseException | None
    """What the application raised."""
    error_type: str | None
    """What went wrong, of few distinct values: a status, the name of an exception type, or a word of ours."""
    route: str | None
    """The template of the route, such as `/items/{id}`; known at the end, `None` for an unmatched path."""
    request_id: str | None
    user_id: str | None
    """Whose token the request presented, once that was checked."""
    span: Any
    """The server span, of `opentelemetry.trace.Span`, where there is one."""
    span_name: str
    """What the span's name begins with: the method, `HTTP` for an unknown one, `WS`."""
    span_token: Any
    """What detaches the span from the context; `None` when the span is not ours."""
    request_id_token: Any
    """What resets the context variable of the request id."""
    client: str | None
    """The client's address, as far as the trusted proxies vouch for it."""
    scheme: str
    """`http`, `https`, `ws` or `wss`, as far as the trusted proxies vouch for it."""
    host: bytes | None
    """The authority that the client asked for, raw."""
    headers: dict[bytes, bytes]
    """The request's headers, the first of each name; all of them are in the scope."""
    response_headers: dict[bytes, bytes]
    """Headers to add to the response, or to the acceptance of a WebSocket, in place of the application's own."""
    before_head: Callable[[Exchange], None] | None
    """Called when the head of the response is about to leave; what the route is, is known by then."""
    sent_headers: Sequence[tuple[bytes, bytes]]
    """The headers of the response, once its head has left."""
    notes: dict[str, Any]
    """Per-request state of observers, each under its feature's name."""
    started_ns: int
    """When the exchange started, in nanoseconds of Unix time."""
    started: float
    """When the exchange started, in seconds of the monotonic clock that all durations are measured with."""
    first_byte: float | None
    """When the head of the response left, on the clock of `started`."""
    ended: float | None
    """When the last message had been sent, on the clock of `started`."""
    duration: float
    """Seconds from the start to the end, for span, metrics and log alike; known at the end."""
    bytes_in: int
    bytes_out: int
    """Bytes of body that passed; what the server reads from a file by itself is not among them."""
    close_code: int | None
    """The close code of a WebSocket, from whichever side it came first."""
    disconnected: bool
    """Whether the client went away before the end."""
    finished: bool
    """Whether the observers have been told of the end."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, plan: Plan) -> None:
        self.scope = scope
        self.plan = plan
        self._receive = receive
        self._send = send
        self._trailers = False
        try:
            headers = dict(reversed(scope["headers"]))
        except (KeyError, TypeError, ValueError):
            headers = _mended_headers(scope)
        self.headers = headers
        self.is_websocket = websocket = scope["type"] == "websocket"
        self.method: str = "GET" if websocket else scope.get("method") or ""
        self.path: str = scope.get("path") or ""
        self.root_path: str = scope.get("root_path") or ""
        peer = scope.get("client")
        try:
            self.client = peer[0] if peer else None
        except (TypeError, LookupError):
            self.client = None
        self.scheme = scope.get("scheme") or ("ws" if websocket else "http")
        self.host = headers.get(b"host")
        self.request_id = self.user_id = self.span = self.span_token = self.status = self.route = self.before_head = (
            None
        )
        self.first_byte = self.ended = self.error = self.error_type = self.close_code = None
        self.outcome = "ok"
        self.duration = 0.0
        self.bytes_in = self.bytes_out = 0
        self.disconnected = self.finished = False
        self.response_headers = {}
        self.sent_headers = ()
        self.notes = {}
        self.started_ns = time_ns()
        self.started = perf_counter()

    async def receive(self) -> Message:
        """What the application calls to receive; passes every message on as it is."""
        message: Message = await self._receive()
        try:
            kind = message["type"]
            if kind == "http.request":
                self.bytes_in += len(message.get("body") or b"")
            elif kind == "http.disconnect":
                if self.ended is None:
                    self.disconnected = True
                elif not self.finished:
                    self.finish()
            elif kind == "websocket.receive":
                self.bytes_in += _payload_size(message)
            elif kind == "websocket.disconnect" and self.ended is None:
                self.ended = perf_counter()
                self.close_code = message.get("code") or 1005
                self.disconnected = True
        except Exception as exc:  # noqa: BLE001 - no message of ASGI: what to do with it is the application's affair
            faults.record("engine.receive", exc)
        return message

    async def send(self, message: Message) -> None:
        """What the application calls to send; passes every message on, with the observers' headers on a head."""
        last = False
        try:
            kind = message["type"]
            if kind == "http.response.start":
                self._trailers = bool(message.get("trailers"))
                message = self._with_head(message, message.get("status"))
            elif kind == "http.response.body":
                body = message.get("body")
                if body:
                    self.bytes_out += len(body)
                last = not (message.get("more_body") or self._trailers)
            elif self.is_websocket:
                message, last = self._websocket_message(kind, message)
            elif kind == "http.response.trailers":
                last = not message.get("more_trailers")
            elif kind in _FILES:
                last = not (message.get("more_body") or self._trailers)
        except Exception as exc:  # noqa: BLE001 - no message of ASGI: the server's own error is the right answer
            faults.record("engine.send", exc)
        try:
            await self._send(message)
        except OSError:  # what a server raises when the client has gone, by the ASGI specification 2.4
            self.disconnected = True
            raise
        if last and self.ended is None:
            self.ended = perf_counter()
            if not self.is_websocket and (self.status or 500) < 500:
                self.finish()

    def _websocket_message(self, kind: str, message: Message) -> tuple[Message, bool]:
        if kind == "websocket.send":
            self.bytes_out += _payload_size(message)
        elif kind == "websocket.accept":
            return self._with_head(message, 101), False
        elif kind == "websocket.close":
            if self.status is None and not self.disconnected:
                self.status = 403
            if self.close_code is None:
                self.close_code = message.get("code") or 1000
            return message, True
        elif kind == "websocket.http.response.start":
            return self._with_head(message, message.get("status")), False
        elif kind == "websocket.http.response.body":
            self.bytes_out += len(message.get("body") or b"")
            return message, not message.get("more_body")
        return message, False

    def _with_head(self, message: Message, status: object) -> Message:
        if self.first_byte is not None:  # a second head: the server's own error is the right answer to it
            return message
        self.first_byte = perf_counter()
        if isinstance(status, int):
            self.status = status if type(status) is int else int(status)
        if self.before_head is not None:
            try:
                self.before_head(self)
            except Exception as exc:  # noqa: BLE001
                faults.record("engine.before_head", exc)
        headers: Any = message.get("headers") or ()
        added = self.response_headers
        if added:
            headers = list(headers)
            if not added.keys().isdisjoint(map(bytes.lower, map(_NAME, headers))):
                headers = [header for header in headers if header[0].lower() not in added]
            headers.extend(added.items())
            message = {**message, "headers": headers}
        elif not isinstance(headers, (list, tuple)):  # an iterator can be read only once
            message = {**message, "headers": (headers := list(headers))}
        self.sent_headers = headers
        return message

    def raised(self, error: BaseException) -> None:
        """Note what the application raised; a cancellation after the end is nobody's failure."""
        if not self.finished:
            self.error = error
            self.finish()
            return
        try:
            if is_cancellation(error):
                return
        except Exception as exc:  # noqa: BLE001 - an error may say anything of itself
            faults.record("engine.late_error", exc)
        for late_error in self.plan.late_errors:
            try:
                late_error(self, error)
            except Exception as exc:  # noqa: BLE001
                faults.record(place(late_error), exc)

    def finish(self) -> None:
        """Settle route and outcome, and tell the observers of the end."""
        self.finished = True
        ended = self.ended
        try:
            self.route = resolve(self.scope, self.root_path)
            if self.is_websocket:
                self.outcome, self.error_type = websocket_outcome(self)
            elif ended is None or self.error is not None or (self.status or 500) >= 500:
                self.outcome, self.error_type = http_outcome(self)
        except Exception as exc:  # noqa: BLE001
            faults.record("engine.end", exc)
        if ended is None:
            ended = self.ended = perf_counter()
        self.duration = ended - self.started
        for end in self.plan.ends:
            try:
                end(self)
            except Exception as exc:  # noqa: BLE001
                faults.record(place(end), exc)


def place(method: Callable[..., object]) -> str:
    """Return the name of an observer's method for a fault, such as `tracing.end`."""
    return f"{getattr(method, '__self__').feature}.{method.__name__}"  # noqa: B009


def _mended_headers(scope: Scope) -> dict[bytes, bytes]:
    headers = scope.get("headers")
    if not isinstance(headers, (list, tuple)):
        try:  # missing, or an iterator, which can be read only once, and the application wants to
            headers = scope["headers"] = list(headers or ())
        except TypeError:
            return {}
    pairs = [header for header in headers if isinstance(header, (list, tuple)) and len(header) == 2]
    return dict(reversed([(name, value) for name, value in pairs if type(name) is type(value) is bytes]))


def _payload_size(message: Message) -> int:
    data = message.get("bytes")
    if data is not None:
        return len(data)
    text = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
