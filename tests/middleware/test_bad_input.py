"""Hostile requests, broken hooks, a full disk: the request's own result stays what it was, and nothing leaks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hostile import LONGEST_LINE, Stack, with_headers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.trace import StatusCode
from recording import body, head, sends

from asgi_infra import faults
from asgi_infra.testing import http_scope


@pytest.fixture
def stack() -> Stack:
    return Stack()


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
