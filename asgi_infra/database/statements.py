"""One span and one reading of the clock for each statement: traces and the log of slow statements."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode
from sqlalchemy import event

from asgi_infra import faults
from asgi_infra.context import get_request_id
from asgi_infra.database.sqltext import describe
from asgi_infra.database.translation import sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from opentelemetry.trace import Span, Tracer
    from sqlalchemy import Engine
    from sqlalchemy.engine import ExceptionContext

    from asgi_infra.database.urls import DatabaseURL

_logger = logging.getLogger("asgi_infra.database")
_RUNNING = "_asgi_infra_statement"


class StatementObserver:
    """Watches an engine's statements through SQLAlchemy's events.

    Spans follow OpenTelemetry's conventions for database clients (stable since 1.33); neither they nor the log
    hold parameters or literals. A fault in here is recorded in `asgi_infra.faults`, and the statement goes on.

    Args:
        url: Whose host, port and name the spans carry.
        tracer: Makes the spans; `None` for none.
        slow_after: Seconds after which a statement is logged as slow; `None` for never.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        url: DatabaseURL,
        *,
        tracer: Tracer | None,
        slow_after: float | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._tracer = tracer
        self._slow_after = slow_after
        self._clock = clock
        self._attributes: dict[str, str | int] = {"db.system.name": url.dialect}
        if url.database:
            self._attributes["db.namespace"] = url.database
        if url.host:
            self._attributes["server.address"] = url.host
        if url.port:
            self._attributes["server.port"] = url.port

    def watch(self, engine: Engine) -> None:
        """Start to watch an engine."""
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)
        event.listen(engine, "handle_error", self._failed)

    def _before(
        self, _connection: object, _cursor: object, statement: str, parameters: Sized, context: object, many: bool
    ) -> None:
        try:
            span = self._start(statement, len(parameters) if many else 1) if self._tracer else None
            setattr(context, _RUNNING, (span, statement, self._clock()))
        except Exception as exc:  # noqa: BLE001 - telemetry never breaks the application
            faults.record("database.statement.start", exc)

    def _after(
        self, _connection: object, _cursor: object, _statement: str, _parameters: Sized, context: object, _many: bool
    ) -> None:
        self._end(context, None)

    def _failed(self, failure: ExceptionContext) -> None:
        if failure.execution_context is not None:
            self._end(failure.execution_context, failure.original_exception)

    def _start(self, statement: str, rows: int) -> Span:
        assert self._tracer is not None  # noqa: S101 - for the type checker; the caller has looked
        text = describe(statement)
        attributes = {
            **self._attributes,
            "db.operation.name": text.operation,
            "db.query.summary": text.summary,
            "db.query.text": text.text,
        }
        if text.target:
            attributes["db.collection.name"] = text.target
        if rows > 1:
            attributes["db.operation.batch.size"] = rows
        return self._tracer.start_span(text.summary, kind=SpanKind.CLIENT, attributes=attributes)

    def _end(self, context: object, error: BaseException | None) -> None:
        try:
            running = getattr(context, _RUNNING, None)
            if running is None:
                return
            setattr(context, _RUNNING, None)
            span, statement, started = running
            seconds = self._clock() - started
            if span is not None:
                if error is not None:
                    _mark(span, error)
                span.end()
            if self._slow_after is not None and seconds >= self._slow_after:
                self._report_slow(statement, seconds)
        except Exception as exc:  # noqa: BLE001 - telemetry never breaks the application
            faults.record("database.statement.end", exc)

    def _report_slow(self, statement: str, seconds: float) -> None:
        text = describe(statement)
        _logger.warning(
            "slow statement: %s took %.3f s",
            text.summary,
            seconds,
            extra={
                "request_id": get_request_id(),
                "db_query_summary": text.summary,
                "db_query_text": text.text,
                "duration_seconds": round(seconds, 6),
            },
        )


def _mark(span: Span, error: BaseException) -> None:
    state = sqlstate_of(error)
    if state is not None:
        span.set_attribute("db.response.status_code", state)
    span.set_attribute("error.type", state or type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}{f' (SQLSTATE {state})' if state else ''}"))
