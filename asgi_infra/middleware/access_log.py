"""The access log: one JSON line an exchange, from the same record as span and metrics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.lines import LineWriter, Timestamps
from asgi_infra.middleware.attributes import text
from asgi_infra.middleware.exchange import Engine, Observer
from asgi_infra.middleware.outcome import type_name
from asgi_infra.redaction import redact_query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.paths import PathRules
    from asgi_infra.types import ASGIApp

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
_MAX_QUERY = 2048


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
        if slow is not None and (isinstance(slow, bool) or not isinstance(slow, (int, float)) or slow < 0):
            raise ConfigurationError(f"slow must be a number of seconds that is not negative, or None, not {slow!r}")
        if isinstance(sample, bool) or not isinstance(sample, (int, float)) or not 0 <= sample <= 1:
            raise ConfigurationError(f"sample must be a number from 0 to 1, the share that is logged, not {sample!r}")
        if stream is not None and logger is not None:
            raise ConfigurationError("stream and logger exclude each other: lines go to one of the two")
        for name, hook in (("level", level), ("fields", fields)):
            if hook is not None and not callable(hook):
                raise ConfigurationError(f"{name} must be callable, not {type(hook).__name__}")
        self._service = service
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._writer = LineWriter(stream)
        self._timestamps = Timestamps()
        self._encode = msgspec.json.Encoder(enc_hook=str).encode
        self._slow = float("inf") if slow is None else slow
        self._sample = sample
        self._level = level
        self._fields = fields
        if replace_server_log:
            for name in SERVER_LOGGERS:
                logging.getLogger(name).disabled = True

    def end(self, exchange: Exchange) -> None:
        duration = exchange.duration
        level = self._level_of(exchange, duration)
        if level <= logging.INFO and self._sample < 1 and not self._sampled(exchange):
            return
        if self._logger is not None and not self._logger.isEnabledFor(level):
            return
        self._emit(level, self._record(exchange, duration))

    def late_error(self, exchange: Exchange, error: BaseException) -> None:
        record = self._record(exchange, exchange.duration)
        record["message"] = f"background work failed after {record['message']}"
        record["error_type"] = type_name(error)
        self._emit(logging.ERROR, record)

    def _level_of(self, exchange: Exchange, duration: float) -> int:
        if self._level is not None:
            try:
                return int(self._level(exchange))
            except Exception as exc:  # noqa: BLE001
                faults.record("access_log.level", exc)
        if exchange.outcome == "error":
            return logging.ERROR
        return logging.WARNING if exchange.outcome != "ok" or duration >= self._slow else logging.INFO

    def _sampled(self, exchange: Exchange) -> bool:
        # By the id, so that all services that log the same request agree.
        key = exchange.request_id or str(exchange.started_ns)
        return crc32(key.encode("utf-8", "replace")) < self._sample * 2**32

    def _record(self, exchange: Exchange, duration: float) -> dict[str, Any]:
        scope = exchange.scope
        status = exchange.status
        first_byte = exchange.first_byte
        method = exchange.method
        path = text(exchange.path)
        trace_id, span_id = exchange.trace_ids
        query = scope.get("query_string")
        record: dict[str, Any] = {
            "timestamp": "",
            "level": "INFO",
            "logger": LOGGER,
            "message": f"{'WS' if exchange.is_websocket else method} {path} {status or '-'}",
            "request_id": exchange.request_id,
            "trace_id": trace_id,
            "span_id": span_id,
            "method": method,
            "route": exchange.route,
            "path": path,
            "status": status,
            "outcome": exchange.outcome,
            "duration_s": round(duration, 6),
            "first_byte_s": round(first_byte - exchange.started, 6) if first_byte is not None else None,
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            "client": exchange.client,
        }
        if query:
            record["query"] = redact_query(query[:_MAX_QUERY].decode("utf-8", "replace"))
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

    def _emit(self, level: int, record: dict[str, Any]) -> None:
        if self._logger is not None:
            extra = {name: value for name, value in record.items() if name not in _TAKEN}
            self._logger.log(level, "%s", record["message"], extra=extra)
            return
        record["timestamp"] = self._timestamps.now()
        record["level"] = _LEVELS.get(level, "INFO")
        self._writer.write(self._encode(record) + b"\n")


# What a log record has of its own, and would refuse to take from `extra`.
_TAKEN = frozenset({"timestamp", "level", "logger", "message", "asctime", "name", "args", "msg"})


class AccessLogMiddleware(Engine):
    """Write one structured line an exchange.

    Args:
        app: The ASGI application to wrap.
        service: A name that every line carries as `service`.
        stream: Where the JSON lines go, text or binary; `sys.stdout`, as it is at the time, by default.
        logger: A `logging` logger, or its name, that gets records with the same fields as `extra` instead.
        slow: Seconds from which on an exchange is logged as WARNING, and never sampled away.
        sample: The share of successful exchanges to log, from 0 to 1, chosen by request id; all others are logged.
        level: Decides the level of an exchange. By default errors, 5xx included, are ERROR; disconnects,
            cancellations and slow exchanges are WARNING; the rest is INFO.
        fields: Returns more fields for the line.
        replace_server_log: Whether to silence the access loggers of uvicorn, hypercorn and granian, which would
            write a second line for each request.
        exclude: Paths to leave alone, as `PathRules` takes them.
        trusted_proxies: Whose forwarding headers to believe, as `TrustedProxies` takes them.

    Raises:
        ConfigurationError: An option is wrong; it is a `ValueError` too.

    A line has `timestamp`, `level`, `logger`, `message`, `request_id`, `trace_id`, `span_id`, `method`, `route`,
    `path`, `status`, `outcome`, `duration_s` and `first_byte_s` in seconds, `bytes_in`, `bytes_out`, `client`, and
    where there is one `query` (private values redacted), `error_type`, `close_code`, `service`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        exclude: str | Sequence[str] | Mapping[str, str | Sequence[str]] | PathRules | None = (),
        trusted_proxies: str | Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(app, [AccessLog(**options)], exclude=exclude, trusted_proxies=trusted_proxies)
