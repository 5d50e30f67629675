"""What the tests of the audit middleware share: logs that tell what they hold, wait and fail, and applications."""

from __future__ import annotations

from typing import Any

from asgi_infra import faults
from asgi_infra.audit import AuditUnavailableError, InMemoryAuditLogger
from asgi_infra.middleware.audit import AuditMiddleware, AuditRule
from asgi_infra.testing import http_scope

EVERYTHING = AuditRule()
TWO_PHASE = AuditRule(two_phase=True)
AFTER = AuditRule(when="after")
DOWN = AuditUnavailableError("the store can't be reached")


class Log(InMemoryAuditLogger):
    """An audit log that can be made to wait and to fail; `failing` holds results, or `True` for all."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.failing: Any = ()
        self.before: Any = None
        self.after: Any = None
        self.trace: list[str] = []

    async def log_action(self, *args: Any, **named: Any) -> Any:
        result = named["result"]
        self.trace.append(f"log {result}")
        if self.before is not None:
            await self.before()
        if self.failing is True or result in self.failing:
            raise DOWN
        receipt = await super().log_action(*args, **named)
        self.trace.append(f"logged {result}")
        if self.after is not None:
            await self.after()
        return receipt

    async def entries(self) -> list[Any]:
        return list((await self.query(limit=10_000)).entries)

    async def one(self) -> Any:
        (entry,) = await self.entries()
        return entry


class Answer:
    """An application that answers with a body in one or more pieces."""

    def __init__(self, status: int = 200, pieces: Any = (b"done",), headers: Any = (), trace: Any = None) -> None:
        self.status, self.pieces, self.headers = status, pieces, headers
        self.trace: list[str] = [] if trace is None else trace
        self.calls = 0
        self.error: BaseException | None = None
        self.late_error: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        self.trace.append("app")
        while (await receive()).get("more_body"):
            pass
        if self.error is not None:
            raise self.error
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        for index, piece in enumerate(self.pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": index + 1 < len(self.pieces)})
        if self.late_error is not None:
            raise self.late_error


async def live(scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket application that says one thing."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "hello"})
    await send({"type": "websocket.close", "code": 1000})


def audited(app: Any, log: Any, *rules: AuditRule, **options: Any) -> AuditMiddleware:
    if rules:
        options["policy"] = rules
    return AuditMiddleware(app, logger=log, **options)


def post(path: str = "/orders/7", **changes: Any) -> dict[str, Any]:
    return http_scope("POST", path, **changes)


def body_of(data: bytes, *, size: int = 10) -> list[dict[str, Any]]:
    """Return a request's body in pieces."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    return [
        {"type": "http.request", "body": piece, "more_body": index + 1 < len(pieces)}
        for index, piece in enumerate(pieces)
    ]


def faults_at(place: str) -> int:
    return sum(count for (found, _), count in faults.counts().items() if found == place)
