from __future__ import annotations

import logging

import pytest

from asgi_infra.errors import ConfigurationError
from asgi_infra.telemetry import get_telemetry, init_telemetry, shutdown_telemetry

SECRET = "hunter2-secret"
OTLP = "OTEL_EXPORTER_OTLP_"
URL = "must be a URL such as"
PAIRS = "must be name=value pairs"

WRONG = [
    (f"{OTLP}ENDPOINT", f"http://user:{SECRET}@collector.example.org:99999", URL),
    (f"{OTLP}ENDPOINT", f"//{SECRET}", URL),
    (f"{OTLP}TRACES_ENDPOINT", f"nonsense-{SECRET}", URL),
    (f"{OTLP}TRACES_ENDPOINT", f"ftp://{SECRET}.example.org", URL),
    (f"{OTLP}HEADERS", f"authorization={SECRET} bad\nx", PAIRS),
    (f"{OTLP}HEADERS", f"x-{SECRET}", PAIRS),
    (f"{OTLP}HEADERS", f"a=b,={SECRET}", PAIRS),
    (f"{OTLP}HEADERS", f'authorization="{SECRET}"', PAIRS),
    (f"{OTLP}HEADERS", f"authorization={SECRET}%0d%0ax: y", PAIRS),
    (f"{OTLP}TRACES_HEADERS", f"a b={SECRET}", PAIRS),
    (f"{OTLP}TIMEOUT", SECRET, "must be a number of seconds above 0"),
    (f"{OTLP}TRACES_TIMEOUT", "-1", "must be a number of seconds above 0"),
    (f"{OTLP}TRACES_TIMEOUT", "nan", "must be a number of seconds above 0"),
    (f"{OTLP}COMPRESSION", SECRET, "must be none, gzip or deflate"),
    (f"{OTLP}CERTIFICATE", f"/nowhere/{SECRET}", "must be the path of a file that exists"),
    (f"{OTLP}TRACES_CLIENT_KEY", f"/nowhere/{SECRET}", "must be the path of a file that exists"),
    ("OTEL_RESOURCE_ATTRIBUTES", f"a,b={SECRET}", "must be key=value pairs"),
    ("OTEL_RESOURCE_ATTRIBUTES", f"={SECRET}", "must be key=value pairs"),
    ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", SECRET, "must be names of installed resource detectors"),
    ("OTEL_METRICS_EXEMPLAR_FILTER", SECRET, "must be trace_based, always_on or always_off"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-3", "must be a whole number of at least 0"),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", SECRET, "must be a whole number of at least 0"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1.5", "must be a whole number of at least 0"),
]


@pytest.mark.parametrize(("variable", "value", "right"), WRONG)
def test_a_wrong_variable_of_the_sdk_stops_the_start_and_is_named_without_its_value(
    monkeypatch, caplog, variable, value, right
):
    monkeypatch.setenv(variable, value)
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError, match=f"{variable} {right}") as caught:
        init_telemetry(service="shop")
    assert value not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text
    assert get_telemetry() is None


def test_a_switch_that_is_neither_on_nor_off_stops_the_start(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "maybe")
    with pytest.raises(ConfigurationError, match="OTEL_SDK_DISABLED must be true or false, got 'maybe'"):
        init_telemetry(exporters="none")


RIGHT = [
    (f"{OTLP}ENDPOINT", "https://user:hunter2@collector.example.org/base/"),
    (f"{OTLP}TRACES_ENDPOINT", "http://[::1]:4318/v1/traces?tenant=a"),
    (f"{OTLP}HEADERS", "authorization=Bearer%20abc==, x-tenant = a b ,"),
    (f"{OTLP}TIMEOUT", "2.5"),
    (f"{OTLP}COMPRESSION", "GZip"),
    (f"{OTLP}CERTIFICATE", __file__),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c=d%20e,f="),
    ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process, otel"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "0"),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", " 12 "),
    (f"{OTLP}TIMEOUT", ""),
]


@pytest.mark.parametrize(("variable", "value"), RIGHT)
def test_a_right_variable_of_the_sdk_starts_without_a_word(monkeypatch, caplog, variable, value):
    monkeypatch.setenv(variable, value)
    with caplog.at_level(logging.WARNING):
        assert init_telemetry(service="shop").status == "running"
    assert caplog.text == ""


@pytest.mark.parametrize("variable", [f"{OTLP}HEADERS", f"{OTLP}METRICS_HEADERS"])
def test_variables_of_what_is_not_used_are_not_looked_at(monkeypatch, variable):
    monkeypatch.setenv(variable, "nonsense")
    assert init_telemetry(exporters="none").status == "running"


def test_variables_of_the_signal_that_is_used_are_looked_at(monkeypatch):
    monkeypatch.setenv(f"{OTLP}METRICS_HEADERS", SECRET)
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_METRICS_HEADERS must be"):
        init_telemetry(exporters="none", metric_exporters="otlp")


def test_nothing_is_looked_at_where_the_sdk_is_disabled(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")
    monkeypatch.setenv(f"{OTLP}HEADERS", SECRET)
    assert init_telemetry().status == "disabled"


@pytest.mark.parametrize("timeout", [float("nan"), "5", True])
def test_a_timeout_that_is_no_number_is_refused_and_stops_nothing(timeout):
    telemetry = init_telemetry(exporters="none")
    for call in (shutdown_telemetry, telemetry.flush):
        with pytest.raises(ConfigurationError, match="timeout must be a number of seconds"):
            call(timeout)
    assert get_telemetry() is telemetry


@pytest.mark.parametrize("timeout", [-1, 0, float("inf"), float("-inf"), 10**400])
def test_any_number_is_a_timeout(timeout):
    init_telemetry(exporters="none")
    assert shutdown_telemetry(timeout)
    assert get_telemetry() is None
