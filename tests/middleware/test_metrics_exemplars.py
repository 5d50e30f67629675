from __future__ import annotations

import pytest
from metrics_driver import OK, replies, run
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.metrics import Metrics


@pytest.fixture
def registry():
    return CollectorRegistry()


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
