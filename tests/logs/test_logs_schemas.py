from __future__ import annotations

import logging
from datetime import datetime

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from asgi_infra.context import bind
from asgi_infra.logs.schemas import SCHEMAS

logger = logging.getLogger("shop.schemas")
TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
TRACE_HEX, SPAN_HEX = f"{TRACE:032x}", f"{SPAN:016x}"


def say(lines, **extra):
    context = SpanContext(TRACE, SPAN, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with bind(request_id="r-1"), trace.use_span(NonRecordingSpan(context)):
        try:
            raise ValueError("odd")
        except ValueError:
            logger.exception("failed", extra={"items": 3, **extra})
    return lines.one


def test_plain_fields(configure, lines):
    configure(service="shop")
    line = say(lines)
    assert datetime.fromisoformat(line.pop("timestamp"))
    assert line.pop("exception").startswith("Traceback")
    assert line == {
        "level": "ERROR",
        "logger": "shop.schemas",
        "message": "failed",
        "service": "shop",
        "request_id": "r-1",
        "trace_id": TRACE_HEX,
        "span_id": SPAN_HEX,
        "items": 3,
        "error_type": "ValueError",
        "error_message": "odd",
    }


def test_the_fields_of_the_elastic_common_schema(configure, lines):
    configure(service="shop", schema="ecs", caller=True)
    line = say(lines)
    assert datetime.fromisoformat(line.pop("@timestamp"))
    assert line.pop("error.stack_trace").startswith("Traceback")
    assert isinstance(line.pop("log.origin.file.line"), int)
    assert line == {
        "ecs.version": "8.11.0",
        "log.level": "error",
        "log.logger": "shop.schemas",
        "message": "failed",
        "service.name": "shop",
        "http.request.id": "r-1",
        "trace.id": TRACE_HEX,
        "span.id": SPAN_HEX,
        "items": 3,
        "error.type": "ValueError",
        "error.message": "odd",
        "log.origin.file.name": __file__,
        "log.origin.function": "say",
    }


def test_the_fields_of_the_opentelemetry_data_model(configure, lines):
    configure(service="shop", schema="otel")
    line = say(lines)
    assert int(line.pop("Timestamp")) > 1.7e18
    assert line["Attributes"].pop("exception.stacktrace").startswith("Traceback")
    assert line == {
        "SeverityText": "ERROR",
        "SeverityNumber": 17,
        "Body": "failed",
        "TraceId": TRACE_HEX,
        "SpanId": SPAN_HEX,
        "TraceFlags": 1,
        "Resource": {"service.name": "shop"},
        "InstrumentationScope": {"Name": "shop.schemas"},
        "Attributes": {
            "request_id": "r-1",
            "items": 3,
            "exception.type": "ValueError",
            "exception.message": "odd",
        },
    }


def test_the_fields_of_google_cloud(configure, lines):
    configure(service="shop", schema="gcp", gcp_project="my-project")
    line = say(lines)
    assert datetime.fromisoformat(line.pop("time"))
    assert line.pop("stack_trace").startswith("Traceback")
    assert line == {
        "severity": "ERROR",
        "logger": "shop.schemas",
        "message": "failed",
        "service": "shop",
        "request_id": "r-1",
        "logging.googleapis.com/trace": f"projects/my-project/traces/{TRACE_HEX}",
        "logging.googleapis.com/spanId": SPAN_HEX,
        "logging.googleapis.com/trace_sampled": True,
        "items": 3,
        "error_type": "ValueError",
        "error_message": "odd",
    }


@pytest.mark.parametrize(
    ("level", "number"), [(1, 1), (10, 5), (20, 9), (25, 9), (30, 13), (40, 17), (50, 21), (60, 21)]
)
def test_the_severity_numbers_of_opentelemetry(configure, lines, level, number):
    configure(schema="otel")
    logging.getLogger().setLevel(1)
    logger.log(level, "x")
    assert lines.one["SeverityNumber"] == number


@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_extra_field_takes_the_place_of_one_of_ours(configure, lines, schema):
    configure(schema=schema, service="shop")
    names = SCHEMAS[schema].own_names() - set(vars(logging.makeLogRecord({}))) - {"message"}
    line = say(lines, **dict.fromkeys(names, "mine"))
    inner = line.get("Attributes", line)
    assert [inner[f"{name}_"] for name in names] == ["mine"] * len(names)
    assert "mine" not in [inner.get(name) for name in names]
