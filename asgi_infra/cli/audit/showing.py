"""Entries for people and for programs, and how far something is."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Final, TextIO

from asgi_infra.audit.encoding import encode
from asgi_infra.audit.export import as_dict

if TYPE_CHECKING:
    from asgi_infra.audit.record import LoggedEntry
    from asgi_infra.cli.terminal import Terminal

_COLOURS: Final = {"success": "green", "attempt": "blue", "unknown": "yellow"}
_WIDTH: Final = 30
_EVERY: Final = 0.1


def show(terminal: Terminal, logged: LoggedEntry, *, json: bool) -> None:
    """Write one entry as a line."""
    terminal.line(encode(as_dict(logged)).decode() if json else _line(terminal, logged))


def _line(terminal: Terminal, logged: LoggedEntry) -> str:
    entry = logged.entry
    what = f"{entry.resource_type}/{entry.resource_id}" if entry.resource_id is not None else entry.resource_type
    result = terminal.paint(f"{_told(entry.result):<12}", _COLOURS.get(entry.result, "red"))
    parts = [
        terminal.paint(f"{logged.seq:>8}", "dim"),
        entry.timestamp.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z",
        result,
        f"{_told(entry.action):<24}",
        f"{_told(what):<24}",
        _told(entry.user_id or "-"),
    ]
    details = entry.details or {}
    if logged.erased:
        parts.append("[erased]")
    elif "method" in details and "path" in details:
        parts.append(_told(f"{details['method']} {details['path']} {details.get('status') or ''}".rstrip()))
    return "  ".join(parts)


def _told(text: str) -> str:
    """Return a text that can't move the cursor or colour what comes after it."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


class Progress:
    """A bar on a terminal, and nothing elsewhere; to be called with what is done and what there is in all.

    Args:
        unit: What is counted.
        stream: Where to write; standard error by default.
    """

    def __init__(self, unit: str, stream: TextIO | None = None) -> None:
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._is_shown = self._stream.isatty()
        self._last = -_EVERY
        self._width = 0

    def __call__(self, done: int, total: int) -> None:
        now = monotonic()
        if not self._is_shown or (now - self._last < _EVERY and done < total):
            return
        self._last = now
        share = min(done / total, 1.0) if total else 1.0
        filled = round(share * _WIDTH)
        self._write(f"{'#' * filled}{'.' * (_WIDTH - filled)} {share:4.0%}  {done:,} of {total:,} {self._unit}")

    def close(self) -> None:
        """Remove the bar."""
        if self._width:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text:<{self._width}}")
        self._stream.flush()
        self._width = max(self._width, len(text))
