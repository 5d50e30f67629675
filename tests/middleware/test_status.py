"""From the status of a response to the status of its span."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from middleware_driver import answer, drive
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from asgi_infra import TracingMiddleware
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.status import default_status, semconv_status, status_policy


@given(st.integers(500, 10_000))
def test_property_16_5xx_is_an_error_with_a_description(code: int) -> None:
    status = default_status(code)
    assert status.status_code is StatusCode.ERROR
    known = {each.value: each.phrase for each in HTTPStatus}
    assert status.description == (f"HTTP {code} {known[code]}" if code in known else f"HTTP {code}")


@given(st.integers(-10, 499))
def test_property_16_all_below_is_ok_without_a_description(code: int) -> None:
    status = default_status(code)
    assert status.status_code is StatusCode.OK
    assert status.description is None


@given(st.integers(-10, 10_000))
def test_property_16_the_conventions_leave_all_below_500_unset(code: int) -> None:
    status = semconv_status(code)
    if code < 500:
        assert status is None
    else:
        assert status is not None
        assert (status.status_code, status.description) == (StatusCode.ERROR, None)


def test_policies_have_names_and_any_callable_is_one() -> None:
    def own(code: int) -> StatusCode:
        return StatusCode.UNSET

    assert status_policy("default") is default_status
    assert status_policy("semconv") is semconv_status
    assert status_policy(own) is own


@pytest.mark.parametrize("wrong", ["strict", "DEFAULT", "", None, 500, [], {}])
def test_any_other_policy_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="status must be 'default', 'semconv' or a callable"):
        status_policy(wrong)


def _span(policy: Any, code: int) -> Any:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    drive(TracingMiddleware(answer(code), tracer_provider=provider, status=policy))
    (span,) = exporter.get_finished_spans()
    return span


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        ("default", 200, (StatusCode.OK, None)),
        ("default", 404, (StatusCode.OK, None)),
        ("default", 500, (StatusCode.ERROR, "HTTP 500 Internal Server Error")),
        ("default", 599, (StatusCode.ERROR, "HTTP 599")),
        ("semconv", 200, (StatusCode.UNSET, None)),
        ("semconv", 404, (StatusCode.UNSET, None)),
        ("semconv", 503, (StatusCode.ERROR, None)),
        (lambda code: Status(StatusCode.ERROR, f"own {code}"), 418, (StatusCode.ERROR, "own 418")),
        (lambda code: StatusCode.ERROR, 404, (StatusCode.ERROR, None)),
        (lambda code: None, 500, (StatusCode.UNSET, None)),
    ],
)
def test_property_16_the_span_of_a_response_has_the_status_of_the_policy(
    policy: Any, code: int, expected: tuple[StatusCode, str | None]
) -> None:
    status = _span(policy, code).status
    assert (status.status_code, status.description) == expected


def _broken(code: int) -> Status:
    raise LookupError(code)


def test_a_policy_that_raises_costs_neither_the_span_nor_its_attributes() -> None:
    span = _span(_broken, 404)
    assert span.attributes["http.response.status_code"] == 404
    assert span.end_time is not None
    assert span.status.status_code is StatusCode.UNSET
