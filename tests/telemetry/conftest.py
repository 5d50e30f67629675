from __future__ import annotations

import gzip
import os
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from asgi_infra.telemetry import reset_telemetry_for_tests


def _unset_globals(monkeypatch):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics_internal, "_PROXY_METER_PROVIDER", metrics_internal._ProxyMeterProvider())


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch):
    """As if nothing had been set in this process, and nothing by its environment."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    _unset_globals(monkeypatch)
    yield
    reset_telemetry_for_tests()


@pytest.fixture
def spans():
    """Spans of a plain provider that is set globally, in the order in which they ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return Spans(exporter)


@pytest.fixture
def pause():
    """A wait of no time, for any event loop."""
    return partial(anyio.sleep, 0)


class Spans:
    def __init__(self, exporter):
        self.exporter = exporter

    def clear(self):
        self.exporter.clear()

    @property
    def all(self):
        return self.exporter.get_finished_spans()

    @property
    def names(self):
        return [span.name for span in self.all]

    @property
    def one(self):
        (span,) = self.all
        return span

    def named(self, name):
        (span,) = [span for span in self.all if span.name == name]
        return span


class Receiver:
    """An OTLP/HTTP receiver that decodes what it gets; `answer` decides about the status."""

    def __init__(self):
        self.requests = []
        self.metrics = []
        self.received = threading.Condition()
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        self.arrived = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.arrived.set()
                receiver.hold.wait(30)
                if receiver.status == 200:
                    receiver.take(self.path, dict(self.headers), body)
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def take(self, path, headers, body):
        kind = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}[path]
        with self.received:
            (self.requests if path == "/v1/traces" else self.metrics).append((headers, kind.FromString(body)))
            self.received.notify_all()

    @property
    def spans(self):
        return [
            span
            for _, request in list(self.requests)
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]

    @property
    def span_names(self):
        return [span.name for span in self.spans]

    @property
    def resources(self):
        return [
            {attribute.key: attribute.value.string_value for attribute in resource_spans.resource.attributes}
            for _, request in self.requests
            for resource_spans in request.resource_spans
        ]

    @property
    def points(self):
        return [
            (metric.name, point.as_int)
            for _, request in list(self.metrics)
            for resource_metrics in request.resource_metrics
            for scope_metrics in resource_metrics.scope_metrics
            for metric in scope_metrics.metrics
            for point in metric.sum.data_points
        ]

    def wait_for(self, condition, timeout=20):
        with self.received:
            return self.received.wait_for(condition, timeout)

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def _receiving():
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


@pytest.fixture
def receiver():
    with _receiving() as receiver:
        yield receiver
