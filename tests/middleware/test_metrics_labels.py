from __future__ import annotations

import re
from contextlib import suppress
from http import HTTPStatus

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_driver import ITEM, OK, body, drive, http, replies, run, samples, start, total
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from asgi_infra import faults
from asgi_infra.middleware.engine import Engine
from asgi_infra.middleware.metrics import Metrics, MetricsMiddleware


@pytest.fixture
def registry():
    return CollectorRegistry()


class Odd:
    def __str__(self):
        raise RuntimeError("no text")


anything = st.one_of(
    st.none(),
    st.text(),
    st.integers(),
    st.binary(),
    st.floats(),
    st.booleans(),
    st.lists(st.integers()),
    st.builds(Odd),
)
statuses = st.one_of(
    st.none(),
    st.integers(-5, 1200),
    st.sampled_from(list(HTTPStatus)),
    st.text(max_size=4),
    st.just([200]),
    st.floats(),
)
templates = st.one_of(st.none(), st.text(st.characters(), max_size=20), st.just("/a\ud800"))


@settings(max_examples=100, deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.text(max_size=8), templates, statuses, anything, st.booleans()), min_size=1, max_size=6
    ),
    naming=st.sampled_from(["prometheus", "semconv"]),
)
def test_property_17_labels_are_complete_and_strings_whatever_passes(requests, naming):
    registry = CollectorRegistry()
    custom = iter([request[3] for request in requests])
    wrapped = []
    middleware = MetricsMiddleware(
        lambda *parts: wrapped[-1](*parts),
        registry=registry,
        naming=naming,
        buckets=[1],
        size_buckets=[1],
        labels={"tenant": lambda _: next(custom)},
    )

    async def all_of_them():
        for method, template, status, _, fails in requests:

            async def app(scope, receive, send, template=template, status=status, fails=fails):
                scope["path_template"] = template
                if status is not None:
                    await send(start(status))
                    await send(body(b"x"))
                if fails:
                    raise RuntimeError

            wrapped.append(app)
            with suppress(RuntimeError, TypeError):
                await drive(middleware, http(method))

    anyio.run(all_of_them)
    expected = {
        "prometheus": {"method", "path", "status_code", "tenant"},
        "semconv": {
            "http_request_method", "http_route", "http_response_status_code", "url_scheme", "error_type", "tenant",
        },
    }[naming]  # fmt: skip
    duration = {"prometheus": "http_request_duration_seconds", "semconv": "http_server_request_duration_seconds"}
    families = {family.name: family for family in registry.collect()}
    for family in families.values():
        for sample in family.samples:
            assert all(type(value) is str for value in sample.labels.values())
    measured = families[duration[naming]].samples
    assert {frozenset(sample.labels) - {"le"} for sample in measured} == {frozenset(expected)}
    assert total(registry, f"{duration[naming]}_count") == len(requests)
    for sample in measured if naming == "prometheus" else []:
        assert re.fullmatch(r"[1-9][0-9]{2}|invalid", sample.labels["status_code"])
    list(parse_openmetrics(generate_openmetrics(registry).decode()))
    list(parse_text(generate_latest(registry).decode()))


@pytest.mark.parametrize(
    ("value", "label"),
    [("acme", "acme"), (b"acme", "acme"), (None, ""), (7, "7"), ("\ud800", "\\ud800"), ("x" * 500, "x" * 128)],
)
def test_a_custom_label_is_a_bounded_string(registry, value, label):
    run(MetricsMiddleware(replies(*OK), registry=registry, labels={"tenant": lambda exchange: value}))
    assert registry.get_sample_value("http_requests_total", {**ITEM, "tenant": label}) == 1


def test_a_custom_label_sees_the_whole_exchange(registry):
    app = MetricsMiddleware(
        replies(*OK), registry=registry, labels={"kind": lambda e: f"{e.route} {e.status} {e.bytes_out}"}
    )
    run(app)
    assert registry.get_sample_value("http_requests_total", {**ITEM, "kind": "/items/{id} 200 5"}) == 1


def test_a_broken_custom_label_is_a_constant_and_a_fault(registry):
    def broken(exchange):
        raise LookupError("secret")

    before = faults.counts().get(("metrics.labels.tenant", "LookupError"), 0)
    sent = run(MetricsMiddleware(replies(*OK), registry=registry, labels={"tenant": broken}))
    assert sent == list(OK)
    assert registry.get_sample_value("http_requests_total", {**ITEM, "tenant": "error"}) == 1
    kind = {"place": "metrics.labels.tenant", "error": "LookupError"}
    assert registry.get_sample_value("asgi_infra_faults_total", kind) == before + 1


def test_what_is_over_max_series_lands_in_one_series_and_a_counter(registry):
    app = MetricsMiddleware(
        replies(*OK), registry=registry, max_series=3, labels={"path_again": lambda exchange: exchange.path}
    )
    for number in [*range(10), 0, 1, 2]:
        run(app, http(path=f"/{number}"))
    found = {sample.labels["path_again"]: sample.value for sample in samples(registry, "http_requests_total")}
    assert found == {"/0": 2, "/1": 2, "/2": 2, "overflow": 7}
    assert (
        registry.get_sample_value(
            "http_requests_total", dict.fromkeys(["method", "path", "status_code", "path_again"], "overflow")
        )
        == 7
    )
    assert registry.get_sample_value("asgi_infra_metrics_overflow_total") == 7


def test_semconv_gives_the_names_of_the_conventions_as_prometheus_spells_them(registry):
    app = MetricsMiddleware(replies(*OK), registry=registry, naming="semconv")
    run(app, http(scheme="https"))
    labels = {
        "http_request_method": "GET", "http_route": "/items/{id}", "http_response_status_code": "200",
        "url_scheme": "https", "error_type": "",
    }  # fmt: skip
    for name in (
        "http_server_request_duration_seconds_count",
        "http_server_request_body_size_bytes_count",
        "http_server_response_body_size_bytes_count",
    ):
        assert registry.get_sample_value(name, labels) == 1
    assert (
        registry.get_sample_value("http_server_active_requests", {"http_request_method": "GET", "url_scheme": "https"})
        == 0
    )
    assert samples(registry, "http_requests_total") == []


def test_semconv_believes_the_scheme_of_trusted_proxies_only(registry):
    for trusted in ((), "192.0.2.1"):
        app = MetricsMiddleware(replies(*OK), registry=registry, naming="semconv", trusted_proxies=trusted)
        run(app, http(scheme="http", client=("192.0.2.1", 5), headers=[(b"x-forwarded-proto", b"https")]))
    found = samples(registry, "http_server_request_duration_seconds_count")
    assert sorted(sample.labels["url_scheme"] for sample in found) == ["http", "https"]


def test_semconv_makes_up_no_status_and_names_the_error(registry):
    async def app(scope, receive, send):
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(MetricsMiddleware(app, registry=registry, naming="semconv"), http(scheme="gopher"))
    labels = {
        "http_request_method": "GET", "http_route": "", "http_response_status_code": "",
        "url_scheme": "_OTHER", "error_type": "KeyError",
    }  # fmt: skip
    assert registry.get_sample_value("http_server_request_duration_seconds_count", labels) == 1


def test_both_namings_and_a_prefix_fit_in_one_registry_and_one_engine(registry):
    observers = [Metrics(registry=registry), Metrics(registry=registry, naming="semconv")]
    run(Engine(replies(*OK), [*observers, Metrics(registry=registry, prefix="shop")]))
    assert total(registry) == total(registry, "http_server_request_duration_seconds_count") == 1
    assert total(registry, "shop_http_requests_total") == 1
