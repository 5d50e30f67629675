"""The short way from `Logger.info` to a line, for records that nobody else would see.

Most of what a line costs in the standard library is making its `LogRecord`: the caller's frame, the thread's name and
twenty attributes more, of which a line shows none. While logging is configured, `logging.Logger._log` therefore asks
first whether our handler is all that the record could reach. If so, the line is made of the arguments. If there is
anything else - another handler, a filter, a subclass of `Logger`, another record factory, a `Logger.handle` that
somebody has wrapped - the record is made as ever, and everybody gets all of it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.logs.pipeline import FOR_TERMINALS, STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span

    from asgi_infra.logs.pipeline import Pipeline

_original: Final = logging.Logger._log
_HANDLE: Final = logging.Logger.handle
_CALL_HANDLERS: Final = logging.Logger.callHandlers
_MAKE_RECORD: Final = logging.Logger.makeRecord
_SOURCE: Final = logging.Logger.__init__.__code__.co_filename
_GENUINE: Final = all(
    getattr(getattr(function, "__code__", None), "co_filename", None) == _SOURCE
    for function in (_original, _HANDLE, _CALL_HANDLERS, _MAKE_RECORD)
)
"""Whether nobody had wrapped these before this module was imported."""

_CLASSES: Final = frozenset([logging.Logger, logging.RootLogger])


class PipelineHandler(logging.Handler):
    """The handler that the root logger gets. Lines need no lock here: the outlet has its own way.

    Attributes:
        pipeline: Where records go; replaced as a whole.
        short: Whether the short way may be taken.
        returned: Called with a server's logger whose records don't reach this handler alone.
    """

    def __init__(self, pipeline: Pipeline, returned: Callable[[logging.Logger], None]) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.short = True
        self.returned = returned

    def createLock(self) -> None:  # noqa: N802 - the name is the standard library's
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        if not self.filters:
            self.pipeline.handle(record)
            return True
        passed: Any = self.filter(record)  # since Python 3.12 it may be another record
        if passed:
            self.pipeline.handle(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def write_fields(self, level: int, fields: Mapping[str, Any], span: Span | None = None) -> None:
        """Write a line of the access log, if its logger is enabled for that level; see `Pipeline.write_fields`."""
        if level >= self.level and logging.getLogger(str(fields["logger"])).isEnabledFor(level):
            self.pipeline.write_fields(level, fields, span)

    def emit(self, record: logging.LogRecord) -> None:
        self.pipeline.handle(record)


_handler: PipelineHandler | None = None
_servers: frozenset[str] = frozenset()


def install(handler: PipelineHandler, servers: frozenset[str]) -> None:
    """Open the short way to a handler, and watch these servers' loggers."""
    global _handler, _servers
    _handler, _servers = handler, servers
    handler.short = handler.short and _GENUINE
    if logging.Logger._log is _original:
        logging.Logger._log = _log  # type: ignore[method-assign]


def uninstall() -> None:
    """Close it. What somebody has wrapped around it since stays, and ends in the standard library's own."""
    global _handler
    _handler = None
    if logging.Logger._log is _log:
        logging.Logger._log = _original  # type: ignore[method-assign]


def _log(
    self: logging.Logger,
    level: int,
    msg: object,
    args: Any,
    exc_info: Any = None,
    extra: Mapping[str, object] | None = None,
    stack_info: bool = False,
    stacklevel: int = 1,
) -> None:
    handler = _handler
    if handler is not None:
        if (
            _is_alone(self, handler)
            and not stack_info
            and (extra is None or (type(extra) is dict and STANDARD.isdisjoint(extra)))
        ):
            if level < handler.level or self.disabled:
                return
            if exc_info and not isinstance(exc_info, BaseException):
                exc_info = (exc_info if isinstance(exc_info, tuple) else sys.exc_info())[1]
            if args and len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
                args = args[0]
            if extra is not None and FOR_TERMINALS in extra:
                extra = {name: value for name, value in extra.items() if name != FOR_TERMINALS}
            handler.pipeline.log(time(), level, self.name, msg, args, exc_info or None, extra)
            return
        if self.name in _servers:
            handler.returned(self)
    _original(self, level, msg, args, exc_info, extra, stack_info, stacklevel + 1)


def _is_alone(logger: logging.Logger, handler: PipelineHandler) -> bool:
    if logger.filters or handler.filters or not handler.short or type(logger) not in _CLASSES:
        return False
    current = logger
    while current.propagate and (parent := current.parent) is not None:
        if current.handlers:
            return False
        current = parent
    last, cls = current.handlers, logging.Logger
    return (
        len(last) == 1
        and last[0] is handler
        and cls.handle is _HANDLE
        and cls.callHandlers is _CALL_HANDLERS
        and cls.makeRecord is _MAKE_RECORD
        and logging.getLogRecordFactory() is logging.LogRecord
    )
