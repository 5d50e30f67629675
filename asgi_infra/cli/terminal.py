"""Colours, where somebody can see them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


def first_line(error: BaseException) -> str:
    """Return what an error says in its first line; the further ones show where in a value the fault is."""
    return str(error).partition("\n")[0]


class Terminal:
    """Writes lines to a stream, with colours when it is a terminal.

    The environment decides first: `NO_COLOR` turns colours off (https://no-color.org), `FORCE_COLOR` on; `TERM=dumb`
    counts as no terminal.

    Args:
        stream: Where the lines go.
        environ: The environment; that of the process by default.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._stream = stream
        self._closed = False
        if environ.get("NO_COLOR"):
            self.colours = False
        elif environ.get("FORCE_COLOR"):
            self.colours = True
        else:
            self.colours = stream.isatty() and environ.get("TERM") != "dumb"

    def paint(self, text: str, *styles: str) -> str:
        """Return the text in a style such as `"bold"` or `"red"`, or as it is where colours are off."""
        if not self.colours or not text:
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """Write one line; characters that the stream's encoding lacks become `?`.

        Once nobody reads the stream any more, lines are dropped.
        """
        if self._closed:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._closed = True
