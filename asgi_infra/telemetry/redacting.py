"""A span exporter that lets nothing private through to another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Link, Status

from asgi_infra.telemetry.frames import secrets_near, without
from asgi_infra.telemetry.scrub import default_redactor, scrub_attributes, scrub_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace.export import SpanExportResult

    from asgi_infra.telemetry.scrub import Redact


class RedactingSpanExporter(SpanExporter):
    """Redacts a copy of each span and hands that to `exporter`; the live span stays as it is.

    Redacted are the name, the attributes, the events, the status description, the links' attributes and the
    resource; and of a span that an exception leaves, what `FrameSecretsProcessor` has noted. What can't be redacted,
    because `redact` raises, is withheld: the exporter sees a marker in its place. `init_telemetry` wraps its exporters
    in it; use it by itself with a provider that was set up elsewhere.

    Args:
        exporter: What sends the spans.
        redact: Any value in, a redacted copy out. By default a `asgi_infra.redaction.Redactor`.

    Example:
        >>> from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
        >>> processor = BatchSpanProcessor(RedactingSpanExporter(ConsoleSpanExporter()))
    """

    def __init__(self, exporter: SpanExporter, redact: Redact | None = None) -> None:
        self._exporter = exporter
        self._redact = redact or default_redactor()
        self._resources: tuple[Resource, Resource] | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export redacted copies of `spans`."""
        return self._exporter.export([self._copy(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the wrapped exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the wrapped exporter."""
        return self._exporter.force_flush(timeout_millis)

    def _copy(self, span: ReadableSpan) -> ReadableSpan:
        known, description = secrets_near(span, self._redact), span.status.description
        return _RedactedSpan(
            span,
            name=self._text(span.name, known),
            context=span.context,
            parent=span.parent,
            resource=self._redacted_resource(span.resource),
            attributes=self._attributes(span.attributes, known),
            events=[
                _RedactedEvent(event, self._text(event.name, known), self._attributes(event.attributes, known))
                for event in span.events
            ],
            links=[_RedactedLink(link, self._attributes(link.attributes, known)) for link in span.links],
            kind=span.kind,
            status=Status(span.status.status_code, self._text(description, known)) if description else span.status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def _text(self, text: str, known: Mapping[str, str]) -> str:
        return scrub_text(without(text, known, self._redact), self._redact)

    def _attributes(
        self, attributes: Mapping[str, Any] | None, known: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        if not attributes:
            return {}
        if known:
            attributes = {name: without(value, known, self._redact) for name, value in attributes.items()}
        return scrub_attributes(attributes, self._redact)

    def _redacted_resource(self, resource: Resource) -> Resource:
        cached = self._resources
        if cached is None or cached[0] is not resource:
            redacted = Resource(self._attributes(resource.attributes), resource.schema_url)
            cached = self._resources = (resource, redacted)
        return cached[1]


class _RedactedSpan(ReadableSpan):
    """A copy that still knows how much the span itself had to drop."""

    def __init__(self, original: ReadableSpan, **fields: Any) -> None:
        super().__init__(**fields)
        self._dropped = (original.dropped_attributes, original.dropped_events, original.dropped_links)

    @property
    def dropped_attributes(self) -> int:
        return self._dropped[0]

    @property
    def dropped_events(self) -> int:
        return self._dropped[1]

    @property
    def dropped_links(self) -> int:
        return self._dropped[2]


class _RedactedEvent(Event):
    def __init__(self, original: Event, name: str, attributes: dict[str, Any]) -> None:
        super().__init__(name, attributes, original.timestamp)
        self._dropped = original.dropped_attributes

    @property
    def dropped_attributes(self) -> int:
        return self._dropped


class _RedactedLink(Link):
    def __init__(self, original: Link, attributes: dict[str, Any]) -> None:
        super().__init__(original.context, attributes)
        self._dropped = original.dropped_attributes

    @property
    def dropped_attributes(self) -> int:
        return self._dropped
