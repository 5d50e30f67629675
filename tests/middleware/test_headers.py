"""Headers as span attributes: those that were asked for, and no secret among them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.headers import HeaderCapture

SECRET = b"hunter2-hunter2"


def test_headers_that_were_asked_for_are_lists_under_the_names_of_the_conventions() -> None:
    capture = HeaderCapture(["Accept", "X-Tenant-ID"], "request")
    headers = [(b"accept", b"text/html"), (b"accept", b"*/*"), (b"x-tenant-id", b"acme"), (b"dnt", b"1")]
    assert capture(headers) == {
        "http.request.header.accept": ["text/html", "*/*"],
        "http.request.header.x-tenant-id": ["acme"],
    }


def test_responses_have_names_of_their_own() -> None:
    assert HeaderCapture(["etag"], "response")([(b"ETag", b'"1"')]) == {"http.response.header.etag": ['"1"']}


def test_a_header_that_is_not_there_has_no_attribute() -> None:
    assert HeaderCapture(["accept"], "request")([]) == {}


def test_nothing_asked_for_is_false() -> None:
    assert not HeaderCapture([], "request")
    assert not HeaderCapture((), "response")
    assert HeaderCapture(["accept"], "request")


def test_names_may_come_from_any_iterable() -> None:
    names: Any = (name for name in ["accept", "dnt"])
    assert HeaderCapture(names, "request")([(b"dnt", b"1")]) == {"http.request.header.dnt": ["1"]}


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-csrftoken",
        "x-amz-security-token",
        "x-goog-iap-jwt-assertion",
        "x-session",
        "x-session-id",
        "x-client-secret",
        "x-password",
    ],
)
def test_credentials_are_never_recorded(name: str) -> None:
    capture = HeaderCapture([name], "request")
    attributes = capture([(name.lower().encode(), SECRET), (name.upper().encode(), SECRET)])
    assert attributes == {f"http.request.header.{name.lower()}": ["REDACTED"]}


@pytest.mark.parametrize("name", ["accept", "user-agent", "x-request-id", "etag", "x-author", "content-type"])
def test_harmless_names_are_recorded(name: str) -> None:
    assert HeaderCapture([name], "request")([(name.encode(), b"v")]) == {f"http.request.header.{name}": ["v"]}


@pytest.mark.parametrize("name", ["referer", "location", "content-location"])
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://shop.example.org/cb?code=hunter2&page=2", "https://shop.example.org/cb?code=REDACTED&page=2"),
        ("/cb#access_token=hunter2&page=2", "/cb#access_token=REDACTED&page=2"),
        ("/cb?page=2#token=hunter2", "/cb?page=2#token=REDACTED"),
        ("/cb?a=1?token=hunter2", "/cb?a=1?token=REDACTED"),
        ("/lamps", "/lamps"),
        ("?#", "?#"),
    ],
)
def test_urls_are_recorded_without_the_secrets_in_their_query_and_fragment(name: str, url: str, expected: str) -> None:
    attributes = HeaderCapture([name], "response")([(name.encode(), url.encode())])
    assert attributes == {f"http.response.header.{name}": [expected]}


def test_length_and_number_of_values_are_bounded() -> None:
    attributes = HeaderCapture(["accept"], "request")([(b"accept", b"x" * 1_000_000)] * 10_000)
    assert attributes == {"http.request.header.accept": ["x" * 1024] * 16}


@pytest.mark.parametrize("unit", [b"?", b"#", b"&", b"=", b"a=", b"?token=", b"%"])
def test_a_hostile_url_is_read_in_a_moment(unit: bytes) -> None:
    started = time.process_time()
    HeaderCapture(["referer"], "request")([(b"referer", unit * 1_000_000)])
    assert time.process_time() - started < 5


@pytest.mark.parametrize("wrong", ["accept", b"accept", None, 5, [""], ["a b"], ["a:"], ["é"], [None], [b"accept"]])
@pytest.mark.parametrize("side", ["request", "response"])
def test_what_is_no_list_of_names_is_refused(wrong: Any, side: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"capture_{side}_headers must be a list of header names"):
        HeaderCapture(wrong, side)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"accept", b"cookie", b"referer", b"dnt"]), st.binary(max_size=40)), max_size=40
    )
)
def test_any_bytes_become_strings_that_exporters_can_encode(headers: list[tuple[bytes, bytes]]) -> None:
    for values in HeaderCapture(["accept", "cookie", "referer"], "request")(headers).values():
        assert 1 <= len(values) <= 16
        assert all(isinstance(value, str) and value.encode() is not None for value in values)
