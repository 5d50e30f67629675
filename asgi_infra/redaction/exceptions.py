"""Exceptions and tracebacks as text."""

from __future__ import annotations

from traceback import TracebackException
from typing import Final

_FRAMES: Final = 64


def exception_text(exc: BaseException, *, local_variables: bool = False) -> str:
    """Return what Python prints for `exc`: traceback, notes, causes, contexts and groups. Nothing is redacted yet.

    Args:
        exc: The exception.
        local_variables: Whether the local variables of each frame are shown.
    """
    formatted = TracebackException.from_exception(
        exc, limit=-_FRAMES, capture_locals=local_variables, compact=True, max_group_width=16, max_group_depth=8
    )
    return "".join(formatted.format()).rstrip("\n")
