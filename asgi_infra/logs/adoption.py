"""Taking over the loggers of servers, and what would print a line a second time."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Final

SERVER_LOGGERS: Final = frozenset(
    [
        "uvicorn",
        "uvicorn.error",
        "uvicorn.access",
        "uvicorn.asgi",
        "_granian",
        "granian.access",
        "hypercorn.error",
        "hypercorn.access",
        "gunicorn.error",
        "gunicorn.access",
    ]
)

_STANDARD_DESCRIPTORS: Final = frozenset([1, 2])


class Adoption:
    """Takes off the handlers that print to standard output or error, and lets records of servers reach the root.

    Handlers that go elsewhere stay. What was changed is remembered, so that it can be undone.
    """

    def __init__(self) -> None:
        self._taken: list[tuple[logging.Logger, logging.Handler]] = []
        self._let: list[logging.Logger] = []

    def adopt(self, logger: logging.Logger) -> None:
        """Take off what prints, and let records propagate."""
        for handler in list(logger.handlers):
            if _prints(handler):
                logger.removeHandler(handler)
                self._taken.append((logger, handler))
        if not logger.propagate:
            logger.propagate = True
            self._let.append(logger)

    def undo(self) -> None:
        """Put everything back, except where a logger has got other handlers since."""
        while self._taken:
            logger, handler = self._taken.pop()
            if not any(_prints(each) for each in logger.handlers if each is not handler):
                logger.addHandler(handler)
        while self._let:
            self._let.pop().propagate = False


def _prints(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    stream = getattr(handler, "stream", None)
    if any(stream is each for each in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        return True
    with suppress(Exception):  # most other streams have no descriptor
        return handler.stream.fileno() in _STANDARD_DESCRIPTORS
    return False
