"""Lines for people."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.logs.levels import level_name
from asgi_infra.logs.values import safe_repr, safe_text, valid_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from opentelemetry.trace import SpanContext

    from asgi_infra.logs.event import Failure, Origin

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_IN_BLOCK: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BARE: Final = re.compile(r"[^\s\"'=\x00-\x1f\x7f-\x9f]+")
_COLORS: Final = {"DEBUG": "34", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_DIM: Final = "2"
_BOLD: Final = "1"


def wants_colors(stream: IO[Any] | None) -> bool:
    """Return whether a stream is a terminal, and neither `NO_COLOR` nor a dumb terminal speaks against colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream is not None and stream.isatty())
    except Exception:  # noqa: BLE001 - closed, or no such method
        return False


class ConsoleLines:
    """Renders each event as one line of time, level, logger, message and fields; tracebacks follow on more lines.

    Control characters are shown as escapes, so that nothing logged can forge a line or move the cursor.

    Args:
        colors: Whether to colour.
        service: The service's name, for every line.
        fields: Further fields for every line.
    """

    def __init__(self, *, colors: bool, service: str | None, fields: Mapping[str, Any] | None = None) -> None:
        self._colors = colors
        self._static = {**({} if service is None else {"service": service}), **(fields or {})}
        self._second = (0, "")

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
    ) -> bytes:
        """Return the line, or the lines if there is a traceback."""
        name = level_name(level)
        parts = [
            self._paint(self._time(created), _DIM),
            self._paint(f"{name:<8}", _COLORS[name]),
            self._paint(_one_line(logger), _DIM),
            "",
            self._paint(_one_line(message), _BOLD),
        ]
        own = {} if service is None or "service" in self._static else {"service": service}
        fields = [self._field(key, value) for key, value in {**own, **self._static, **(extra or {})}.items()]
        if origin is not None:
            fields.append(self._field("at", f"{origin.file}:{origin.line}"))
        if request_id is not None:
            fields.append(self._field("request_id", request_id))
        if span is not None:
            fields.append(self._field("trace_id", f"{span.trace_id:032x}"))
            fields.append(self._field("span_id", f"{span.span_id:016x}"))
        if fields:
            parts += ["", *fields]
        lines = [" ".join(parts)]
        lines += [_block(text) for text in (stack, failure.traceback if failure else None) if text is not None]
        return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")

    def _time(self, created: float) -> str:
        second = int(created)
        known, text = self._second
        if known != second:
            text = time.strftime("%H:%M:%S", time.localtime(second))
            self._second = (second, text)
        return f"{text}.{int((created - second) * 1000):03d}"

    def _field(self, key: object, value: object) -> str:
        text = valid_text(value) if isinstance(value, str) else safe_repr(value)
        if not _BARE.fullmatch(text):
            text = _one_line(safe_repr(text) if isinstance(value, str) else text)
        return f"{self._paint(f'{_one_line(safe_text(key))}=', _DIM)}{text}"

    def _paint(self, text: str, color: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._colors else text


def _one_line(text: str) -> str:
    return text if text.isascii() and text.isprintable() else _CONTROL.sub(_escape, valid_text(text))


def _block(text: str) -> str:
    return "  " + _CONTROL_IN_BLOCK.sub(_escape, valid_text(text)).replace("\n", "\n  ")


def _escape(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
