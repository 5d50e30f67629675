from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.methods import ENVIRONMENT_VARIABLE, KNOWN_METHODS, OTHER, KnownMethods


@given(st.text())
def test_a_method_is_itself_or_the_one_other(method):
    assert KnownMethods(KNOWN_METHODS).label(method) == (method if method in KNOWN_METHODS else OTHER)


def test_the_default_is_the_list_of_the_conventions(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    assert KnownMethods().label("QUERY") == "QUERY"
    assert KnownMethods().label("get") == OTHER


def test_the_environment_replaces_the_default_and_an_option_replaces_both(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "GET, PURGE,,")
    assert [KnownMethods().label(method) for method in ("GET", "PURGE", "POST")] == ["GET", "PURGE", OTHER]
    assert KnownMethods(["POST"]).label("PURGE") == OTHER
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    assert KnownMethods().label("POST") == "POST"


@pytest.mark.parametrize("methods", ["GET", [], [""], ["A B"], [b"GET"], 5, ["A\r\nB"]])
def test_what_is_no_list_of_methods_is_refused(methods):
    with pytest.raises(ConfigurationError, match="known_methods"):
        KnownMethods(methods)


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "GET,A B")
    with pytest.raises(ConfigurationError, match=ENVIRONMENT_VARIABLE):
        KnownMethods()
