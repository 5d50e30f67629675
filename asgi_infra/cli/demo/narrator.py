"""Shows what happens, request by request, on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from asgi_infra.cli.demo.accounts import Account
    from asgi_infra.cli.terminal import Terminal

_SHOWN = ("http_requests_total", "http_request_duration_seconds_sum", "http_response_size_bytes_sum", "websocket")
_MARGIN = 9
"""How wide the names on the left are."""


class Narrator:
    """Writes an account, a late span or a log line of the application so that people like to read it.

    Args:
        terminal: Where to write.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def tell(self, account: Account) -> None:
        """Write everything about one request."""
        paint = self._terminal.paint
        line = account.line or {}
        status = line.get("status") or "-"
        style = "red" if str(status).startswith("5") else "yellow" if str(status).startswith("4") else "green"
        self._terminal.line()
        self._terminal.line(f"{paint(line.get('message', account.server.name), 'bold', style)}  {_ms(account.server)}")
        self._item("id", self._id(account.request_id))
        self._item("trace", account.trace_id)
        for text in _tree(account.server, account.children):
            self._item("", paint(text, "red") if text.endswith("!") else text)
        for index, (series, before, after) in enumerate(_shown(account.moved)):
            self._item("metrics" if index == 0 else "", f"{series} {paint(f'{before:g} → {after:g}', 'cyan')}")
        text = json.dumps(account.line) if account.line is not None else "none"
        self._item(
            "log", text.replace(account.request_id, self._id(account.request_id)) if account.request_id else text
        )

    def tell_late(self, span: ReadableSpan, request_id: str) -> None:
        """Write one line on a span that ended after its request."""
        self._terminal.line()
        self._item("later", f"{span.name}  {_ms(span)}  of request {self._id(request_id)}")

    def tell_line(self, line: dict[str, Any]) -> None:
        """Write a log line of the application or the server, an exception without its traceback."""
        text = f"{line['level']} {line['logger']}: {line['message'].strip()}"
        if "error_message" in line:
            text += f": {line['error_type']}: {line['error_message']}"
        if "request_id" in line:
            text += f"  of request {self._id(line['request_id'])}"
        self._terminal.line()
        self._item("log", text)

    def _id(self, request_id: str) -> str:
        return self._terminal.paint(request_id, "bold", "magenta")

    def _item(self, name: str, text: str) -> None:
        self._terminal.line(f"  {self._terminal.paint(name.ljust(_MARGIN), 'dim')}{text}")


def _tree(server: ReadableSpan, children: Sequence[ReadableSpan]) -> list[str]:
    rows = [("", server), *_branches(server, children)]
    width = max(len(indent) + len(span.name) for indent, span in rows)
    return [f"{(indent + span.name).ljust(width)}  {_ms(span):>9}{_failure(span)}" for indent, span in rows]


def _branches(
    parent: ReadableSpan, spans: Sequence[ReadableSpan], indent: str = ""
) -> Iterator[tuple[str, ReadableSpan]]:
    own = [span for span in spans if _parent_id(span) == _span_id(parent)]
    own.sort(key=lambda span: span.start_time or 0)
    for index, span in enumerate(own):
        last = index == len(own) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}", span
        yield from _branches(span, spans, f"{indent}{'   ' if last else '│  '}")


def _shown(moved: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    return [entry for entry in moved if entry[0].startswith(_SHOWN)]


def _span_id(span: ReadableSpan) -> int | None:
    return span.context.span_id if span.context is not None else None


def _parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def _failure(span: ReadableSpan) -> str:
    if span.status.status_code is not StatusCode.ERROR:
        return ""
    return f"  {span.status.description or 'error'}!"


def _ms(span: ReadableSpan) -> str:
    if span.start_time is None or span.end_time is None:
        return "- ms"
    return f"{(span.end_time - span.start_time) / 1e6:.1f} ms"
