"""The access log: one JSON line an exchange, however it ends and whatever it is given."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import sys
import urllib.request
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from middleware_driver import HEADER, Lines, answer, drive, exchange, http, served, websocket
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asgi_infra import AccessLog, AccessLogMiddleware, InfraMiddleware, RequestID, Tracing, faults
from asgi_infra.middleware.access_log import SERVER_LOGGERS

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = [
    "timestamp",
    "level",
    "logger",
    "message",
    "request_id",
    "trace_id",
    "span_id",
    "method",
    "route",
    "path",
    "status",
    "outcome",
    "duration_s",
    "first_byte_s",
    "bytes_in",
    "bytes_out",
    "client",
]


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    monkeypatch.setattr(faults, "_counts", counts)
    return counts


@pytest.fixture(autouse=True)
def _server_loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in SERVER_LOGGERS]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = False
    yield
    for logger, disabled in zip(loggers, before, strict=True):
        logger.disabled = disabled


@pytest.fixture
def lines() -> Lines:
    return Lines()


class Records(logging.Handler):
    """Keeps what a logger is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def recording_logger(level: int = logging.DEBUG) -> tuple[logging.Logger, list[Any]]:
    logger, handler = logging.Logger("shop.access", level), Records()
    logger.addHandler(handler)
    return logger, handler.records


# The line


def test_a_line_says_what_happened(lines: Lines) -> None:
    scope = http(query_string=b"page=2")

    drive(AccessLogMiddleware(answer(body=b"lamp"), stream=lines), scope, [{"type": "http.request", "body": b"four"}])

    line = lines.one
    assert list(line) == [*FIELDS, "query"]
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.utcoffset() == timedelta(0)
    assert 0 <= line.pop("first_byte_s") <= line.pop("duration_s")
    assert line == {
        "level": "INFO",
        "logger": "asgi_infra.access",
        "message": "GET /items/7 200",
        "request_id": None,
        "trace_id": None,
        "span_id": None,
        "method": "GET",
        "route": "/items/{id}",
        "path": "/items/7",
        "status": 200,
        "outcome": "ok",
        "bytes_in": 0,
        "bytes_out": 4,
        "client": "192.0.2.7",
        "query": "page=2",
    }


def test_a_line_ends_in_one_line_feed_and_has_no_other(lines: Lines) -> None:
    scope = http(path="/a\nb\r\u2028c", query_string=b"q=\n\r")
    drive(AccessLogMiddleware(answer(), stream=lines), scope)
    assert lines.getvalue().endswith(b"}\n")
    assert lines.getvalue().count(b"\n") == 1
    assert b"\r" not in lines.getvalue()
    assert lines.one["path"] == "/a\nb\r\u2028c"


def test_id_trace_span_and_duration_are_those_of_the_span(lines: Lines) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep(0.003)
        await answer()(scope, receive, send)

    app = InfraMiddleware(
        slowly, tracing=Tracing(tracer_provider=provider), metrics=False, access_log=AccessLog(stream=lines)
    )
    for number in range(20):
        drive(app, http(headers=[(HEADER, f"same-{number}".encode())]))

    spans = exporter.get_finished_spans()
    assert len(spans) == len(lines.all) == 20
    for line, span in zip(lines.all, spans, strict=True):
        assert line["request_id"] == span.attributes["request_id"]
        assert line["trace_id"] == f"{span.context.trace_id:032x}"
        assert line["span_id"] == f"{span.context.span_id:016x}"
        assert abs(line["duration_s"] - (span.end_time - span.start_time) / 1e9) <= 1e-6


def test_the_service_is_on_every_line(lines: Lines) -> None:
    drive(AccessLogMiddleware(answer(), stream=lines, service="shop"))
    assert lines.one["service"] == "shop"


def test_the_service_of_the_stack_is_on_the_lines_of_an_access_log_with_options(lines: Lines) -> None:
    log = AccessLog(stream=lines)
    for service in ("shop", "stock"):
        drive(InfraMiddleware(answer(), service=service, tracing=False, metrics=False, access_log=log))
    own = AccessLog(stream=lines, service="own")
    drive(InfraMiddleware(answer(), service="shop", tracing=False, metrics=False, access_log=own))
    assert [line["service"] for line in lines.all] == ["shop", "stock", "own"]


def test_private_values_of_the_query_are_not_written(lines: Lines) -> None:
    drive(
        AccessLogMiddleware(answer(), stream=lines), http(query_string=b"page=2&access_token=hunter2&password=hunter2")
    )
    assert b"hunter2" not in lines.getvalue()
    assert lines.one["query"] == "page=2&access_token=REDACTED&password=REDACTED"


def test_an_excluded_path_has_no_line(lines: Lines) -> None:
    drive(AccessLogMiddleware(answer(), stream=lines, exclude=["/health"]), http(path="/health"))
    assert lines.getvalue() == b""


def test_two_middlewares_write_one_line(lines: Lines) -> None:
    drive(AccessLogMiddleware(AccessLogMiddleware(answer(), stream=lines), stream=lines))
    assert len(lines.all) == 1


# Every ending has its line


def test_a_4xx_is_information_and_a_5xx_an_error(lines: Lines) -> None:
    for status in (404, 499, 500, 503):
        drive(AccessLogMiddleware(answer(status), stream=lines))
    assert [(line["status"], line["level"], line["outcome"]) for line in lines.all] == [
        (404, "INFO", "ok"),
        (499, "INFO", "ok"),
        (500, "ERROR", "error"),
        (503, "ERROR", "error"),
    ]


def test_what_the_application_raises_is_an_error_with_its_type(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("lamp")

    with pytest.raises(LookupError, match="lamp"):
        drive(AccessLogMiddleware(app, stream=lines))
    line = lines.one
    assert (line["level"], line["outcome"], line["error_type"]) == ("ERROR", "error", "LookupError")
    assert line["status"] == 500  # what the server answers then
    assert line["first_byte_s"] is None


def test_an_error_in_mid_stream_keeps_the_status_that_was_sent(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        drive(AccessLogMiddleware(app, stream=lines))
    line = lines.one
    assert (line["status"], line["level"], line["error_type"], line["bytes_out"]) == (200, "ERROR", "OSError", 4)


def test_a_stream_has_one_line_after_its_last_part(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            assert lines.getvalue() == b""
        await send({"type": "http.response.body"})
        assert lines.one["bytes_out"] == 40

    drive(AccessLogMiddleware(app, stream=lines))
    assert len(lines.all) == 1


def test_an_application_that_never_answers_is_an_error(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Returns without a word."""

    drive(AccessLogMiddleware(app, stream=lines))
    assert (lines.one["level"], lines.one["error_type"]) == ("ERROR", "incomplete_response")


def test_a_client_that_leaves_is_a_warning(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] != "http.disconnect":
            pass

    drive(AccessLogMiddleware(app, stream=lines))
    line = lines.one
    assert (line["level"], line["outcome"], line["error_type"]) == ("WARNING", "disconnected", "client_disconnected")


@pytest.mark.anyio
async def test_a_cancelled_request_is_a_warning(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        await exchange(AccessLogMiddleware(app, stream=lines))
    assert (lines.one["level"], lines.one["outcome"]) == ("WARNING", "cancelled")


def test_a_websocket_has_one_line_with_its_close_code(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "héllo"})
        await receive()
        await send({"type": "websocket.close", "code": 4001})

    received = [{"type": "websocket.connect"}, {"type": "websocket.receive", "bytes": b"123"}]
    drive(AccessLogMiddleware(app, stream=lines), websocket(), received)
    line = lines.one
    assert (line["status"], line["close_code"], line["bytes_in"], line["bytes_out"]) == (101, 4001, 3, 6)


def test_late_background_work_that_fails_has_a_second_line(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer()(scope, receive, send)
        raise RuntimeError("mail")

    with pytest.raises(RuntimeError, match="mail"):
        drive(AccessLogMiddleware(app, stream=lines))
    first, second = lines.all
    assert (first["level"], first["message"]) == ("INFO", "GET /items/7 200")
    assert (second["level"], second["error_type"]) == ("ERROR", "RuntimeError")
    assert second["message"] == "background work failed after GET /items/7 200"
    assert second["duration_s"] == first["duration_s"]


@pytest.mark.anyio
async def test_background_work_that_is_cancelled_is_no_failure(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer()(scope, receive, send)
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        await exchange(AccessLogMiddleware(app, stream=lines))
    assert lines.one["level"] == "INFO"


def test_late_lines_obey_the_level_of_the_logger() -> None:
    logger, records = recording_logger(logging.CRITICAL)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer()(scope, receive, send)
        raise RuntimeError("mail")

    with pytest.raises(RuntimeError, match="mail"):
        drive(AccessLogMiddleware(app, logger=logger))
    assert records == []


# Level, threshold, sample


def test_a_slow_exchange_is_a_warning_and_is_never_sampled_away(lines: Lines) -> None:
    drive(AccessLogMiddleware(answer(), stream=lines, slow=0, sample=0))
    drive(AccessLogMiddleware(answer(), stream=lines, slow=3600.0))
    assert [line["level"] for line in lines.all] == ["WARNING", "INFO"]


@pytest.mark.parametrize(
    ("level", "name"), [(logging.DEBUG, "DEBUG"), (logging.CRITICAL, "CRITICAL"), (25, "Level 25"), (True, "Level 1")]
)
def test_level_decides_the_level(lines: Lines, level: int, name: str) -> None:
    drive(AccessLogMiddleware(answer(), stream=lines, level=lambda exchange: level))
    assert lines.one["level"] == name


@pytest.mark.parametrize("junk", [None, "loud", object(), float("nan"), float("inf"), []])
def test_a_level_that_is_none_falls_back_to_the_usual_one(lines: Lines, junk: Any, counted: dict[Any, int]) -> None:
    drive(AccessLogMiddleware(answer(503), stream=lines, level=lambda exchange: junk))
    assert lines.one["level"] == "ERROR"
    assert [place for place, _ in counted] == ["access_log.level"]


def test_a_level_that_raises_falls_back_to_the_usual_one(lines: Lines, counted: dict[Any, int]) -> None:
    def level(exchange: Any) -> int:
        raise LookupError

    drive(AccessLogMiddleware(answer(), stream=lines, level=level))
    assert lines.one["level"] == "INFO"
    assert counted == {("access_log.level", "LookupError"): 1}


def _logged(sample: float, request_id: str, **options: Any) -> bool:
    lines = Lines()
    log = AccessLog(stream=lines, sample=sample, **options)
    app = InfraMiddleware(answer(), request_id=RequestID(), tracing=False, metrics=False, access_log=log)
    drive(app, http(headers=[(HEADER, request_id.encode())]))
    return bool(lines.all)


@settings(max_examples=60, deadline=None)
@given(st.text("abcdef0123456789", min_size=1, max_size=36), st.floats(0, 1), st.floats(0, 1))
def test_sampling_depends_on_the_id_alone_and_grows_with_the_share(request_id: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert _logged(low, request_id) == _logged(low, request_id)
    assert _logged(low, request_id) <= _logged(high, request_id)
    assert not _logged(0, request_id)
    assert _logged(1, request_id)


def test_the_share_of_lines_is_about_the_one_asked_for(lines: Lines) -> None:
    app = InfraMiddleware(answer(), tracing=False, metrics=False, access_log=AccessLog(stream=lines, sample=0.25))

    async def main() -> None:
        for number in range(2000):
            await exchange(app, http(headers=[(HEADER, b"share-%d" % number)]))

    anyio.run(main)
    assert 400 < len(lines.all) < 600


@pytest.mark.parametrize("level", [None, lambda exchange: logging.DEBUG], ids=["usual", "debug for all"])
def test_failures_are_never_sampled_away(lines: Lines, level: Any) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    for app in (answer(500), broken, silent):
        with suppress(RuntimeError):
            drive(AccessLogMiddleware(app, stream=lines, sample=0, level=level))
    assert [line["outcome"] for line in lines.all] == ["error", "error", "disconnected"]


def test_what_level_raises_above_information_is_never_sampled_away(lines: Lines) -> None:
    drive(AccessLogMiddleware(answer(404), stream=lines, sample=0, level=lambda exchange: logging.WARNING))
    assert lines.one["status"] == 404


# More fields


def test_fields_adds_to_the_line(lines: Lines) -> None:
    drive(
        AccessLogMiddleware(
            answer(),
            stream=lines,
            fields=lambda exchange: {"tenant": "acme", "agent": exchange.headers[b"host"].decode()},
        )
    )
    assert (lines.one["tenant"], lines.one["agent"]) == ("acme", "shop.example.org")


@pytest.mark.parametrize("junk", [None, 5, "text", ["list"]])
def test_fields_that_are_no_mapping_leave_the_line_as_it_is(lines: Lines, junk: Any, counted: dict[Any, int]) -> None:
    drive(AccessLogMiddleware(answer(), stream=lines, fields=lambda exchange: junk))
    assert list(lines.one) == FIELDS
    assert [place for place, _ in counted] == ["access_log.fields"]


def test_fields_that_raises_leaves_the_line_as_it_is(lines: Lines, counted: dict[Any, int]) -> None:
    def fields(exchange: Any) -> dict[str, Any]:
        raise LookupError

    drive(AccessLogMiddleware(answer(), stream=lines, fields=fields))
    assert list(lines.one) == FIELDS
    assert counted == {("access_log.fields", "LookupError"): 1}


class Hostile:
    """An object without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def _cycle() -> list[Any]:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    return cycle


ODD: list[Any] = [
    10**30,
    -(10**30),
    10**5000,
    float("nan"),
    float("inf"),
    "\ud800",
    {"\udfff": "\ud800"},
    b"\xff\xfe",
    object(),
    Hostile(),
    [Hostile()],
    _cycle(),
    {(1, 2): 3},
    {None: 1},
    {Hostile(): 1},
    {1, 2},
    1j,
    ValueError("x"),
    lambda: None,
    type,
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_an_odd_value_costs_no_line_and_no_other_field(lines: Lines, odd: Any) -> None:
    drive(AccessLogMiddleware(answer(), stream=lines, fields=lambda exchange: {"odd": odd, "tenant": "acme"}))
    line = lines.one
    assert list(line) == [*FIELDS, "odd", "tenant"]
    assert line["tenant"] == "acme"
    assert line["status"] == 200
    assert line["message"] == "GET /items/7 200"


@pytest.mark.parametrize("name", ["\ud800", 5, None, (1, 2), Hostile()], ids=range(5))
def test_an_odd_name_costs_no_line(lines: Lines, name: Any) -> None:
    drive(AccessLogMiddleware(answer(), stream=lines, fields=lambda exchange: {name: "x", "tenant": "acme"}))
    assert lines.one["tenant"] == "acme"
    assert "x" in lines.one.values()


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.builds(object)
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=4), st.text(), st.binary(max_size=60))
def test_whatever_comes_a_line_is_one_json_object(fields: dict[str, Any], path: str, query: bytes) -> None:
    lines = Lines()
    app = AccessLogMiddleware(answer(), stream=lines, fields=lambda exchange: fields)
    drive(app, http(path=path, query_string=query))
    assert lines.getvalue().count(b"\n") == 1
    assert set(lines.one) >= set(FIELDS)


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "/caf\udce9"},
        {"path": "/" + "x" * 100_000},
        {"method": "\ud800"},
        {"method": "M" * 100_000},
        {"client": None},
        {"client": ("\ud800", 1)},
        {"query_string": b"q=\xff\xfe&" + b"y" * 100_000},
        {"query_string": None},
    ],
    ids=range(8),
)
def test_an_odd_request_has_its_line_of_bounded_length(lines: Lines, changes: dict[str, Any]) -> None:
    drive(AccessLogMiddleware(answer(), stream=lines), http(**changes))
    assert set(lines.one) >= set(FIELDS)
    assert len(lines.getvalue()) < 12_000


# Where it goes


def test_text_streams_get_text() -> None:
    stream = io.StringIO()
    drive(AccessLogMiddleware(answer(), stream=stream, service="café"))
    assert json.loads(stream.getvalue())["service"] == "café"


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    drive(AccessLogMiddleware(answer()))
    assert json.loads(capsys.readouterr().out)["status"] == 200


def test_a_process_without_standard_output_serves_on(monkeypatch: pytest.MonkeyPatch, counted: dict[Any, int]) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert drive(AccessLogMiddleware(answer()))[0]["status"] == 200
    assert not counted


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_changes_nothing_for_the_client(counted: dict[Any, int]) -> None:
    with open("/dev/full", "wb") as full:
        app = AccessLogMiddleware(answer(), stream=full)
        for _ in range(3):
            assert [message["type"] for message in drive(app)] == ["http.response.start", "http.response.body"]
    assert counted == {("access_log.write", "OSError"): 3}


def test_a_closed_stream_changes_nothing_for_the_client(lines: Lines, counted: dict[Any, int]) -> None:
    lines.close()
    assert drive(AccessLogMiddleware(answer(), stream=lines))[0]["status"] == 200
    assert counted == {("access_log.write", "ValueError"): 1}


# Through `logging`


def test_a_logger_gets_records_with_the_fields_as_attributes() -> None:
    logger, records = recording_logger()
    drive(AccessLogMiddleware(answer(), logger=logger, service="shop", fields=lambda exchange: {"tenant": "acme"}))
    (record,) = records
    assert (record.levelno, record.name, record.getMessage()) == (logging.INFO, "shop.access", "GET /items/7 200")
    assert (record.status, record.route, record.service, record.tenant) == (200, "/items/{id}", "shop", "acme")
    assert record.outcome == "ok"
    assert record.exc_info is None


def test_a_logger_can_be_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "shop.access.named"):
        drive(AccessLogMiddleware(answer(), logger="shop.access.named"))
    (record,) = caplog.records
    assert record.name == "shop.access.named"
    assert record.__dict__["status"] == 200


def test_fields_whose_names_a_record_has_already_get_an_underscore() -> None:
    taken = [*logging.makeLogRecord({}).__dict__, "asctime"]
    logger, records = recording_logger()
    drive(AccessLogMiddleware(answer(), logger=logger, fields=lambda exchange: dict.fromkeys(taken, "mine")))
    (record,) = records
    assert [getattr(record, f"{name}_") for name in taken] == ["mine"] * len(taken)
    assert record.name == "shop.access"
    assert record.getMessage() == "GET /items/7 200"
    assert logging.Formatter("%(asctime)s %(message)s").format(record).endswith("GET /items/7 200")


def test_a_record_factory_that_knows_the_id_already_costs_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Record(logging.LogRecord):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.request_id = self.trace_id = "theirs"

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Record)
    try:
        logger, records = recording_logger()
        drive(
            InfraMiddleware(answer(), tracing=False, metrics=False, access_log=AccessLog(logger=logger)),
            http(headers=[(HEADER, b"ours-1")]),
        )
    finally:
        logging.setLogRecordFactory(before)
    (record,) = records
    assert record.request_id == "ours-1"


@pytest.mark.parametrize("name", ["\ud800", 5, None, Hostile()], ids=range(4))
def test_an_odd_name_costs_no_record(name: Any) -> None:
    logger, records = recording_logger()
    drive(AccessLogMiddleware(answer(), logger=logger, fields=lambda exchange: {name: "x", "tenant": "acme"}))
    (record,) = records
    assert record.tenant == "acme"


def test_a_logger_decides_by_level() -> None:
    logger, records = recording_logger(logging.WARNING)
    drive(AccessLogMiddleware(answer(), logger=logger))
    drive(AccessLogMiddleware(answer(500), logger=logger))
    assert [record.levelno for record in records] == [logging.ERROR]


def test_a_handler_that_raises_changes_nothing_for_the_client(counted: dict[Any, int]) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk")

    logger = logging.Logger("shop.access")
    logger.addHandler(Broken())
    assert drive(AccessLogMiddleware(answer(), logger=logger))[0]["status"] == 200
    assert counted == {("access_log.end", "OSError"): 1}


# The server's own log


def test_the_access_loggers_of_servers_are_silenced_and_come_back_when_asked() -> None:
    AccessLog()
    assert all(logging.getLogger(name).disabled for name in SERVER_LOGGERS)
    logging.getLogger("uvicorn.access").disabled = False
    drive(AccessLogMiddleware(answer(), stream=Lines(), replace_server_log=False))
    assert not logging.getLogger("uvicorn.access").disabled


def test_a_server_logger_that_is_the_destination_is_not_silenced() -> None:
    AccessLog(logger="uvicorn.access")
    assert not logging.getLogger("uvicorn.access").disabled
    assert logging.getLogger("hypercorn.access").disabled


@pytest.mark.parametrize("replaced", [True, False])
def test_a_request_to_uvicorn_has_one_line_or_two_as_asked(lines: Lines, replaced: bool) -> None:
    handler = Records()
    logger = logging.getLogger("uvicorn.access")
    logger.addHandler(handler)
    level = logger.level
    try:
        app = AccessLogMiddleware(
            answer(headers=[(b"content-length", b"4")]), stream=lines, replace_server_log=replaced
        )
        with (
            served(app, log_level="info") as port,
            urllib.request.urlopen(f"http://127.0.0.1:{port}/items/7", timeout=30) as response,
        ):
            assert response.read() == b"done"
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert lines.one["status"] == 200
    assert len(handler.records) == (0 if replaced else 1)


def test_server_loggers_that_were_set_up_after_the_application_are_silenced_when_the_server_starts() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    middleware = AccessLogMiddleware(app)
    logging.config.dictConfig(
        {"version": 1, "disable_existing_loggers": False, "loggers": {"uvicorn.access": {"level": "INFO"}}}
    )
    assert not logging.getLogger("uvicorn.access").disabled
    drive(middleware, {"type": "lifespan"})
    assert logging.getLogger("uvicorn.access").disabled


def test_a_path_can_not_forge_a_line_of_text() -> None:
    logger, records = recording_logger()
    drive(AccessLogMiddleware(answer(), logger=logger), http(path="/a\nINFO GET /admin 200\x1b[2J"))
    (record,) = records
    assert record.getMessage() == r"GET /a\nINFO GET /admin 200\x1b[2J 200"
