"""How the fields of a line are called, and where they are, for those who read lines."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.logs.levels import level_name

if TYPE_CHECKING:
    from collections.abc import Callable


def _nanoseconds(seconds: float, _: tzinfo) -> str:
    return str(int(seconds * 1e6) * 1000)


@dataclass(frozen=True, slots=True)
class Schema:
    """The names of the fields; dots are part of a name. `None` leaves a field out.

    Attributes:
        stamp: Makes the timestamp of seconds since the epoch, and the time zone.
        level_text: Makes the level's text of a level's number.
        nest: The field that holds everything that has no name of its own here; `None` for the line itself.
        static: Fields that every line has.
    """

    timestamp: str
    level: str
    logger: str | None
    message: str
    service: str
    request_id: str
    trace_id: str
    span_id: str
    sampled: str | None
    error_type: str
    error_message: str
    stacktrace: str
    stack: str
    file: str
    line: str
    function: str
    stamp: Callable[[float, tzinfo], Any] = datetime.fromtimestamp
    level_text: Callable[[int], str] = level_name
    level_number: str | None = None
    scope: str | None = None
    resource: str | None = None
    nest: str | None = None
    static: dict[str, Any] = field(default_factory=dict)

    def own_names(self) -> frozenset[str]:
        """Return the names at the place where fields of users go, which therefore may not have them."""
        names = {self.request_id, self.error_type, self.error_message, self.stacktrace, self.stack}
        names |= {self.file, self.line, self.function}
        if self.nest is None:
            names |= {self.timestamp, self.level, self.message, self.service, self.trace_id, self.span_id}
            names |= {name for name in (self.logger, self.sampled) if name is not None} | self.static.keys()
        return frozenset(names)


PLAIN: Final = Schema(
    timestamp="timestamp",
    level="level",
    logger="logger",
    message="message",
    service="service",
    request_id="request_id",
    trace_id="trace_id",
    span_id="span_id",
    sampled=None,
    error_type="error_type",
    error_message="error_message",
    stacktrace="exception",
    stack="stack",
    file="file",
    line="line",
    function="function",
)

ECS: Final = Schema(
    timestamp="@timestamp",
    level="log.level",
    logger="log.logger",
    message="message",
    service="service.name",
    request_id="http.request.id",
    trace_id="trace.id",
    span_id="span.id",
    sampled=None,
    error_type="error.type",
    error_message="error.message",
    stacktrace="error.stack_trace",
    stack="log.origin.stack_trace",
    file="log.origin.file.name",
    line="log.origin.file.line",
    function="log.origin.function",
    level_text=lambda number: level_name(number).lower(),
    static={"ecs.version": "8.11.0"},
)
"""Elastic Common Schema 8.11, with the field order of the ECS logging specification."""

OTEL: Final = Schema(
    timestamp="Timestamp",
    level="SeverityText",
    logger=None,
    message="Body",
    service="service.name",
    request_id="request_id",
    trace_id="TraceId",
    span_id="SpanId",
    sampled="TraceFlags",
    error_type="exception.type",
    error_message="exception.message",
    stacktrace="exception.stacktrace",
    stack="code.stacktrace",
    file="code.file.path",
    line="code.line.number",
    function="code.function.name",
    stamp=_nanoseconds,
    level_number="SeverityNumber",
    scope="InstrumentationScope",
    resource="Resource",
    nest="Attributes",
)
"""The field names of the OpenTelemetry logs data model; `Timestamp` in nanoseconds, as a string like in OTLP/JSON."""

GCP: Final = Schema(
    timestamp="time",
    level="severity",
    logger="logger",
    message="message",
    service="service",
    request_id="request_id",
    trace_id="logging.googleapis.com/trace",
    span_id="logging.googleapis.com/spanId",
    sampled="logging.googleapis.com/trace_sampled",
    error_type="error_type",
    error_message="error_message",
    stacktrace="stack_trace",
    stack="stack",
    file="file",
    line="line",
    function="function",
)
"""The special fields of structured logging on Google Cloud."""

SCHEMAS: Final = {"plain": PLAIN, "ecs": ECS, "otel": OTEL, "gcp": GCP}

_SEVERITY_NUMBERS: Final = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}


def severity_number(number: int) -> int:
    """Return OpenTelemetry's number of a level; below DEBUG is TRACE."""
    return 1 if number < logging.DEBUG else _SEVERITY_NUMBERS[level_name(number)]
