from __future__ import annotations

import asyncio
import json
import logging
import threading
from datetime import UTC, datetime
from io import BytesIO

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from asgi_infra import InfraMiddleware
from asgi_infra.context import bind
from asgi_infra.logs import configure_logging

logger = logging.getLogger("shop.context")


def span(trace_id, span_id, sampled):
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return trace.use_span(NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)))


@pytest.mark.parametrize("sampled", [True, False])
def test_a_line_has_request_trace_and_span_sampled_or_not(configure, lines, sampled):
    configure()
    with bind(request_id="r-1"), span(0xABC, 0xDEF, sampled):
        logger.info("inside")
    line = lines.one
    assert line["request_id"] == "r-1"
    assert line["trace_id"] == f"{0xABC:032x}"
    assert line["span_id"] == f"{0xDEF:016x}"


def test_a_line_outside_of_a_request_has_none_of_them(configure, lines):
    configure()
    with bind(request_id="r-1"), span(1, 2, True):
        logger.info("inside")
    logger.info("outside")
    assert lines.all[1].keys() == {"timestamp", "level", "logger", "message"}


def test_an_invalid_span_is_none(configure, lines):
    configure()
    with span(0, 0, True):
        logger.info("x")
    assert "trace_id" not in lines.one


@settings(max_examples=25, deadline=None)
@given(plan=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=40))
def test_property_14_interleaved_requests_write_their_own_ids(plan):
    """Requests take turns in any order; each line has the ids of the request that wrote it."""
    stream = BytesIO()
    setup = configure_logging("INFO", stream=stream)

    async def request(number, turns):
        with bind(request_id=f"r-{number}"), span(number + 1, number + 1, bool(number % 2)):
            for _ in range(turns):
                logger.info("%d", number)
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(request(number, turns) for number, turns in plan))
        logger.info("done")

    try:
        asyncio.run(main())
    finally:
        setup.close()
    *inside, last = map(json.loads, stream.getvalue().splitlines())
    assert len(inside) == sum(turns for _, turns in plan)
    for line in inside:
        number = int(line["message"])
        assert line["request_id"] == f"r-{number}"
        assert line["trace_id"] == f"{number + 1:032x}"
    assert last.keys() == {"timestamp", "level", "logger", "message"}


@pytest.mark.anyio
async def test_requests_through_the_middleware_write_their_own_ids(configure, lines):
    configure()

    async def app(scope, receive, send):
        for _ in range(3):
            logger.info("%s", scope["path"])
            await anyio.lowlevel.checkpoint()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    wrapped = InfraMiddleware(app, access_log=False, metrics=False)

    async def ask(number):
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/{number}",
            "query_string": b"",
            "headers": [(b"x-request-id", f"request-{number}".encode())],
        }

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            return None

        await wrapped(scope, receive, send)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(ask, number)
    logger.info("done")
    *inside, last = lines.all
    assert len(inside) == 30
    assert all(line["request_id"] == "request-" + line["message"][1:] for line in inside)
    assert "request_id" not in last


def test_a_line_from_a_thread_of_its_own_has_no_ids(configure, lines):
    configure()
    with bind(request_id="r-1"):
        thread = threading.Thread(target=logger.info, args=("elsewhere",))
        thread.start()
        thread.join()
    assert "request_id" not in lines.one


def test_queued_lines_have_the_ids_of_the_time_of_the_call(configure, lines):
    setup = configure(queue="always")
    for number in range(20):
        with bind(request_id=f"r-{number}"):
            logger.info("%d", number)
    assert setup.flush()
    assert [line["request_id"] for line in lines.all] == [f"r-{number}" for number in range(20)]


def access_fields(**fields):
    return {
        "timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "level": "INFO",
        "logger": "asgi_infra.access",
        "message": "GET /users/carol@example.org 200",
        "request_id": "r-1",
        "trace_id": f"{7:032x}",
        "span_id": f"{8:016x}",
        "path": "/users/carol@example.org",
        "status": 200,
        **fields,
    }


def the_span():
    return NonRecordingSpan(SpanContext(7, 8, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))


def test_a_line_of_the_access_log_has_the_same_format_and_the_ids_of_its_own_request(configure, lines):
    configure(service="shop")
    (handler,) = [each for each in logging.getLogger().handlers if hasattr(each, "write_fields")]
    with bind(request_id="another"):
        handler.write_fields(logging.INFO, access_fields(service="front"), the_span())
    assert lines.one == {
        "timestamp": "2026-01-02T03:04:05Z",
        "level": "INFO",
        "logger": "asgi_infra.access",
        "message": "GET /users/[REDACTED:email] 200",
        "service": "shop",
        "request_id": "r-1",
        "trace_id": f"{7:032x}",
        "span_id": f"{8:016x}",
        "path": "/users/[REDACTED:email]",
        "status": 200,
    }


def test_a_line_of_the_access_log_follows_the_schema_and_the_level(configure, lines):
    configure("WARNING", schema="otel")
    (handler,) = [each for each in logging.getLogger().handlers if hasattr(each, "write_fields")]
    handler.write_fields(logging.INFO, access_fields(), the_span())
    assert lines.all == []
    handler.write_fields(logging.ERROR, access_fields(service="front"), the_span())
    assert lines.one["TraceFlags"] == 1
    assert lines.one["Attributes"]["request_id"] == "r-1"
    assert lines.one["SeverityText"] == "ERROR"


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ("plain", ["service"]),
        ("ecs", ["service.name"]),
        ("otel", ["Resource", "service.name"]),
        ("gcp", ["service"]),
    ],
)
@pytest.mark.parametrize("service", [None, "shop"])
def test_the_service_of_an_access_log_has_the_name_and_place_of_the_schema(configure, lines, schema, place, service):
    configure(schema=schema, service=service)
    (handler,) = [each for each in logging.getLogger().handlers if hasattr(each, "write_fields")]
    handler.write_fields(logging.INFO, access_fields(service="front"), the_span())
    found = line = lines.one
    for name in place:
        found = found[name]
    assert found == (service or "front")
    assert "service" not in line.get("Attributes", {})
    assert "service" not in line or place == ["service"]


def test_the_console_shows_the_service_of_an_access_log_once(configure, lines):
    configure("INFO", "console")
    (handler,) = [each for each in logging.getLogger().handlers if hasattr(each, "write_fields")]
    handler.write_fields(logging.INFO, access_fields(service="front"), the_span())
    assert lines.text.count("service=front") == 1


def test_a_broken_line_of_the_access_log_is_still_a_line(configure, lines):
    configure()
    (handler,) = [each for each in logging.getLogger().handlers if hasattr(each, "write_fields")]
    handler.write_fields(logging.INFO, {"logger": "asgi_infra.access"})
    assert lines.messages[-1] == "a record that raised KeyError"


def test_the_access_line_of_a_failed_request_keeps_its_names(configure, lines):
    configure()
    (handler,) = [each for each in logging.getLogger().handlers if hasattr(each, "write_fields")]
    handler.write_fields(logging.ERROR, access_fields(error_type="ValueError"), the_span())
    assert lines.one["error_type"] == "ValueError"
    assert "error_type_" not in lines.one
