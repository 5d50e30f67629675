"""Hostile requests, broken hooks, a full disk: the request's own result stays what it was, and nothing leaks."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry
from recording import body, head, sends

from asgi_infra import faults
from asgi_infra.context import get_request_id
from asgi_infra.middleware.access_log import AccessLog
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.request_id import RequestID
from asgi_infra.middleware.stack import InfraMiddleware
from asgi_infra.middleware.tracing import Tracing
from asgi_infra.testing import Driven, http_scope, run

ANSWER = head(headers=[(b"a", b"1")]), body(b"ok")
LONGEST_LINE = 16 * 1024


class Stack:
    """All features around an application, and what they have told."""

    def __init__(
        self,
        app: Any = None,
        *,
        request_id: Any = None,
        tracing: Any = None,
        metrics: Any = None,
        access_log: Any = None,
        **options: Any,
    ) -> None:
        self.registry = CollectorRegistry()
        self.exporter = InMemorySpanExporter()
        self.log = io.StringIO()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.app = InfraMiddleware(
            app or sends(*ANSWER, receives=1),
            request_id=RequestID(**request_id or {}),
            tracing=Tracing(tracer_provider=provider, **tracing or {}),
            metrics=Metrics(registry=self.registry, **metrics or {}),
            access_log=AccessLog(**{"stream": self.log, "replace_server_log": False, **(access_log or {})}),
            **options,
        )

    def ask(self, scope: Any) -> Driven:
        """Run one request, with what holds after each, and forget the spans and lines of those before."""
        self.exporter.clear()
        self.log.seek(0)
        self.log.truncate()
        driven = run(self.app, scope)
        assert get_request_id() is None
        assert trace.get_current_span() is trace.INVALID_SPAN
        assert sum(self.samples("http_requests_in_progress").values()) == 0
        return driven

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name
        }

    @property
    def span(self) -> Any:
        (span,) = self.exporter.get_finished_spans()
        assert span.kind is SpanKind.SERVER
        assert span.context.is_valid
        assert span.end_time >= span.start_time
        return span

    @property
    def line(self) -> dict[str, Any]:
        text = self.log.getvalue()
        assert text.count("\n") == 1
        assert text.endswith("\n")
        assert len(text) <= LONGEST_LINE
        line: dict[str, Any] = json.loads(text)
        return line

    def assert_fine(self, scope: Any) -> Driven:
        """Assert that a request has its answer, and that every signal tells of it, with the same ids."""
        driven = self.ask(scope)
        assert driven.error is None
        (request_id,) = driven.header(b"x-request-id")
        assert driven.sent == [head(headers=[(b"a", b"1"), (b"x-request-id", request_id)]), ANSWER[1]]
        assert self.span.attributes["request_id"] == self.line["request_id"] == request_id.decode("ascii")
        assert self.line["trace_id"] == f"{self.span.context.trace_id:032x}"
        assert (self.line["status"], self.line["outcome"]) == (200, "ok")
        return driven


@pytest.fixture
def stack() -> Stack:
    return Stack()


def with_headers(*headers: tuple[bytes, bytes]) -> Any:
    return http_scope(headers=list(headers))


# Headers


@pytest.mark.parametrize(
    "name",
    [b"x-request-id", b"traceparent", b"tracestate", b"baggage", b"host", b"user-agent", b"x-tag", b"x-forwarded-for"],
)
@pytest.mark.parametrize("value", [b"a" * 1024 * 1024, b"\xff" * 1024 * 1024, b"a=b," * 256 * 1024], ids=repr)
def test_a_header_of_a_megabyte_is_no_burden_on_any_signal(stack, name, value):
    driven = stack.assert_fine(with_headers((name, value)))
    assert len(driven.header(b"x-request-id")[0]) <= 128
    assert sum(len(str(value)) for value in stack.span.attributes.values()) <= LONGEST_LINE


def test_a_captured_header_of_a_megabyte_is_cut():
    stack = Stack(tracing={"capture_request_headers": ["x-tag"]})
    stack.assert_fine(with_headers((b"x-tag", b"a" * 1024 * 1024)))
    (value,) = stack.span.attributes["http.request.header.x-tag"]
    assert len(value) <= 1024


@pytest.mark.parametrize("name", [b"x-tag", b"x-request-id", b"traceparent", b"baggage", b"x-forwarded-for"])
def test_ten_thousand_headers_of_one_name_are_fine(name):
    stack = Stack(trusted_proxies="*", tracing={"capture_request_headers": ["x-tag"]})
    stack.assert_fine(with_headers(*[(name, b"v%d" % number) for number in range(10_000)]))


def test_ten_thousand_names_of_headers_are_fine(stack):
    stack.assert_fine(with_headers(*[(b"x-%d" % number, b"v") for number in range(10_000)]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=10))
def test_names_and_values_may_be_any_bytes(headers):
    Stack(trusted_proxies="*").assert_fine(with_headers(*headers))


# Request ids


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"id\r\nSet-Cookie: a=b")
@example(b"id\nline")
@example(b'id","level":"ERROR')
@example(b"\x00")
@example(b"")
@example(b" id ")
@example(b"<script>")
@example(b"a" * 129)
def test_no_id_forges_a_header_or_a_line(given_id):
    stack = Stack()
    driven = stack.assert_fine(with_headers((b"x-request-id", given_id)))
    (request_id,) = driven.header(b"x-request-id")
    assert 0 < len(request_id) <= 128
    assert set(request_id) <= set(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._:+/=@~-")


# What would make series without end


def test_two_hundred_unknown_methods_add_one_series(stack):
    for number in range(200):
        stack.assert_fine(http_scope(f"ODD{number}"))
        assert stack.span.name == "HTTP"
    assert stack.samples("http_requests_total") == {("_OTHER", "unmatched", "200"): 200}
    assert list(stack.samples("http_requests_in_progress")) == [("_OTHER",)]


@pytest.mark.parametrize("method", ["", "get", "G" * 100_000, "GET\r\nX: y", "GÉT", "\ud800", None])
def test_odd_methods_are_the_other_method(stack, method):
    driven = stack.ask(http_scope(method))
    assert driven.error is None
    assert driven.body == b"ok"
    assert stack.span.name == "HTTP"
    assert stack.samples("http_requests_total") == {("_OTHER", "unmatched", "200"): 1}


def test_three_hundred_hosts_add_no_series(stack):
    for number in range(300):
        stack.assert_fine(with_headers((b"host", b"h%d.example.org" % number)))
    assert stack.samples("http_requests_total") == {("GET", "unmatched", "200"): 300}


@pytest.mark.parametrize(
    "host",
    [b"", b"\xff\xfe", b":", b"[", b"[::1", b"a:99999999999", b"a:-1", b"a:\xb2", b"a b", b"a\r\nb", b":" * 70_000],
    ids=repr,
)
def test_odd_hosts_are_fine(stack, host):
    stack.assert_fine(with_headers((b"host", host)))


def test_random_paths_add_one_series(stack):
    @settings(max_examples=150, deadline=None)
    @given(st.text(max_size=60), st.binary(max_size=60))
    @example("\ud800", b"\xff")
    @example("/../..//%2F\r\n\x00", b"=&&==%&%zz")
    @example("/" + "a" * 100_000, b"a" * 100_000)
    @example("/" * 100_000, b"&" * 100_000)
    def ask(path, query):
        stack.assert_fine(http_scope(path=f"/{path}", query_string=query))

    ask()
    assert list(stack.samples("http_requests_total")) == [("GET", "unmatched", "200")]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_random_paths_are_fine_for_path_rules_and_root_paths(path):
    stack = Stack(exclude=["/health", "/static/**", "/*/edit"])
    stack.assert_fine(http_scope(path=f"/other/{path.replace('/', '')}/x", root_path=f"/{path}"))


# The trace context of others

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)


@pytest.mark.parametrize(
    "traceparent",
    [
        b"",
        b"-",
        b"---",
        b"00",
        b"00-" + TRACE,
        b"00-%b-%b" % (TRACE, SPAN),
        b"00-%b-%b-" % (TRACE, SPAN),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"00-%b-%b-zz" % (TRACE, SPAN),
        b"00-%b-%b-01-extra" % (TRACE, SPAN),
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"0-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (b"g" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE[:-1], SPAN),
        b"00-%b-%b-01" % (TRACE + b"0", SPAN),
        b"00-%b-%b-01" % (TRACE, SPAN + b"0"),
        b"00_%b_%b_01" % (TRACE, SPAN),
        b"00-%b-%b-01\r\nx: y" % (TRACE, SPAN),
        b"\xff" * 55,
        b"00-%b-%b-\xff\xfe" % (TRACE, SPAN),
        "00-\u0660af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".encode(),
        VALID + b"," + VALID,
        VALID * 1000,
        b"{}",
        b"null",
    ],
    ids=lambda value: repr(value[:60]),
)
def test_a_malformed_traceparent_never_breaks_a_span(stack, traceparent):
    stack.assert_fine(with_headers((b"traceparent", traceparent), (b"tracestate", b"a=b")))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
@example(VALID, b"\xff=,,=\x00", b"%zz=;;,=%ff")
@example(VALID, b"a=b," * 100, b"a=b;c=d," * 100)
def test_any_trace_context_gives_one_whole_span(traceparent, tracestate, baggage):
    Stack().assert_fine(with_headers((b"traceparent", traceparent), (b"tracestate", tracestate), (b"baggage", baggage)))


def test_a_valid_traceparent_twice_gives_one_whole_span(stack):
    stack.assert_fine(with_headers((b"traceparent", VALID), (b"traceparent", VALID)))


# Hooks of users


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("broken on purpose")


@pytest.mark.parametrize("result", [None, 5, object, [], "", "\ud800", b"\xff"], ids=repr)
@pytest.mark.parametrize(
    ("feature", "hook"),
    [
        ("request_id", "generator"),
        ("request_id", "validator"),
        ("tracing", "on_start"),
        ("tracing", "on_end"),
        ("tracing", "status"),
        ("access_log", "level"),
        ("access_log", "fields"),
    ],
)
def test_a_hook_that_returns_nonsense_changes_no_response(feature, hook, result):
    stack = Stack(**{feature: {hook: lambda *_: result}})
    driven = stack.ask(with_headers((b"x-request-id", b"client-1")) if hook == "validator" else http_scope())
    assert driven.error is None
    assert (driven.status, driven.body) == (200, b"ok")
    assert len(driven.header(b"x-request-id")) == 1
    assert stack.span.name == "GET"
    assert sum(stack.samples("http_requests_total").values()) == 1


@pytest.mark.parametrize(
    ("feature", "options"),
    [
        ("request_id", {"generator": broken}),
        ("request_id", {"validator": broken}),
        ("tracing", {"on_start": broken}),
        ("tracing", {"on_end": broken}),
        ("tracing", {"status": broken}),
        ("metrics", {"labels": {"tenant": broken}}),
        ("access_log", {"level": broken}),
        ("access_log", {"fields": broken}),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_a_hook_that_raises_is_counted_and_takes_nothing_else_with_it(feature, options):
    stack = Stack(**{feature: options})
    before = faults_of("ZeroDivisionError")
    stack.assert_fine(with_headers((b"x-request-id", b"client-1")) if "validator" in options else http_scope())
    assert sum(stack.samples("http_requests_total").values()) == 1
    assert faults_of("ZeroDivisionError") == before + 1


def faults_of(error: str) -> int:
    return sum(count for (_, kind), count in faults.counts().items() if kind == error)


# The log's disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_full_disk_under_the_log_changes_no_response(mode):
    before = faults_of("OSError")
    with open("/dev/full", mode) as full:
        stack = Stack(access_log={"stream": full})
        for _ in range(3):
            driven = stack.ask(http_scope())
            assert (driven.error, driven.status, driven.body) == (None, 200, b"ok")
            assert stack.span.status.status_code is StatusCode.OK
    assert faults_of("OSError") == before + 3


def test_a_log_that_is_closed_changes_no_response():
    stream = io.StringIO()
    stream.close()
    driven = Stack(access_log={"stream": stream}).ask(http_scope())
    assert (driven.error, driven.status, driven.body) == (None, 200, b"ok")


# Applications


def test_an_application_that_returns_without_an_answer_is_left_to_the_server_and_recorded_as_an_error():
    stack = Stack(sends(receives=1))
    driven = stack.ask(http_scope())
    assert (driven.error, driven.sent) == (None, [])
    assert (stack.line["level"], stack.line["outcome"]) == ("ERROR", "error")
    assert stack.line["error_type"] == stack.span.attributes["error.type"] == "incomplete_response"
    assert "http.response.status_code" not in stack.span.attributes
    assert stack.span.status.status_code is StatusCode.ERROR
    assert stack.samples("http_requests_total") == {("GET", "unmatched", "500"): 1}


@pytest.mark.parametrize(
    "error", [ValueError("x"), ExceptionGroup("x", [KeyError("y")]), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")]
)
def test_an_application_that_raises_is_recorded_in_every_signal(error):
    stack = Stack(sends(raises=error))
    driven = stack.ask(http_scope())
    assert driven.error is error
    assert stack.line["error_type"] == stack.span.attributes["error.type"]
    assert [event.name for event in stack.span.events] == ["exception"]
    assert stack.samples("http_requests_total") == {("GET", "unmatched", "500"): 1}


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


def test_an_error_that_can_not_be_printed_is_still_the_one_that_is_raised():
    stack = Stack(sends(raises=Unprintable()))
    driven = stack.ask(http_scope())
    assert type(driven.error) is Unprintable
    assert stack.line["error_type"].endswith("Unprintable")
    assert stack.span.attributes["error.type"] == stack.line["error_type"]
    assert stack.samples("http_requests_total") == {("GET", "unmatched", "500"): 1}


def test_a_response_with_odd_bytes_is_the_servers_affair():
    headers = [(b"\xff\r\n", b"\x00"), (b"", b"")]
    stack = Stack(sends(head(599, headers), body(b"\xff")), tracing={"capture_response_headers": ["a"]})
    driven = stack.ask(http_scope())
    assert driven.headers[:2] == headers
    assert driven.body == b"\xff"
    assert stack.line["status"] == 599
