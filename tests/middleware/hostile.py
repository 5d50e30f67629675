"""All features around an application, for hostile requests."""

from __future__ import annotations

import io
import json
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry
from recording import body, head, sends

from asgi_infra.context import get_request_id
from asgi_infra.middleware.access_log import AccessLog
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.request_id import RequestID
from asgi_infra.middleware.stack import InfraMiddleware
from asgi_infra.middleware.tracing import Tracing
from asgi_infra.testing import Driven, http_scope, run

ANSWER = head(headers=[(b"a", b"1")]), body(b"ok")
LONGEST_LINE = 16 * 1024


class Stack:
    """All features around an application, and what they have told."""

    def __init__(
        self,
        app: Any = None,
        *,
        request_id: Any = None,
        tracing: Any = None,
        metrics: Any = None,
        access_log: Any = None,
        **options: Any,
    ) -> None:
        self.registry = CollectorRegistry()
        self.exporter = InMemorySpanExporter()
        self.log = io.StringIO()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.app = InfraMiddleware(
            app or sends(*ANSWER, receives=1),
            request_id=RequestID(**request_id or {}),
            tracing=Tracing(tracer_provider=provider, **tracing or {}),
            metrics=Metrics(registry=self.registry, **metrics or {}),
            access_log=AccessLog(**{"stream": self.log, "replace_server_log": False, **(access_log or {})}),
            **options,
        )

    def ask(self, scope: Any) -> Driven:
        """Run one request, with what holds after each, and forget the spans and lines of those before."""
        self.exporter.clear()
        self.log.seek(0)
        self.log.truncate()
        driven = run(self.app, scope)
        assert get_request_id() is None
        assert trace.get_current_span() is trace.INVALID_SPAN
        assert sum(self.samples("http_requests_in_progress").values()) == 0
        return driven

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name
        }

    @property
    def span(self) -> Any:
        (span,) = self.exporter.get_finished_spans()
        assert span.kind is SpanKind.SERVER
        assert span.context.is_valid
        assert span.end_time >= span.start_time
        return span

    @property
    def line(self) -> dict[str, Any]:
        text = self.log.getvalue()
        assert text.count("\n") == 1
        assert text.endswith("\n")
        assert len(text) <= LONGEST_LINE
        line: dict[str, Any] = json.loads(text)
        return line

    def assert_fine(self, scope: Any) -> Driven:
        """Assert that a request has its answer, and that every signal tells of it, with the same ids."""
        driven = self.ask(scope)
        assert driven.error is None
        (request_id,) = driven.header(b"x-request-id")
        assert driven.sent == [head(headers=[(b"a", b"1"), (b"x-request-id", request_id)]), ANSWER[1]]
        assert self.span.attributes["request_id"] == self.line["request_id"] == request_id.decode("ascii")
        assert self.line["trace_id"] == f"{self.span.context.trace_id:032x}"
        assert (self.line["status"], self.line["outcome"]) == (200, "ok")
        return driven


def with_headers(*headers: tuple[bytes, bytes]) -> Any:
    return http_scope(headers=list(headers))
