from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest, metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.metrics_spec import Spec
from asgi_infra.middleware.series import SeriesTable

LABELS = {"method": "GET", "path": "/", "status_code": "200"}
KEY = ("GET", "/", 200)


def table(**options):
    defaults = {
        "naming": "prometheus", "prefix": "", "labels": {}, "buckets": [0.1, 1, 10],
        "size_buckets": [100, 1000], "max_series": 10,
    }  # fmt: skip
    return SeriesTable(Spec.of(**{**defaults, **options}))


def exchange(duration=0.5, first_byte=0.25, bytes_in=0, bytes_out=0):
    return SimpleNamespace(
        started=0.0, ended=duration, duration=duration, first_byte=first_byte, bytes_in=bytes_in, bytes_out=bytes_out
    )


def exposition(collector):
    """What a scrape of a collector says, without the times of creation."""
    text = generate_latest(collector).decode()
    families = {family.name: family for family in parse_text(text)}
    return {
        name: (family.type, family.documentation, [(s.name, s.labels, s.value) for s in family.samples])
        for name, family in families.items()
        if not name.endswith("_created")
    }


numbers = st.floats(0, 20) | st.sampled_from([0.1, 1.0, 10.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(numbers, st.none() | numbers, st.integers(0, 2000), st.integers(0, 2000)), max_size=200))
def test_the_exposition_agrees_with_that_of_prometheus_client(observed):
    ours, theirs = table(), CollectorRegistry()
    text = {family.name: family.documentation for family in ours.describe()}
    expected = [
        Histogram(name, text[name], list(LABELS), buckets=buckets, registry=theirs).labels(**LABELS)
        for name, buckets in (
            ("http_request_duration_seconds", [0.1, 1, 10]),
            ("http_response_first_byte_seconds", [0.1, 1, 10]),
            ("http_request_size_bytes", [100, 1000]),
            ("http_response_size_bytes", [100, 1000]),
        )
    ]
    ours.request(KEY, exchange(), None)
    for values in [(0.5, 0.25, 0, 0), *observed]:
        for histogram, value in zip(expected, values, strict=True):
            if value is not None:
                histogram.observe(value)
    for duration, first_byte, bytes_in, bytes_out in observed:
        ours.request(KEY, exchange(duration, first_byte, bytes_in, bytes_out), None)
    shown = exposition(ours)
    for name, (kind, documentation, samples) in exposition(theirs).items():
        our_kind, our_documentation, our_samples = shown[name]
        assert (our_kind, our_documentation) == (kind, documentation)
        assert [sample[:2] for sample in our_samples] == [sample[:2] for sample in samples]
        assert [sample[2] for sample in our_samples] == pytest.approx([sample[2] for sample in samples], rel=1e-9)
    assert shown["http_requests"][2] == [("http_requests_total", LABELS, len(observed) + 1)]


@pytest.mark.parametrize("name", ["http_request_duration_seconds", "http_requests"])
def test_times_of_creation_are_shown_when_prometheus_client_shows_them(name):
    ours = table()
    ours.request(KEY, exchange(), None)

    def created():
        return [s.value for f in ours.collect() if f.name == name for s in f.samples if s.name == f"{name}_created"]

    assert created()[0] > 1e9
    try:
        metrics.disable_created_metrics()
        assert created() == []
    finally:
        metrics.enable_created_metrics()


def test_threads_that_hammer_one_series_lose_nothing():
    ours = table()
    threads, each = 8, 3000

    def hammer(_):
        for _number in range(each):
            one = exchange(bytes_out=1)
            ours.began(one_key := object(), ("GET",))
            assert ours.ended(one_key, None) == ("GET",)
            ours.request(KEY, one, None)
            ours.failed_late(KEY[:2])

    def scrape(_):
        return [list(ours.collect()) for _number in range(50)]

    with ThreadPoolExecutor(threads + 1) as pool:
        list(pool.map(lambda task: task(None), [hammer] * threads + [scrape]))
    registry = CollectorRegistry()
    registry.register(ours)
    assert registry.get_sample_value("http_requests_total", LABELS) == threads * each
    assert registry.get_sample_value("http_response_size_bytes_sum", LABELS) == threads * each
    assert registry.get_sample_value("http_request_duration_seconds_bucket", {**LABELS, "le": "1.0"}) == threads * each
    late = {"method": "GET", "path": "/"}
    assert registry.get_sample_value("http_background_errors_total", late) == threads * each
    assert registry.get_sample_value("http_requests_in_progress", {"method": "GET"}) == 0


def test_threads_that_meet_a_new_series_make_it_once():
    ours = table(max_series=50)
    keys = [("GET", f"/{number}", 200) for number in range(100)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: ours.request(key, exchange(), None), keys * 20))
    rows = [s for f in ours.collect() if f.name == "http_requests" for s in f.samples if s.name.endswith("_total")]
    assert len(rows) == 51
    assert sum(row.value for row in rows) == 2000
    assert [row.value for row in rows if row.labels["path"] == "overflow"] == [ours.overflowed]


def test_pending_values_are_bounded():
    ours = table()
    for _ in range(10_000):
        ours.request(KEY, exchange(), None)
        ours.connection(KEY, exchange())
    series = [*ours._http.by_key.values(), *ours._connections.by_key.values()]
    assert len(series) == 2
    assert all(len(each.pending) < 256 for each in series)


def test_keys_that_mean_the_same_labels_share_a_series_and_are_bounded():
    ours = table(max_series=2)
    for status in [200, "200", 200.5, "0200", " 200 ", *(f"{' ' * n}200" for n in range(20))]:
        ours.request(("GET", "/", status), exchange(), None)
    assert ours.overflowed == 0
    assert len(ours._http.by_key) <= 8


def test_an_exchange_that_ends_inside_of_the_tables_lock_does_not_hang():
    ours = table()
    with ours._lock:
        for _ in range(1000):
            ours.request(KEY, exchange(), None)
    assert next(s.value for f in ours.collect() for s in f.samples if s.name == "http_requests_total") == 1000


def test_a_registry_that_is_gone_is_forgotten():
    from asgi_infra.middleware import metrics_registry

    gc.collect()
    before = len(metrics_registry._tables)
    registry = CollectorRegistry()
    observer = Metrics(registry=registry)
    assert len(metrics_registry._tables) == before + 1
    del registry, observer
    gc.collect()
    assert len(metrics_registry._tables) == before
