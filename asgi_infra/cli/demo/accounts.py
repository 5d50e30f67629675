"""What each request left in the three signals, collected where they come out."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, deque
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, format_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

ACCESS_LOGGER = "asgi_infra.access"
_MAX_TRACES = 256
_MAX_SPANS = 100
_MAX_LINES = 256
_MAX_OUTPUTS = 1000

_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Account:
    """One request, as trace, metrics and log tell it."""

    request_id: str
    trace_id: str
    server: ReadableSpan
    children: tuple[ReadableSpan, ...]
    moved: tuple[tuple[str, float, float], ...]
    """The series that moved, each with its value before and after."""
    line: dict[str, Any] | None
    """The line of the access log; `None` if there was none."""


class Accountant(SpanProcessor):
    """A span processor and an output stream for log lines, which puts the two and the metrics together.

    Args:
        registry: The metrics' registry.
        on_account: Gets the account of each request, once all its signals are there.
        on_late_span: Gets each span that ended after its request, with the request's id.
        on_line: Gets each log line that is none of the access log.

    Attributes:
        outputs: The latest log lines and spans, as they came out.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        on_account: Callable[[Account], None],
        on_late_span: Callable[[ReadableSpan, str], None],
        on_line: Callable[[dict[str, Any]], None],
    ) -> None:
        self._registry = registry
        self._on_account = on_account
        self._on_late_span = on_late_span
        self._on_line = on_line
        self.outputs: deque[str] = deque(maxlen=_MAX_OUTPUTS)
        self._lock = Lock()
        self._spans: OrderedDict[str, list[ReadableSpan]] = OrderedDict()
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._lines: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._values = self._read()

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None:
            return
        self.outputs.append(span.to_json(indent=None))
        trace_id = format_trace_id(span.context.trace_id)
        children: tuple[ReadableSpan, ...] = ()
        with self._lock:
            request_id = self._ended.get(trace_id)
            if span.kind is SpanKind.SERVER:
                children = tuple(self._spans.pop(trace_id, ()))
                _put(self._ended, trace_id, str((span.attributes or {}).get("request_id", "")), _MAX_TRACES)
            elif request_id is None:
                spans = self._spans.get(trace_id)
                if spans is None:
                    _put(self._spans, trace_id, [span], _MAX_TRACES)
                elif len(spans) < _MAX_SPANS:
                    spans.append(span)
                return
        if span.kind is not SpanKind.SERVER:
            self._on_late_span(span, request_id or "")
            return
        # The other signals of this request follow in the same step of the event loop.
        asyncio.get_running_loop().call_soon(self._settle, trace_id, span, children)

    def write(self, line: bytes) -> None:
        """Take one log line."""
        self.outputs.append(line.decode())
        record = json.loads(line)
        if record["logger"] != ACCESS_LOGGER:
            self._on_line(record)
            return
        with self._lock:
            _put(self._lines, record["request_id"], record, _MAX_LINES)

    def flush(self) -> None:
        """Do nothing; a line is taken as soon as it is written."""

    def _settle(self, trace_id: str, server: ReadableSpan, children: tuple[ReadableSpan, ...]) -> None:
        request_id = str((server.attributes or {}).get("request_id", ""))
        values = self._read()
        moved = tuple(
            (series, self._values.get(series, 0.0), value)
            for series, value in values.items()
            if value != self._values.get(series, 0.0)
        )
        self._values = values
        with self._lock:
            line = self._lines.pop(request_id, None)
        self._on_account(Account(request_id, trace_id, server, children, moved, line))

    def _read(self) -> dict[str, float]:
        return {
            _series(sample.name, sample.labels): sample.value
            for metric in self._registry.collect()
            for sample in metric.samples
            if sample.name.endswith(("_total", "_count", "_sum"))
        }


def _series(name: str, labels: dict[str, str]) -> str:
    return f"{name}{{{','.join(f'{label}={json.dumps(value)}' for label, value in labels.items())}}}"


def _put(mapping: OrderedDict[str, _V], key: str, value: _V, most: int) -> None:
    mapping[key] = value
    while len(mapping) > most:
        mapping.popitem(last=False)
