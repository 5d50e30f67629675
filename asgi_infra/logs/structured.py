"""The same redaction and the same ids for those who log with structlog."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import get_current_span

from asgi_infra.context import request_id_var, user_id_var
from asgi_infra.logs.event import failure_of
from asgi_infra.logs.spans import span_context
from asgi_infra.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class StructlogRedactor:
    """A structlog processor that adds the ids of request, user and span, and redacts all of the event.

    Put it right before the renderer. An exception that is still to be rendered (`exc_info`) becomes `error_type`,
    `error_message` and `exception`, redacted; one that another processor has turned into text is redacted as text.
    structlog itself is not imported.

    Args:
        redact: What redacts; by default a `Redactor` with its own defaults.

    Example:
        >>> structlog.configure(processors=[StructlogRedactor(), structlog.processors.JSONRenderer()])
    """

    def __init__(self, redact: Redactor | None = None) -> None:
        self._redactor = redact or Redactor()

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        """Return a redacted copy of the event."""
        fields = dict(event)
        user_id = user_id_var.get()
        if user_id is not None:
            fields.setdefault("user_id", user_id)
        exc = _exception(fields.pop("exc_info", None))
        redacted = self._redactor.attributes(fields)
        request_id, span = request_id_var.get(), span_context(get_current_span())
        if request_id is not None:
            redacted["request_id"] = request_id
        if span is not None:
            redacted["trace_id"], redacted["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        if exc is not None:
            failure = failure_of(exc, self._redactor)
            redacted["error_type"], redacted["error_message"], redacted["exception"] = failure
        return redacted


def _exception(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) == 3 else None
    return sys.exc_info()[1] if exc_info else None
