from __future__ import annotations

import math
import subprocess
import sys

import pytest
from metrics_driver import ITEM, OK, http, in_progress, replies, run, samples, total
from prometheus_client import CollectorRegistry, Counter, generate_latest

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.metrics import Metrics, MetricsMiddleware


@pytest.fixture
def registry():
    return CollectorRegistry()


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"naming": "other"}, "naming must be .*, not 'other'"),
        ({"naming": []}, "naming must be"),
        ({"prefix": "1x"}, "prefix must be .*, not '1x'"),
        ({"prefix": None}, "prefix must be .*, not None"),
        ({"labels": ["tenant"]}, "labels must map"),
        ({"labels": {"a-b": str}}, "labels must have names .*, not 'a-b'"),
        ({"labels": {"__x": str}}, "labels must have names .*, not '__x'"),
        ({"labels": {"path": str}}, "'path', which is taken"),
        ({"labels": {"le": str}}, "'le', which is taken"),
        ({"labels": {"tenant": "acme"}}, r"labels\['tenant'\]"),
        ({"buckets": []}, "buckets must rise"),
        ({"buckets": [2, 1]}, "buckets must rise"),
        ({"buckets": [1, 1]}, "buckets must rise"),
        ({"buckets": [0, 1]}, "buckets must rise"),
        ({"buckets": [math.nan]}, "buckets must rise"),
        ({"buckets": [math.inf]}, "buckets must rise"),
        ({"buckets": 5}, "buckets must be a list"),
        ({"buckets": "123"}, "buckets must be a list"),
        ({"size_buckets": ["x"]}, "size_buckets must be a list"),
        ({"max_series": 0}, "max_series must be .*, not 0"),
        ({"max_series": True}, "max_series must be .*, not True"),
        ({"known_methods": []}, "known_methods must have at least one"),
        ({"exemplars": "yes"}, "exemplars must be True or False, not 'yes'"),
        ({"registry": "x"}, "registry must be .*, not of type str"),
        ({"registry": 5}, "registry must be .*, not of type int"),
        ({"meter": "x"}, "meter must be .*, not of type str"),
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
