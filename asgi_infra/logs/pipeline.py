"""From what was logged to a line that is written."""

from __future__ import annotations

import logging
from time import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import INVALID_SPAN, get_current_span

from asgi_infra import faults
from asgi_infra.context import request_id_var, user_id_var
from asgi_infra.logs.event import Origin, failure_of
from asgi_infra.logs.messages import plain_message, redacted_message
from asgi_infra.logs.spans import span_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span

    from asgi_infra.logs.event import Render
    from asgi_infra.redaction import Redactor

STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"taskName", "message", "asctime"}
"""What a log record has of its own; `taskName` since Python 3.12, `message` and `asctime` once it was formatted."""

FOR_TERMINALS: Final = "color_message"
"""What uvicorn adds to its records for its own handler."""

_UNWANTED: Final = STANDARD | {FOR_TERMINALS}
_OF_ACCESS_LINES: Final = frozenset(
    ["timestamp", "level", "logger", "message", "request_id", "trace_id", "span_id", "service"]
)
_KNOWN_NAMES: Final = 4096


class Pipeline:
    """Redacts, renders and hands on. Never raises.

    Args:
        render: Makes the line.
        put: Takes it.
        redactor: What redacts messages, arguments, fields and exceptions; `None` to leave all as it is.
        caller: Whether lines say where in the code they come from.
    """

    def __init__(
        self,
        render: Render,
        put: Callable[[bytes], None],
        redactor: Redactor | None,
        *,
        caller: bool = False,
    ) -> None:
        self._render = render
        self._put = put
        self._redactor = redactor
        self._caller = caller
        self._names: dict[str, str] = {}

    def log(
        self,
        created: float,
        level: int,
        name: str,
        msg: object,
        args: Any = None,
        exc: BaseException | None = None,
        extra: dict[Any, Any] | None = None,
        stack: str | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Write one line."""
        try:
            user_id = user_id_var.get()
            if user_id is not None:
                extra = {"user_id": user_id, **(extra or {})}
            redactor = self._redactor
            if redactor is None:
                message = msg if type(msg) is str and not args else plain_message(msg, args)
            else:
                message = redactor.text(msg) if type(msg) is str and not args else redacted_message(msg, args, redactor)
                name = self._names.get(name) or self._redacted_name(name, redactor)
                if extra:
                    extra = redactor.attributes(extra)
                if stack is not None:
                    stack = redactor.text(stack)
            failure = None if exc is None else failure_of(exc, redactor)
            span = get_current_span()
            context = None if span is INVALID_SPAN else span_context(span)
            line = self._render(
                created, level, name, message, request_id_var.get(), context, extra, failure, stack, origin
            )
        except Exception as error:  # noqa: BLE001
            faults.record("logs.render", error)
            line = self._render(created, level, "asgi_infra.logs", f"a record that raised {type(error).__name__}")
        self._put(line)

    def handle(self, record: logging.LogRecord) -> None:
        """Write one line of a record that the standard library has made."""
        exc = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        stack = record.stack_info
        if exc is None and record.exc_text:  # it came from another process
            stack = record.exc_text if not stack else f"{record.exc_text}\n{stack}"
        extra = {name: value for name, value in record.__dict__.items() if name not in _UNWANTED}
        origin = Origin(record.pathname, record.lineno, record.funcName) if self._caller else None
        self.log(record.created, record.levelno, record.name, record.msg, record.args, exc, extra, stack, origin)

    def notice(self, lost: int) -> bytes:
        """Render the line that tells how many lines were lost."""
        text = f"{lost} log lines were lost before this one"
        return self._render(time(), logging.WARNING, "asgi_infra.logs", text, extra={"lost": lost})

    def write_fields(self, level: int, fields: Mapping[str, Any], span: Span | None = None) -> None:
        """Write one line of the access log, whose request is over: its ids are those of the fields and the span.

        Args:
            level: The number of its level.
            fields: The access log's own record.
            span: The span of the request, if it has one.
        """
        try:
            name, message = fields["logger"], fields["message"]
            extra = {field: value for field, value in fields.items() if field not in _OF_ACCESS_LINES}
            if self._redactor is not None:
                message, extra = self._redactor.text(message), self._redactor.attributes(extra)
            context = None if span is None else span_context(span)
            created = fields["timestamp"].timestamp()
            service = fields.get("service")
            line = self._render(created, level, name, message, fields["request_id"], context, extra, service=service)
        except Exception as error:  # noqa: BLE001
            faults.record("logs.render", error)
            line = self._render(time(), level, "asgi_infra.logs", f"a record that raised {type(error).__name__}")
        self._put(line)

    def _redacted_name(self, name: str, redactor: Redactor) -> str:
        if len(self._names) >= _KNOWN_NAMES:
            self._names.clear()
        redacted = self._names[name] = redactor.text(name)
        return redacted
