"""What a line tells, before it has a form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from asgi_infra.logs.values import safe_text
from asgi_infra.redaction.exceptions import exception_text

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from asgi_infra.redaction import Redactor


class Failure(NamedTuple):
    """An exception, redacted where that was asked for."""

    type: str
    message: str
    traceback: str


class Origin(NamedTuple):
    """Where in the code a line was logged."""

    file: str
    line: int
    function: str | None


class Render(Protocol):
    """Makes a line, line feed included, of what is to be told; it looks nothing up.

    `service` is for lines of what may have no service of its own; that of all lines wins.
    """

    def __call__(
        self,
        created: float,
        level: int,
        logger: str,
        message: str,
        request_id: str | None = None,
        span: SpanContext | None = None,
        extra: dict[Any, Any] | None = None,
        failure: Failure | None = None,
        stack: str | None = None,
        origin: Origin | None = None,
        service: str | None = None,
    ) -> bytes: ...


def failure_of(exc: BaseException, redactor: Redactor | None) -> Failure:
    """Return what a line says about an exception: its traceback, notes, causes and groups, without local variables."""
    cls = type(exc)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    if redactor is not None:
        return Failure(name, redactor.message(exc), redactor.exception(exc))
    try:
        text = exception_text(exc)
    except Exception:  # noqa: BLE001 - an exception may fail to show itself
        text = f"{name}: <no traceback>"
    return Failure(name, safe_text(exc), text)
