"""A provider that remembers its spans, and one exchange with an application."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorder:
    """A provider of its own, and the spans that have ended."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> Any:
        return self.exporter.get_finished_spans()

    @property
    def span(self) -> Any:
        (span,) = self.spans
        return span


def answer(status: int = 200, *, route: str | None = "/items/{id}", headers: Any = ()) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if route is not None:
            scope["path_template"] = route
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"done"})

    return app


def http(**changes: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/items/7",
        "query_string": b"",
        "headers": [(b"host", b"shop.example.org")],
        "client": ("192.0.2.7", 52011),
        "server": ("192.0.2.1", 8000),
        "scheme": "https",
        "http_version": "1.1",
    }
    return scope | changes


def drive(app: Any, scope: dict[str, Any] | None = None, received: list[dict[str, Any]] | None = None) -> list[Any]:
    """Run one exchange; return what the server was sent."""
    sent: list[Any] = []
    messages = iter(received or [{"type": "http.request"}])

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(http() if scope is None else scope, receive, send))
    return sent
