from __future__ import annotations

import pytest

from asgi_infra.errors import ConfigurationError
from asgi_infra.telemetry import get_telemetry, init_telemetry
from asgi_infra.telemetry.config import resolve

DEFAULTS = dict.fromkeys(
    (
        "service",
        "version",
        "environment",
        "attributes",
        "exporters",
        "metric_exporters",
        "endpoint",
        "headers",
        "export_timeout",
        "sampler",
        "max_queue_size",
        "max_batch_size",
        "schedule_delay",
        "metric_interval",
    )
) | {"redact": True, "shutdown_timeout": 5.0}


def config(environ=None, **arguments):
    return resolve(**(DEFAULTS | arguments), environ=environ or {})


def test_the_defaults():
    found = config()
    assert found.service is None
    assert found.exporters == ("otlp",)
    assert found.metric_exporters == ()
    assert found.sampler == "parentbased_always_on"
    assert (found.max_queue_size, found.max_batch_size, found.schedule_delay) == (2048, 512, 5.0)
    assert (found.metric_interval, found.shutdown_timeout) == (60.0, 5.0)
    assert not found.disabled


ENVIRON = {
    "OTEL_SERVICE_NAME": "shop",
    "OTEL_TRACES_EXPORTER": "console, otlp",
    "OTEL_METRICS_EXPORTER": "otlp,none",
    "OTEL_TRACES_SAMPLER": "ParentBased_TraceIdRatio",
    "OTEL_TRACES_SAMPLER_ARG": "0.25",
    "OTEL_BSP_MAX_QUEUE_SIZE": "100",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50",
    "OTEL_BSP_SCHEDULE_DELAY": "1500",
    "OTEL_METRIC_EXPORT_INTERVAL": "2500",
}


def test_variables_fill_in_what_is_not_given():
    found = config(ENVIRON)
    assert found.service == "shop"
    assert found.exporters == ("console", "otlp")
    assert found.metric_exporters == ("otlp",)
    assert found.sampler == ("parentbased_traceidratio", 0.25)
    assert (found.max_queue_size, found.max_batch_size, found.schedule_delay) == (100, 50, 1.5)
    assert found.metric_interval == 2.5


def test_arguments_win_over_variables():
    found = config(
        ENVIRON,
        service="other",
        exporters="none",
        metric_exporters=["console"],
        sampler=0.5,
        max_queue_size=10,
        max_batch_size=5,
        schedule_delay=2,
        metric_interval=3,
    )
    assert (found.service, found.exporters, found.metric_exporters) == ("other", (), ("console",))
    assert (found.sampler, found.max_queue_size, found.max_batch_size) == (0.5, 10, 5)
    assert (found.schedule_delay, found.metric_interval) == (2.0, 3.0)


def test_empty_variables_count_as_not_set():
    assert config(dict.fromkeys(ENVIRON, " ")) == config()


def test_a_changed_variable_of_an_exporter_is_another_configuration():
    before = config({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a.example.org"})
    after = config({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b.example.org"})
    assert after.differences(before) == ["otel_variables"]


def test_credentials_are_not_shown():
    found = config(
        {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20hunter2"},
        endpoint="https://user:hunter2@collector.example.org",
        headers={"authorization": "Bearer hunter2"},
    )
    assert "hunter2" not in repr(found)


WRONG = [
    ({"service": " "}, "service must be a text that is not blank"),
    ({"service": 5}, "service must be a text"),
    ({"version": b"1"}, "version must be a text .* an object of type bytes"),
    ({"environment": ""}, "environment must be a text"),
    ({"exporters": "otpl"}, "exporters must be among otlp, console, none.*got 'otpl'"),
    ({"exporters": ["console", "jaeger"]}, "got 'jaeger'"),
    ({"exporters": [5]}, "exporters takes names, SpanExporter and SpanProcessor objects; got an object of type int"),
    ({"metric_exporters": "prometheus"}, "metric_exporters must be among"),
    ({"endpoint": "collector:4318"}, "endpoint must be the receiver's base URL"),
    ({"endpoint": 4318}, "got int"),
    ({"endpoint": "http://user:hunter2@collector.example.org:99999"}, "endpoint must be"),
    ({"endpoint": "http://collector.example.org:port"}, "endpoint must be"),
    ({"endpoint": "http://[::1"}, "endpoint must be"),
    ({"endpoint": "http://collector.example.org\n"}, "endpoint must be"),
    ({"endpoint": "http://collector.example.org/?key=hunter2"}, "endpoint must be .* without a query"),
    ({"headers": {"a\n": "hunter2"}}, "headers must have names that HTTP allows"),
    ({"headers": "authorization=hunter2"}, "headers must map names to values, not be a str"),
    ({"headers": [("authorization", "hunter2")]}, "headers must map names to values, not be a list"),
    ({"headers": {5: "hunter2"}}, "headers must have names that HTTP allows"),
    (
        {"headers": {"authorization": "Bearer hunter2\r\nx: y"}},
        r"headers\['authorization'\] must be a text",
    ),
    ({"headers": {"x-count": 5}}, r"headers\['x-count'\] must be a text"),
    ({"attributes": {"a": object()}}, r"attributes\['a'\] must be a str, .* got an object of type object"),
    ({"attributes": {" ": 1}}, "attributes must have names that are not blank"),
    ({"attributes": [("a", 1)]}, "attributes must map names to values"),
    ({"export_timeout": 0}, "export_timeout must be a number of seconds above 0"),
    ({"export_timeout": float("nan")}, "export_timeout"),
    ({"sampler": 1.5}, "sampler must be a ratio from 0 to 1"),
    ({"sampler": "sometimes"}, "sampler must be one of always_on"),
    ({"sampler": True, "exporters": "none"}, "sampler must be a ratio, a sampler's name or a Sampler"),
    ({"redact": "yes"}, "redact must be a callable, True or False, got str"),
    ({"max_queue_size": 0}, "max_queue_size must be an int of at least 1, got 0"),
    ({"max_queue_size": True}, "max_queue_size must be an int"),
    ({"max_batch_size": 2.0}, "max_batch_size must be an int"),
    ({"max_batch_size": 11, "max_queue_size": 10}, "max_batch_size must not exceed max_queue_size, got 11 and 10"),
    ({"schedule_delay": -1}, "schedule_delay must be a number of seconds"),
    ({"schedule_delay": True}, "schedule_delay must be a number of seconds"),
    ({"metric_interval": float("inf")}, "metric_interval must be a number of seconds"),
    ({"shutdown_timeout": "5"}, "shutdown_timeout must be a number of seconds"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_arguments_are_value_errors_that_name_them(arguments, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        init_telemetry(**arguments)
    assert isinstance(caught.value, ValueError)
    assert "hunter2" not in str(caught.value)
    assert get_telemetry() is None


WRONG_VARIABLES = [
    ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER must be among"),
    ("OTEL_METRICS_EXPORTER", "prometheus", "OTEL_METRICS_EXPORTER must be among"),
    ("OTEL_TRACES_SAMPLER", "xray", "OTEL_TRACES_SAMPLER must be one of"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "OTEL_BSP_MAX_QUEUE_SIZE must be a number, got 'many'"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "max_queue_size must be an int of at least 1"),
    ("OTEL_BSP_SCHEDULE_DELAY", "soon", "OTEL_BSP_SCHEDULE_DELAY must be a number"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL must be 'http/protobuf', got 'grpc'"),
]


@pytest.mark.parametrize(("variable", "value", "message"), WRONG_VARIABLES)
def test_wrong_variables_are_named(monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=message):
        init_telemetry()
    assert get_telemetry() is None


@pytest.mark.parametrize("argument", ["2", "x"])
def test_a_wrong_sampler_argument_is_named(monkeypatch, argument):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    with pytest.raises(ConfigurationError, match="OTEL_TRACES_SAMPLER_ARG must be a ratio from 0 to 1"):
        init_telemetry()


@pytest.mark.parametrize("sampler", ["always_off", "traceidratio", "parentbased_traceidratio", 0.0, 1])
def test_every_kind_of_sampler_starts(sampler):
    assert init_telemetry(exporters="none", sampler=sampler).status == "running"
