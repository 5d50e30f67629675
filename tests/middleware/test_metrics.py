from __future__ import annotations

import math
import re
import subprocess
import sys
from contextlib import suppress
from http import HTTPStatus

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.metrics import Metrics, MetricsMiddleware

ITEM = {"method": "GET", "path": "/items/{id}", "status_code": "200"}


@pytest.fixture
def registry():
    return CollectorRegistry()


def http(method="GET", path="/items/7", **more):
    return {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", **more}


def start(status=200, **more):
    return {"type": "http.response.start", "status": status, "headers": [], **more}


def body(data=b"", **more):
    return {"type": "http.response.body", "body": data, **more}


def replies(*messages, route="/items/{id}", read=False):
    async def app(scope, receive, send):
        if route is not None:
            scope["path_template"] = route
        if read:
            while (await receive()).get("more_body"):
                pass
        for message in messages:
            await send(message)

    return app


OK = (start(), body(b"hello"))


async def drive(app, scope=None, *received, send=None):
    queue = list(received) or [{"type": "http.request", "body": b"", "more_body": False}]
    sent = []

    async def receive():
        return queue.pop(0) if queue else {"type": "http.disconnect"}

    async def collect(message):
        sent.append(message)
        if send is not None:
            await send(message)

    await app(http() if scope is None else scope, receive, collect)
    return sent


def run(app, scope=None, *received, send=None):
    return anyio.run(lambda: drive(app, scope, *received, send=send))


def samples(registry, name):
    return [sample for family in registry.collect() for sample in family.samples if sample.name == name]


def total(registry, name="http_requests_total"):
    return sum(sample.value for sample in samples(registry, name))


def in_progress(registry):
    return total(registry, "http_requests_in_progress") + total(registry, "websocket_connections_in_progress")


# What is counted, and under which labels


@pytest.mark.anyio
async def test_a_request_feeds_every_metric_of_requests(registry):
    app = MetricsMiddleware(replies(*OK, read=True), registry=registry)
    await drive(app, http(), {"type": "http.request", "body": b"x" * 150, "more_body": False})
    value = registry.get_sample_value
    assert value("http_requests_total", ITEM) == 1
    assert value("http_request_duration_seconds_count", ITEM) == 1
    assert value("http_response_first_byte_seconds_count", ITEM) == 1
    assert value("http_request_size_bytes_sum", ITEM) == 150
    assert value("http_request_size_bytes_bucket", {**ITEM, "le": "100.0"}) == 0
    assert value("http_request_size_bytes_bucket", {**ITEM, "le": "1000.0"}) == 1
    assert value("http_response_size_bytes_sum", ITEM) == 5
    assert value("http_requests_in_progress", {"method": "GET"}) == 0
    assert (
        0 < value("http_response_first_byte_seconds_sum", ITEM) <= value("http_request_duration_seconds_sum", ITEM) < 60
    )


@pytest.mark.anyio
async def test_requests_in_progress_are_shown_while_they_last(registry):
    seen = []

    async def app(scope, receive, send):
        seen.append(registry.get_sample_value("http_requests_in_progress", {"method": "GET"}))
        seen.append(samples(registry, "http_requests_total"))
        for message in OK:
            await send(message)

    await drive(MetricsMiddleware(app, registry=registry))
    assert seen == [1, []]
    assert in_progress(registry) == 0


def test_two_hundred_random_methods_add_one_series(registry):
    app = MetricsMiddleware(replies(*OK), registry=registry)
    for number in range(200):
        run(app, http(f"M{number}"))
    assert [sample.labels["method"] for sample in samples(registry, "http_requests_total")] == ["_OTHER"]
    assert [sample.labels["method"] for sample in samples(registry, "http_requests_in_progress")] == ["_OTHER"]


def test_three_hundred_host_values_add_no_series(registry):
    app = MetricsMiddleware(replies(*OK), registry=registry)
    for number in range(300):
        run(app, http(headers=[(b"host", b"h%d.example.org" % number)]))
    assert len(samples(registry, "http_requests_total")) == 1


def test_random_paths_without_a_route_add_one_series(registry):
    app = MetricsMiddleware(replies(start(404), body(), route=None), registry=registry)
    for number in range(100):
        run(app, http(path=f"/{number}"))
    assert (
        registry.get_sample_value("http_requests_total", {"method": "GET", "path": "unmatched", "status_code": "404"})
        == 100
    )
    assert len(samples(registry, "http_requests_total")) == 1


def test_a_405_is_counted_under_its_route(registry):
    run(MetricsMiddleware(replies(start(405), body()), registry=registry), http("PUT"))
    assert total(registry) == 1
    assert samples(registry, "http_requests_total")[0].labels == {
        "method": "PUT", "path": "/items/{id}", "status_code": "405",
    }  # fmt: skip


@pytest.mark.anyio
async def test_a_cancelled_request_is_a_499_and_leaves_nothing_in_progress(registry):
    async def app(scope, receive, send):
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        await drive(MetricsMiddleware(app, registry=registry))
    assert [sample.labels["status_code"] for sample in samples(registry, "http_requests_total")] == ["499"]
    assert samples(registry, "http_response_first_byte_seconds_count")[0].value == 0
    assert in_progress(registry) == 0


@pytest.mark.anyio
async def test_a_client_that_went_away_before_the_response_is_a_499(registry):
    async def app(scope, receive, send):
        assert (await receive())["type"] == "http.disconnect"

    await drive(MetricsMiddleware(app, registry=registry), http(), {"type": "http.disconnect"})
    assert [sample.labels["status_code"] for sample in samples(registry, "http_requests_total")] == ["499"]


@pytest.mark.anyio
@pytest.mark.parametrize("sent", [(), (start(200),), (start(200), body(b"a", more_body=True))])
async def test_an_error_is_a_500_unless_a_status_was_sent(registry, sent):
    async def app(scope, receive, send):
        for message in sent:
            await send(message)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        await drive(MetricsMiddleware(app, registry=registry))
    expected = "200" if sent else "500"
    assert [sample.labels["status_code"] for sample in samples(registry, "http_requests_total")] == [expected]
    assert in_progress(registry) == 0


@pytest.mark.anyio
async def test_an_application_that_never_answers_is_a_500(registry):
    await drive(MetricsMiddleware(replies(), registry=registry))
    assert [sample.labels["status_code"] for sample in samples(registry, "http_requests_total")] == ["500"]


def test_an_abandoned_request_leaves_nothing_in_progress(registry):
    class Never:
        def __await__(self):
            yield

    async def app(scope, receive, send):
        await Never()

    coroutine = MetricsMiddleware(app, registry=registry)(http(), None, None)
    coroutine.send(None)
    assert in_progress(registry) == 1
    coroutine.close()
    assert in_progress(registry) == 0
    assert total(registry) == 1


@pytest.mark.anyio
async def test_background_work_is_not_part_of_the_duration_and_its_error_is_counted(registry):
    async def app(scope, receive, send):
        for message in OK:
            await send(message)
        seen.append(total(registry))
        seen.append(in_progress(registry))
        raise RuntimeError("background")

    seen = []
    scope = http()
    with pytest.raises(RuntimeError):
        await drive(MetricsMiddleware(app, registry=registry), scope)
    assert seen == [1, 0]
    assert total(registry) == 1
    assert registry.get_sample_value("http_background_errors_total", {"method": "GET", "path": "unmatched"}) == 1


@pytest.mark.anyio
async def test_a_cancellation_of_background_work_is_no_background_error(registry):
    async def app(scope, receive, send):
        for message in OK:
            await send(message)
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        await drive(MetricsMiddleware(app, registry=registry))
    assert samples(registry, "http_background_errors_total") == []


@pytest.mark.anyio
async def test_sizes_do_not_carry_over_from_one_request_to_the_next(registry):
    sizes = iter([1234, 0, 10])

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x" * next(sizes)))

    wrapped = MetricsMiddleware(app, registry=registry)
    for expected in (1234, 1234, 1244):
        await drive(wrapped)
        assert total(registry, "http_response_size_bytes_sum") == expected


@pytest.mark.anyio
async def test_interleaved_requests_are_measured_apart(registry):
    release = [anyio.Event() for _ in range(8)]

    async def app(scope, receive, send):
        number = int(scope["path"].rsplit("/", 1)[1])
        scope["path_template"] = f"/r{number}"
        await send(start(200 + number))
        await release[number].wait()
        await send(body(b"x" * number))

    wrapped = MetricsMiddleware(app, registry=registry)
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(drive, wrapped, http(path=f"/{number}"))
        await anyio.wait_all_tasks_blocked()
        assert in_progress(registry) == 8
        for event in reversed(release):
            event.set()
    assert in_progress(registry) == 0
    for number in range(8):
        labels = {"method": "GET", "path": f"/r{number}", "status_code": str(200 + number)}
        assert registry.get_sample_value("http_response_size_bytes_sum", labels) == number
        assert registry.get_sample_value("http_requests_total", labels) == 1


@pytest.mark.anyio
async def test_a_streamed_response_with_trailers_ends_with_the_last_trailer(registry):
    counts = []

    async def app(scope, receive, send):
        for message in (
            start(trailers=True),
            body(b"ab", more_body=True),
            body(b"cd"),
            {"type": "http.response.trailers", "headers": [], "more_trailers": True},
            {"type": "http.response.trailers", "headers": []},
        ):
            await send(message)
            counts.append(total(registry))

    await drive(MetricsMiddleware(app, registry=registry))
    assert counts == [0, 0, 0, 0, 1]
    assert total(registry, "http_response_size_bytes_sum") == 4


# WebSockets


def websocket(path="/ws"):
    return {"type": "websocket", "path": path, "headers": [], "subprotocols": []}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.accept"}, {"type": "websocket.close"}], "101"),
        ([{"type": "websocket.close"}], "403"),
        ([{"type": "websocket.accept"}], "101"),
        ([], "500"),
    ],
)
async def test_a_websocket_has_metrics_of_its_own(registry, messages, status):
    await drive(MetricsMiddleware(replies(*messages, route="/ws"), registry=registry), websocket())
    labels = {"method": "GET", "path": "/ws", "status_code": status}
    assert registry.get_sample_value("websocket_connection_duration_seconds_count", labels) == 1
    assert samples(registry, "http_requests_total") == []
    assert samples(registry, "http_requests_in_progress") == []
    assert samples(registry, "websocket_connections_in_progress")[0].labels == {}
    assert in_progress(registry) == 0


@pytest.mark.anyio
async def test_a_websocket_is_in_progress_while_it_lasts(registry):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        assert registry.get_sample_value("websocket_connections_in_progress", {}) == 1

    await drive(MetricsMiddleware(app, registry=registry), websocket())
    assert registry.get_sample_value("websocket_connections_in_progress", {}) == 0


# Properties of the labels


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


# Naming


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


# Sharing


def test_two_applications_with_the_same_options_share_their_metrics(registry):
    for _ in range(2):
        run(MetricsMiddleware(replies(*OK), registry=registry))
    assert registry.get_sample_value("http_requests_total", ITEM) == 2
    assert generate_latest(registry).count(b"# TYPE http_requests_total counter") == 1


def test_two_middlewares_around_one_application_count_once(registry):
    run(MetricsMiddleware(MetricsMiddleware(replies(*OK), registry=registry), registry=registry))
    assert total(registry) == 1
    assert in_progress(registry) == 0


def test_metrics_that_join_an_outer_exchange_see_its_end(registry):
    class Other(Observer):
        feature = "other"

    run(Engine(MetricsMiddleware(replies(*OK), registry=registry), [Other()]))
    assert total(registry) == 1
    assert in_progress(registry) == 0


def test_metrics_that_join_after_the_end_leave_nothing_in_progress(registry):
    class Other(Observer):
        feature = "other"

        def end(self, exchange):
            """Makes the engine keep the exchange."""

    inner = MetricsMiddleware(replies(), registry=registry)

    async def app(scope, receive, send):
        for message in OK:
            await send(message)
        await inner(scope, receive, send)

    run(Engine(app, [Other()]))
    assert in_progress(registry) == 0


def test_other_options_for_the_same_names_are_refused_with_the_remedy(registry):
    Metrics(registry=registry)
    with pytest.raises(ConfigurationError, match=r"other values of labels, buckets; .*prefix= or a registry="):
        Metrics(registry=registry, buckets=[1, 2], labels={"tenant": lambda exchange: ""})
    assert samples(registry, "asgi_infra_metrics_overflow_total")[0].value == 0


def test_names_that_others_have_registered_are_refused_with_the_remedy(registry):
    Counter("http_requests", "Of somebody else.", registry=registry)
    with pytest.raises(ConfigurationError, match="prefix= or a registry="):
        Metrics(registry=registry)


def test_metrics_that_were_unregistered_come_back_with_the_next_middleware(registry):
    run(MetricsMiddleware(replies(*OK), registry=registry))
    for collector in list(registry._collector_to_names):
        registry.unregister(collector)
    assert list(registry.collect()) == []
    run(MetricsMiddleware(replies(*OK), registry=registry))
    assert registry.get_sample_value("http_requests_total", ITEM) == 2


def test_a_registration_collects_nothing():
    registry = CollectorRegistry()
    Metrics(registry=registry)
    with pytest.raises(ValueError, match="http_request_duration_seconds"):
        Counter("http_request_duration_seconds_sum", "Clashes.", registry=registry)


# Exemplars


def span(sampled):
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=flags))


class Gives(Observer):
    feature = "gives"

    def __init__(self, span=None, request_id=None):
        self.span, self.request_id = span, request_id

    def start(self, exchange):
        exchange.span, exchange.request_id = self.span, self.request_id


TRACE = {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}


@pytest.mark.parametrize(
    ("span", "request_id", "expected"),
    [
        (span(True), None, TRACE),
        (span(True), "r-1", {**TRACE, "request_id": "r-1"}),
        (span(False), "r-1", {"request_id": "r-1"}),
        (None, "r-1", {"request_id": "r-1"}),
        (None, "r" * 118, {"request_id": "r" * 118}),
        (None, "r" * 119, None),
        (span(True), "r" * 100, TRACE),
        (span(False), None, None),
    ],
)
def test_an_exemplar_names_the_request_within_the_bound_of_openmetrics(registry, span, request_id, expected):
    observers = [Gives(span, request_id), Metrics(registry=registry, exemplars=True)]
    run(Engine(replies(*OK), observers))
    families = parse_openmetrics(generate_openmetrics(registry).decode())
    found = [
        sample.exemplar.labels
        for family in families
        for sample in family.samples
        if sample.exemplar and sample.name == "http_request_duration_seconds_bucket"
    ]
    assert found == ([] if expected is None else [expected])


def test_there_are_no_exemplars_unless_asked_for(registry):
    run(Engine(replies(*OK), [Gives(span(True), "r-1"), Metrics(registry=registry)]))
    assert not any(sample.exemplar for family in registry.collect() for sample in family.samples)


# Configuration


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"naming": "other"}, "naming is 'other'"),
        ({"naming": []}, "naming is"),
        ({"prefix": "1x"}, "prefix is '1x'"),
        ({"prefix": None}, "prefix is None"),
        ({"labels": ["tenant"]}, "labels has to map"),
        ({"labels": {"a-b": str}}, "labels holds the name 'a-b'"),
        ({"labels": {"__x": str}}, "labels holds the name '__x'"),
        ({"labels": {"path": str}}, "'path', which is taken"),
        ({"labels": {"le": str}}, "'le', which is taken"),
        ({"labels": {"tenant": "acme"}}, r"labels\['tenant'\]"),
        ({"buckets": []}, "buckets is"),
        ({"buckets": [2, 1]}, "buckets is"),
        ({"buckets": [1, 1]}, "buckets is"),
        ({"buckets": [0, 1]}, "buckets is"),
        ({"buckets": [math.nan]}, "buckets is"),
        ({"buckets": [math.inf]}, "buckets is"),
        ({"buckets": 5}, "buckets has to be a list"),
        ({"size_buckets": ["x"]}, "size_buckets has to be a list"),
        ({"max_series": 0}, "max_series is 0"),
        ({"max_series": True}, "max_series is True"),
        ({"known_methods": []}, "known_methods is empty"),
        ({"exemplars": "yes"}, "exemplars is of type str"),
        ({"registry": "x"}, "registry is of type str"),
        ({"registry": 5}, "registry is of type int"),
        ({"meter": "x"}, "meter is of type str"),
    ],
)
def test_a_wrong_option_is_refused_with_its_name(registry, options, message):
    with pytest.raises(ConfigurationError, match=message):
        Metrics(**{"registry": registry, **options})


def test_an_asynchronous_label_is_refused(registry):
    async def tenant(exchange):
        """Can't be awaited at the end of an exchange."""

    with pytest.raises(ConfigurationError, match="plain function"):
        Metrics(registry=registry, labels={"tenant": tenant})


def test_excluded_paths_are_not_measured(registry):
    app = MetricsMiddleware(replies(*OK), registry=registry, exclude=["/health"])
    run(app, http(path="/health"))
    run(app, http(path="/healthcare"))
    assert total(registry) == 1


def test_prometheus_client_is_imported_by_the_first_use_only():
    code = (
        "import sys\n"
        "from asgi_infra.middleware.metrics import Metrics\n"
        "assert 'prometheus_client' not in sys.modules\n"
        "Metrics()\n"
        "assert 'prometheus_client' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
