"""Secrets that only the frames of an exception know, for spans that the SDK itself has recorded it in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import SpanProcessor

from asgi_infra import faults
from asgi_infra.telemetry.scrub import default_redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from asgi_infra.telemetry.scrub import Redact

_NOTED: Final = "_asgi_infra_secrets"


class FrameSecretsProcessor(SpanProcessor):
    """Notes for `RedactingSpanExporter` which secrets the exception knew that a span ends with.

    The SDK records an exception as text, and a text does not tell which of its words was the value of a variable
    called `password`. A span that the exception leaves, as in `with tracer.start_as_current_span(...)`, ends while it
    is still on its way, with its frames; so they are looked through then, if the span has an event, and not later in
    the exporter's thread. An exception that was caught and recorded by hand in a span that ends after that is no
    longer there to be asked.

    `init_telemetry` adds it to its provider. Add it by yourself to one that was set up elsewhere, before the processor
    that exports.

    Args:
        redact: The `asgi_infra.redaction.Redactor` that decides which names are private; by default one with its
            own defaults. Any other callable knows no names, and then nothing is noted.

    Example:
        >>> provider.add_span_processor(FrameSecretsProcessor())
        >>> provider.add_span_processor(BatchSpanProcessor(RedactingSpanExporter(exporter)))
    """

    def __init__(self, redact: Redact | None = None) -> None:
        self._redact = redact or default_redactor()

    def on_end(self, span: ReadableSpan) -> None:
        """Note what the exception that is being handled holds under private names."""
        secrets = secrets_near(span, self._redact)
        if secrets:
            setattr(span, _NOTED, secrets)


def secrets_near(span: ReadableSpan, redact: Redact) -> Mapping[str, str]:
    """Return the secrets that were noted for a span, or those of the exception that is being handled right now."""
    noted: Mapping[str, str] | None = getattr(span, _NOTED, None)
    if noted is not None:
        return noted
    exc = sys.exception()
    secrets_of: Any = getattr(redact, "secrets", None)
    if exc is None or not span.events or not callable(secrets_of):
        return {}
    try:
        found: Any = secrets_of(exc)
        return dict(found)
    except Exception as fault:  # noqa: BLE001 - telemetry never breaks the application
        faults.record("telemetry.redact", fault)
        return {}


def without(value: Any, secrets: Mapping[str, str], redact: Redact) -> Any:
    """Return a value of an attribute without these secrets; not redacted otherwise."""
    if not secrets:
        return value
    if isinstance(value, str):
        remove: Any = getattr(redact, "without", None)
        return remove(secrets, value) if callable(remove) else value
    if isinstance(value, (list, tuple)):
        return tuple(without(item, secrets, redact) for item in value)
    return value
