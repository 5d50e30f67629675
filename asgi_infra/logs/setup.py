"""Logging of the process: set up by one call, replaced as a whole, undone by `close`."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from multiprocessing import util as multiprocessing_util
from typing import IO, TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from asgi_infra.errors import ConfigurationError
from asgi_infra.logs import shortcut
from asgi_infra.logs.adoption import SERVER_LOGGERS, Adoption
from asgi_infra.logs.config import LoggingConfig, resolve
from asgi_infra.logs.console import ConsoleLines, wants_colors
from asgi_infra.logs.json_lines import JSONLines
from asgi_infra.logs.levels import LevelChanges, level_number
from asgi_infra.logs.outlet import Outlet
from asgi_infra.logs.pipeline import Pipeline
from asgi_infra.logs.schemas import SCHEMAS
from asgi_infra.logs.shortcut import PipelineHandler
from asgi_infra.logs.sink import Sink
from asgi_infra.redaction import Redactor
from asgi_infra.shutdown import at_shutdown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_infra.logs.config import Format, Overflow, Queue, SchemaName
    from asgi_infra.logs.event import Render

_CLOSE_TIMEOUT = 5.0

_lock = threading.RLock()
_current: Logging | None = None
_hooked = False


class Logging:
    """The logging of this process, as `configure_logging` returns it.

    Attributes:
        config: What it was made from.
        pipeline: What renders and writes; for records that don't come from `logging`.
    """

    def __init__(self, config: LoggingConfig) -> None:
        self.config = config
        redactor = Redactor() if config.redact is True else config.redact or None
        self._outlet = Outlet(
            Sink(config.stream),
            config.queue,
            config.queue_bytes,
            config.overflow,
            self._notice,
        )
        self.pipeline = Pipeline(
            _renderer(config, redactor),
            self._outlet.put,
            redactor,
            caller=config.caller,
        )

    def _notice(self, lost: int) -> bytes:
        return self.pipeline.notice(lost)

    def __repr__(self) -> str:
        state = "in use" if self is _current else "closed"
        return f"<Logging {self.config.format}, level {logging.getLevelName(self.config.level)}, {state}>"

    def set_level(self, level: str, logger: str = "") -> None:
        """Change the level of one logger, or of the root logger, while the process runs.

        Raises:
            ConfigurationError: The level is none of the five, or this set-up is closed.
        """
        number = level_number(level)
        with _lock:
            if _current is not self:
                raise ConfigurationError("logging can't be changed by a set-up that is closed or replaced")
            _levels.set(logger, number)

    def flush(self, timeout: float = _CLOSE_TIMEOUT) -> bool:
        """Write what waits in the queue, for at most `timeout` seconds; return whether nothing is left."""
        return self._outlet.flush(timeout)

    def stats(self) -> dict[str, int]:
        """Return `queued_bytes`, and the lines lost so far: `lost_queue_full`, `lost_write_failed`."""
        return self._outlet.stats()

    def close(self, timeout: float = _CLOSE_TIMEOUT) -> bool:
        """Undo it: levels, handlers and loggers are as they were before, and what waits is written.

        Returns:
            Whether everything was written in time. Closing again, or after a replacement, does nothing.
        """
        global _current
        with _lock:
            if _current is not self:
                return True
            _current = None
            shortcut.uninstall()
            if _handler is not None:
                logging.getLogger().removeHandler(_handler)
            _adoption.undo()
            _levels.undo()
        return self._outlet.close(timeout)


_handler: PipelineHandler | None = None
_adoption = Adoption()
_levels = LevelChanges()


def configure_logging(
    level: str = "INFO",
    format: Format = "json",  # noqa: A002
    *,
    levels: Mapping[str, str] | None = None,
    schema: SchemaName = "plain",
    redact: bool | Redactor = True,
    stream: IO[Any] | None = None,
    queue: Queue = "auto",
    queue_bytes: int = 16 * 1024 * 1024,
    overflow: Overflow = "drop",
    service: str | None = None,
    fields: Mapping[str, Any] | None = None,
    caller: bool = False,
    colors: bool | None = None,
    gcp_project: str | None = None,
) -> Logging:
    """Set logging up for this process, with `logging` of the standard library as the way to log.

    Every record is one line, with the id of the request and the span that it belongs to, redacted. The loggers of
    uvicorn, granian, hypercorn and gunicorn are adopted. Handlers on the root logger and on these that print to
    standard output or error are taken off, so that no line appears twice; all others stay.

    The same arguments again change nothing and return the same object; others replace the set-up, without losing a
    line. Threads may race for it.

    Args:
        level: The root logger's level: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`, in any case.
        format: `"json"`, or `"console"` for people.
        levels: Levels of single loggers, such as `{"sqlalchemy": "WARNING"}`.
        schema: How the fields of JSON are called: `"plain"`; `"ecs"` (Elastic Common Schema); `"otel"` (the
            OpenTelemetry logs data model); `"gcp"` (Google Cloud's structured logging).
        redact: Whether lines are redacted, or what redacts them.
        stream: Where lines go, text or binary; `None` for `sys.stdout` as it is at the time of each line.
        queue: `"auto"` writes at once what the stream takes without waiting, and leaves the rest to a thread;
            `"always"` leaves all to a thread, for files on slow disks; `"never"` makes the caller wait.
        queue_bytes: How much may wait for a thread.
        overflow: When the queue is full, `"drop"` drops the newest lines, counts them and says so in a line once there
            is room again; `"block"` makes the caller wait for up to 5 seconds before it does that.
        service: The service's name, for every line.
        fields: Further fields for every line, as they are.
        caller: Whether lines have `file`, `line` and `function`; the record is then made in full, at several
            times the cost.
        colors: Whether the console format has colours; by default on a terminal, unless `NO_COLOR` is set.
        gcp_project: The project that trace ids are looked up in, for `"gcp"`.

    Raises:
        ConfigurationError: An argument is wrong; nothing has been changed.

    Example:
        >>> log = configure_logging("info", "json", levels={"sqlalchemy": "WARNING"}, service="shop")
        >>> logging.getLogger("shop.orders").info("order %s placed", "o-1", extra={"items": 3})
    """
    global _current, _handler
    config = resolve(
        level=level,
        format=format,
        levels=levels,
        schema=schema,
        redact=redact,
        stream=stream,
        queue=queue,
        queue_bytes=queue_bytes,
        overflow=overflow,
        service=service,
        fields=fields,
        caller=caller,
        colors=colors,
        gcp_project=gcp_project,
    )
    with _lock:
        previous = _current
        if previous is not None and previous.config.same_as(config):
            if _handler is not None and _handler not in logging.getLogger().handlers:
                _install(_handler, config)  # `logging.config` takes off what it does not know
            return previous
        setup = Logging(config)
        if _handler is None:
            _handler = PipelineHandler(setup.pipeline, _adoption.adopt)
        if previous is not None:
            previous.flush(_CLOSE_TIMEOUT)  # so that lines keep their order
        _handler.pipeline = setup.pipeline
        _handler.short = not config.caller
        _current = setup
        _install(_handler, config)
        at_shutdown(_flush_last)
    if previous is not None:
        previous._outlet.close(_CLOSE_TIMEOUT)
    return setup


async def _flush_last() -> None:
    await flush_logging(last=True)


def get_logging() -> Logging | None:
    """Return what `configure_logging` has set up, or `None` before that and after `close`."""
    return _current


async def flush_logging(timeout: float = _CLOSE_TIMEOUT, *, last: bool = False) -> bool:  # noqa: ASYNC109
    """Write what waits without blocking the event loop (asyncio or trio), in the `lifespan.shutdown` of an application.

    Args:
        timeout: Seconds after which it returns in any case.
        last: Whether the process is about to end: later lines are then written at once, even with `queue="always"`,
            because servers end on SIGTERM without running `atexit` handlers.

    Returns:
        Whether everything was written in time; `True` when logging was not set up.
    """
    setup = _current
    if setup is None:
        return True
    if last:
        setup._outlet.write_through()
    limiter = anyio.CapacityLimiter(1)  # of its own, so that an application's busy threads don't hold it up
    return await anyio.to_thread.run_sync(setup.flush, timeout, abandon_on_cancel=True, limiter=limiter)


def _renderer(config: LoggingConfig, redactor: Redactor | None) -> Render:
    if config.format == "console":
        stream = sys.stdout if config.stream is None else config.stream
        colors = wants_colors(stream) if config.colors is None else config.colors
        return ConsoleLines(colors=colors, service=config.service, fields=config.fields)
    prefix = f"projects/{config.gcp_project}/traces/" if config.schema == "gcp" and config.gcp_project else ""
    return JSONLines(SCHEMAS[config.schema], service=config.service, fields=config.fields, trace_prefix=prefix)


def _install(handler: PipelineHandler, config: LoggingConfig) -> None:
    global _hooked
    root = logging.getLogger()
    if handler not in root.handlers:
        root.addHandler(handler)
    for logger in (root, *map(logging.getLogger, sorted(SERVER_LOGGERS))):
        _adoption.adopt(logger)
    _levels.apply({"": config.level, **config.levels})
    shortcut.install(handler, SERVER_LOGGERS)
    if not _hooked:
        _hooked = True
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
        # Before Python 3.14, children of multiprocessing leave without running atexit handlers.
        multiprocessing_util.register_after_fork(handler, _flush_at_end_of_child)


def _at_exit() -> None:
    setup = _current
    if setup is not None:
        setup._outlet.write_through()
        setup.flush(_CLOSE_TIMEOUT)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    if _current is not None:
        _current._outlet.after_fork()


def _flush_at_end_of_child(_: object) -> None:
    multiprocessing_util.Finalize(None, _at_exit, exitpriority=0)
