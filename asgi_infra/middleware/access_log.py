"""The access log: one JSON line an exchange, from the same record as span and metrics."""

from __future__ import annotations

import logging
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from zlib import crc32

import msgspec

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.lines import LineWriter
from asgi_infra.middleware.attributes import MAX_TEXT, text
from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.outcome import assumed_status, type_name
from asgi_infra.options import require_flag, require_hook, require_number, shown
from asgi_infra.redaction import redact_query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp

_INFINITE = float("inf")

LOGGER = "asgi_infra.access"
SERVER_LOGGERS = ("uvicorn.access", "hypercorn.access", "granian.access", "_granian.access")
"""The access loggers of the servers; daphne writes to a stream that you give it, and has none."""

_LEVELS = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARNING",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "CRITICAL",
}


class AccessLog(Observer):
    """The access log as a feature; see `AccessLogMiddleware` for the options."""

    feature = "access_log"

    def __init__(
        self,
        *,
        service: str | None = None,
        stream: IO[Any] | None = None,
        logger: logging.Logger | str | None = None,
        slow: float | None = None,
        sample: float = 1.0,
        level: Callable[[Exchange], int] | None = None,
        fields: Callable[[Exchange], Mapping[str, Any]] | None = None,
        replace_server_log: bool = True,
    ) -> None:
        if service is not None and (not isinstance(service, str) or not service.strip()):
            raise ConfigurationError(f"service must be a name that isn't blank, or None, not {shown(service)}")
        if slow is not None:
            require_number("slow", slow, _INFINITE, "a number of seconds that is not negative, or None")
        require_number("sample", sample, 1, "a number from 0 to 1, the share that is logged")
        if stream is not None and logger is not None:
            raise ConfigurationError("stream and logger exclude each other: lines go to one of the two")
        if stream is not None and not callable(getattr(stream, "write", None)):
            raise ConfigurationError(f"stream must be a text or binary stream to write to, not {shown(stream)}")
        if logger is not None and not isinstance(logger, (logging.Logger, str)):
            raise ConfigurationError(f"logger must be a logging.Logger or the name of one, not {shown(logger)}")
        for name, hook in (("level", level), ("fields", fields)):
            if hook is not None:
                require_hook(name, hook)
        require_flag("replace_server_log", replace_server_log)
        self._service = service
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._write = LineWriter(stream).write
        self._encode = msgspec.json.Encoder(enc_hook=str).encode
        self._slow = _INFINITE if slow is None else slow
        self._sample = sample
        self._level = level
        self._fields = fields
        self._joins = stream is None and logger is None
        # With nothing to decide, the usual line takes the shortest way.
        self._plain = logger is None and level is None and sample == 1
        self._replaces = replace_server_log
        self.startup()

    def startup(self) -> None:
        # Once more when the server starts: some import the application before they set up their logging.
        if self._replaces:
            for server_logger in map(logging.getLogger, SERVER_LOGGERS):
                server_logger.disabled = server_logger is not self._logger

    def of_service(self, service: str) -> AccessLog:
        """Return the same access log with the name of a service, if it has none."""
        named = copy(self)
        named._service = self._service or service
        return named

    def end(self, exchange: Exchange) -> None:
        if self._plain and exchange.outcome == "ok" and exchange.duration < self._slow:
            record = self._record(exchange, "INFO")
            if self._joins and logging.root.handlers and (write_fields := _configured()) is not None:
                write_fields(logging.INFO, record, exchange.span)
                return
            try:
                self._write(self._encode(record) + b"\n")
            except Exception:  # noqa: BLE001
                self._print(record)
            return
        is_success = exchange.outcome == "ok" and exchange.duration < self._slow
        level = self._level_of(exchange, is_success)
        if is_success and self._sample < 1 and level <= logging.INFO and not self._sampled(exchange):
            return
        if self._logger is None or self._logger.isEnabledFor(level):
            record = self._record(exchange, _LEVELS.get(level) or logging.getLevelName(level))
            self._emit(level, record, exchange.span)

    def late_error(self, exchange: Exchange, error: BaseException) -> None:
        if self._logger is None or self._logger.isEnabledFor(logging.ERROR):
            record = self._record(exchange, "ERROR")
            record["message"] = f"background work failed after {record['message']}"
            record["error_type"] = type_name(error)
            self._emit(logging.ERROR, record, exchange.span)

    def _level_of(self, exchange: Exchange, is_success: bool) -> int:
        if self._level is not None:
            try:
                return int(self._level(exchange))
            except Exception as exc:  # noqa: BLE001
                faults.record("access_log.level", exc)
        if exchange.outcome == "error":
            return logging.ERROR
        return logging.INFO if is_success else logging.WARNING

    def _sampled(self, exchange: Exchange) -> bool:
        # By the id, so that all services that log the same request agree.
        key = exchange.request_id or str(exchange.started_ns)
        return crc32(key.encode("utf-8", "replace")) < self._sample * 2**32

    def _record(self, exchange: Exchange, level: str) -> dict[str, Any]:
        method, path, status, span = exchange.method, exchange.path, exchange.status, exchange.span
        if status is None:
            status = assumed_status(exchange.outcome)
        first_byte = exchange.first_byte
        if len(path) + len(method) > MAX_TEXT or not path.isascii():
            method, path = text(method), text(path)
        message = f"{method} {path} {status}"
        trace_id = span_id = None
        if span is not None and (context := span.get_span_context()).trace_id:
            trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        record: dict[str, Any] = {
            "timestamp": datetime.now(UTC),
            "level": level,
            "logger": LOGGER,
            "message": message if message.isprintable() else _escaped(message),
            "request_id": exchange.request_id,
            "trace_id": trace_id,
            "span_id": span_id,
            "method": method,
            "route": exchange.route,
            "path": path,
            "status": status,
            "outcome": exchange.outcome,
            # int() and a division: round() goes through the decimal digits, at five times the cost
            "duration_s": int(exchange.duration * 1e6 + 0.5) / 1e6,
            "first_byte_s": first_byte and int((first_byte - exchange.started) * 1e6 + 0.5) / 1e6,
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            "client": exchange.client,
        }
        if exchange.user_id is not None:
            record["user_id"] = exchange.user_id
        if query := exchange.scope.get("query_string"):
            record["query"] = redact_query(query[:MAX_TEXT].decode("utf-8", "replace"))
        if exchange.error_type is not None:
            record["error_type"] = exchange.error_type
        if exchange.close_code is not None:
            record["close_code"] = exchange.close_code
        if self._service is not None:
            record["service"] = self._service
        if self._fields is not None:
            try:
                record.update(self._fields(exchange))
            except Exception as exc:  # noqa: BLE001
                faults.record("access_log.fields", exc)
        return record

    def _emit(self, level: int, record: dict[str, Any], span: Any) -> None:
        if self._joins and (write_fields := _configured()) is not None:
            write_fields(level, record, span)
            return
        if self._logger is None:
            self._print(record)
            return
        # Made here, since `Logger.log` refuses a field whose name the record has already.
        entry = self._logger.makeRecord(self._logger.name, level, __file__, 0, "%s", (record["message"],), None)
        for name, value in record.items():
            if name not in _OF_THE_RECORD:
                entry.__dict__[f"{name}_" if name in _TAKEN else _as_text(name)] = value
        self._logger.handle(entry)

    def _print(self, record: dict[str, Any]) -> None:
        try:
            line = self._encode(record)
        except Exception as exc:  # noqa: BLE001
            faults.record("access_log.encode", exc)
            line = self._encode({_as_text(name): self._mended(value) for name, value in record.items()})
        self._write(line + b"\n")

    def _mended(self, value: object) -> object:
        """Return a value as it is, where it can be encoded, or as a text."""
        with suppress(Exception):
            return msgspec.Raw(self._encode(value))
        return _as_text(value)


def _configured() -> Callable[..., None] | None:
    """Return what takes lines where `configure_logging` was called, for its format, its queue and its redaction."""
    for handler in logging.root.handlers:
        write_fields: Callable[..., None] | None = getattr(handler, "write_fields", None)
        if write_fields is not None:
            return write_fields
    return None


def _as_text(value: object) -> str:
    """Return the text of a value, or where it has none the name of its type."""
    with suppress(Exception):
        return str(value)[:MAX_TEXT].encode("utf-8", "backslashreplace").decode()
    return f"<{type(value).__name__}>"


# What a log record says in its own way, and what it has of its own.
_OF_THE_RECORD = frozenset({"timestamp", "level", "logger", "message"})
_TAKEN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"asctime"}


def _escaped(message: str) -> str:
    """Return a message that can't break or colour a line of text: servers have decoded the `%0A` of a path."""
    return message.encode("unicode_escape").decode("ascii")


class AccessLogOptions(TypedDict, total=False):
    """The options of `AccessLogMiddleware`."""

    service: str | None
    stream: IO[Any] | None
    logger: logging.Logger | str | None
    slow: float | None
    sample: float
    level: Callable[[Exchange], int] | None
    fields: Callable[[Exchange], Mapping[str, Any]] | None
    replace_server_log: bool


class AccessLogMiddleware(Engine):
    """Write one structured line an exchange.

    Args:
        app: The ASGI application to wrap.
        service: A name that every line carries as `service`.
        stream: Where the JSON lines go, text or binary. By default they go where `configure_logging` sends all lines,
            and without that to `sys.stdout`, as it is at the time.
        logger: A `logging` logger, or its name, that gets records with the same fields as attributes instead; a field
            whose name a log record has already gets an underscore at its end, such as `module_`.
        slow: Seconds from which on an exchange is logged as WARNING, and never sampled away.
        sample: The share of successful exchanges to log, from 0 to 1, chosen by request id. What failed, was
            disconnected, cancelled or slow is always logged, and so is what `level` puts above INFO.
        level: Decides the level of an exchange. By default errors, 5xx included, are ERROR; disconnects,
            cancellations and slow exchanges are WARNING; the rest is INFO.
        fields: Returns more fields for the line, as a mapping. What JSON can't hold is written as its text.
        replace_server_log: Whether to silence the access loggers of uvicorn, hypercorn and granian, which would
            write a second line for each request. `logging.getLogger("uvicorn.access").disabled = False` brings one
            back.
        exclude: Paths to leave alone, as `PathRules` takes them.
        trusted_proxies: Whose forwarding headers to believe, as `TrustedProxies` takes them.

    Raises:
        ConfigurationError: An option is wrong; it is a `ValueError` too.

    A line has `timestamp`, `level`, `logger`, `message`, `request_id`, `trace_id`, `span_id`, `method`, `route`,
    `path`, `status`, `outcome`, `duration_s` and `first_byte_s` in seconds, `bytes_in`, `bytes_out`, `client`, and
    where there is one `user_id`, `query` (private values redacted), `error_type`, `close_code`, `service`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        exclude: Exclude = (),
        trusted_proxies: str | Sequence[str] = (),
        **options: Unpack[AccessLogOptions],
    ) -> None:
        super().__init__(app, [AccessLog(**options)], exclude=exclude, trusted_proxies=trusted_proxies)
