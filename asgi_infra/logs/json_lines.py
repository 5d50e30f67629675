"""Lines of JSON."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import msgspec

from asgi_infra import faults
from asgi_infra.logs.levels import LEVELS
from asgi_infra.logs.schemas import severity_number
from asgi_infra.logs.values import mended, safe_repr

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from opentelemetry.trace import SpanContext

    from asgi_infra.logs.event import Failure, Origin
    from asgi_infra.logs.schemas import Schema


class JSONLines:
    """Renders each event as one object of JSON on one line, whatever it holds.

    Args:
        schema: The names of the fields.
        service: The service's name, for every line.
        fields: Further fields for every line.
        trace_prefix: What comes before a trace id, `projects/NAME/traces/` on Google Cloud.
    """

    def __init__(
        self, schema: Schema, *, service: str | None, fields: Mapping[str, Any] | None = None, trace_prefix: str = ""
    ) -> None:
        self._schema = schema
        self._timestamp, self._stamp = schema.timestamp, schema.stamp
        self._level, self._level_text = schema.level, schema.level_text
        self._levels = {number: schema.level_text(number) for number in LEVELS.values()}
        self._logger, self._message = schema.logger, schema.message
        self._nest = schema.nest
        self._request_id = schema.request_id
        self._service = service
        self._own = schema.own_names() - ({schema.service} if service is None else set())
        self._details = {
            schema.error_type, schema.error_message, schema.stacktrace, schema.stack,
            schema.file, schema.line, schema.function,
        }  # fmt: skip
        self._trace_prefix = trace_prefix
        self._static: dict[str, Any] = dict(schema.static)
        if service is not None:
            self._add_service(self._static, service)
        self._fields = dict(fields or {})
        self._encode = msgspec.json.Encoder(enc_hook=safe_repr).encode

    def __call__(
        self,
        created: float,
        level: int,
        logger: str,
        message: str,
        request_id: str | None = None,
        span: SpanContext | None = None,
        extra: dict[Any, Any] | None = None,
        failure: Failure | None = None,
        stack: str | None = None,
        origin: Origin | None = None,
        service: str | None = None,
    ) -> bytes:
        """Return the line."""
        record: dict[Any, Any] = {
            self._timestamp: self._stamp(created, UTC),
            self._level: self._levels.get(level) or self._level_text(level),
            self._message: message,
        }
        if self._logger is not None:
            record[self._logger] = logger
        if self._static:
            record.update(self._static)
        if service is not None and self._service is None:
            self._add_service(record, service)
        inner = record if self._nest is None else {}
        if request_id is not None:
            inner[self._request_id] = request_id
        if span is not None:
            self._add_span(record, span)
        if self._fields:
            inner.update(self._fields)
        if extra:
            if not self._own.isdisjoint(extra):
                detailed = failure is not None or stack is not None or origin is not None
                extra = self._renamed(extra, {**record, **inner}, self._own if detailed else self._own - self._details)
            inner.update(extra)
        if failure is not None or stack is not None or origin is not None:
            self._add_details(inner, failure, stack, origin)
        if self._nest is not None:
            self._add_nested(record, inner, level, logger)
        try:
            return self._encode(record) + b"\n"
        except Exception:  # noqa: BLE001
            return self._mended(record, created, level)

    def _mended(self, record: dict[Any, Any], created: float, level: int) -> bytes:
        try:
            return self._encode(mended(record)) + b"\n"
        except Exception as exc:  # noqa: BLE001
            faults.record("logs.render", exc)
            return (
                self._encode(
                    {
                        self._timestamp: self._stamp(created, UTC),
                        self._level: self._level_text(level),
                        self._message: "a record that can't be rendered",
                    }
                )
                + b"\n"
            )

    def _add_service(self, record: dict[Any, Any], service: str) -> None:
        schema = self._schema
        if schema.resource is None:
            record[schema.service] = service
        else:
            record[schema.resource] = {schema.service: service}

    def _add_span(self, record: dict[Any, Any], span: SpanContext) -> None:
        schema = self._schema
        record[schema.trace_id] = f"{self._trace_prefix}{span.trace_id:032x}"
        record[schema.span_id] = f"{span.span_id:016x}"
        if schema.sampled is not None:
            record[schema.sampled] = int(span.trace_flags) if self._nest else span.trace_flags.sampled

    def _add_details(
        self, inner: dict[Any, Any], failure: Failure | None, stack: str | None, origin: Origin | None
    ) -> None:
        schema = self._schema
        if failure is not None:
            inner[schema.error_type] = failure.type
            inner[schema.error_message] = failure.message
            inner[schema.stacktrace] = failure.traceback
        if stack is not None:
            inner[schema.stack] = stack
        if origin is not None:
            inner[schema.file], inner[schema.line] = origin.file, origin.line
            if origin.function is not None:
                inner[schema.function] = origin.function

    def _add_nested(self, record: dict[Any, Any], inner: dict[Any, Any], level: int, logger: str) -> None:
        schema = self._schema
        if schema.level_number is not None:
            record[schema.level_number] = severity_number(level)
        if schema.scope is not None:
            record[schema.scope] = {"Name": logger}
        if inner:
            record[self._nest] = inner

    def _renamed(self, extra: dict[Any, Any], record: dict[Any, Any], own: Set[str]) -> dict[Any, Any]:
        """Give an underscore to what has the name of a field of ours, unless it says the same."""
        renamed: dict[Any, Any] = {}
        for name, value in extra.items():
            if type(value) is str and record.get(name) == value:
                continue
            free = name
            while free in own or (free != name and free in extra):
                free = f"{free}_"
            renamed[free] = value
        return renamed
