"""Against a real OTLP receiver over HTTP, in this process and from processes that are forked, killed and served."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request

import pytest
from opentelemetry import metrics, trace

from asgi_infra.telemetry import init_telemetry, shutdown_telemetry, traced

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")


def work(number):
    return traced(f"work-{number}")(lambda: number)()


def test_spans_and_metrics_arrive_decoded(receiver):
    telemetry = init_telemetry(
        service="shop",
        environment="test",
        exporters="otlp",
        metric_exporters="otlp",
        endpoint=receiver.url,
        headers={"x-key": "value"},
    )

    @traced("outer", attributes={"answer": 42})
    def outer():
        work(1)
        raise ValueError("nothing left")

    with pytest.raises(ValueError, match="nothing left"):
        outer()
    metrics.get_meter("library").create_counter("orders").add(3)
    assert telemetry.flush()
    assert sorted(receiver.span_names) == ["outer", "work-1"]
    inner, span = sorted(receiver.spans, key=lambda span: span.name, reverse=True)
    assert inner.parent_span_id == span.span_id
    assert {attribute.key for attribute in span.attributes} == {"answer", "code.function.name", "error.type"}
    assert span.status.code == 2
    assert [event.name for event in span.events] == ["exception"]
    assert receiver.resources[0]["service.name"] == "shop"
    assert receiver.requests[0][0]["x-key"] == "value"
    assert ("orders", 3) in receiver.points
    assert telemetry.stats() == {
        "spans_exported": 2,
        "spans_failed": 0,
        "spans_dropped": 0,
        "metric_exports": 1,
        "metric_exports_failed": 0,
    }


def test_the_endpoint_and_the_rest_can_come_from_the_environment(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=value")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-the-environment")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=checkout,service.name=loses")
    init_telemetry()
    work(1)
    assert shutdown_telemetry()
    assert receiver.span_names == ["work-1"]
    assert receiver.requests[0][0]["x-key"] == "value"
    assert receiver.resources[0]["service.name"] == "from-the-environment"
    assert receiver.resources[0]["team"] == "checkout"


def test_nothing_private_arrives(receiver):
    init_telemetry(endpoint=receiver.url)
    trace.get_tracer("library").start_span(
        "login", attributes={"password": "hunter2", "note": "ask ada@example.org"}
    ).end()
    assert shutdown_telemetry()
    (_, request) = receiver.requests[0]
    assert receiver.span_names == ["login"]
    assert b"hunter2" not in request.SerializeToString()
    assert b"ada@example.org" not in request.SerializeToString()


def test_a_slow_receiver_gets_everything_and_keeps_nobody_waiting(receiver):
    receiver.hold.clear()
    telemetry = init_telemetry(endpoint=receiver.url)
    work(1)
    assert telemetry.flush(0.05) is False
    work(2)
    assert receiver.arrived.wait(20)
    receiver.hold.set()
    assert shutdown_telemetry(20)
    assert sorted(receiver.span_names) == ["work-1", "work-2"]


def test_a_receiver_that_refuses_is_counted(receiver):
    receiver.status = 400
    telemetry = init_telemetry(endpoint=receiver.url)
    work(1)
    assert telemetry.flush(20)
    receiver.status = 200
    work(2)
    assert shutdown_telemetry(20)
    assert receiver.span_names == ["work-2"]
    assert telemetry.stats()["spans_failed"] == 1
    assert telemetry.stats()["spans_exported"] == 1


def test_a_receiver_that_fails_for_a_moment_gets_the_spans_once(receiver):
    receiver.status = 503
    init_telemetry(endpoint=receiver.url, schedule_delay=0.01)
    work(1)
    assert receiver.arrived.wait(20)
    receiver.status = 200
    assert receiver.wait_for(lambda: receiver.requests)
    assert shutdown_telemetry(20)
    assert receiver.span_names == ["work-1"]


def test_a_receiver_that_is_gone_does_not_hold_up_the_end():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    telemetry = init_telemetry(
        endpoint=f"http://127.0.0.1:{port}", metric_exporters="otlp", exporters="otlp", export_timeout=0.5
    )
    work(1)
    metrics.get_meter("library").create_counter("orders").add(1)
    started = time.monotonic()
    shutdown_telemetry(10)
    assert time.monotonic() - started < 30
    assert telemetry.stats()["spans_failed"] == 1
    assert telemetry.stats()["metric_exports_failed"] == 1


# ---- the end of processes --------------------------------------------------------------------------------------

PREAMBLE = """
import faulthandler, os, sys, threading
from opentelemetry import metrics, trace
from asgi_infra.shutdown import flushing_send
from asgi_infra.telemetry import init_telemetry, shutdown_telemetry, traced

def work(name):
    traced(name)(lambda: None)()
"""


def run(script, receiver, *, code=0):
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_the_end_of_the_process_flushes(receiver):
    done = run(
        "init_telemetry(metric_exporters='otlp'); work('last'); metrics.get_meter('m').create_counter('c').add(2)",
        receiver,
    )
    assert receiver.span_names == ["last"]
    assert receiver.points == [("c", 2)]
    assert done.stderr == ""


def test_a_process_without_spans_ends_without_a_word(receiver):
    assert run("init_telemetry()", receiver).stderr == ""
    assert receiver.requests == []


def test_an_unhandled_exception_flushes(receiver):
    run("init_telemetry(); work('last'); raise SystemExit(3)", receiver, code=3)
    assert receiver.span_names == ["last"]


def test_the_end_of_the_process_waits_no_longer_than_it_was_told(receiver):
    receiver.hold.clear()
    started = time.monotonic()
    run("init_telemetry(shutdown_timeout=0.2); work('last')", receiver)
    assert time.monotonic() - started < 25, "the receiver holds its answer for 30 seconds"


def test_a_replacement_before_the_end_loses_and_repeats_nothing(receiver):
    run("init_telemetry(service='a'); work('a'); init_telemetry(service='b', replace=True); work('b')", receiver)
    assert sorted(receiver.span_names) == ["a", "b"]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_after_a_fork_parent_and_child_export_their_own_and_nothing_twice(receiver):
    run(
        """
        telemetry = init_telemetry(metric_exporters="otlp")
        counter = metrics.get_meter("m").create_counter("c")
        counter.add(1)
        work("sent before")
        telemetry.flush()
        work("queued before")
        child = os.fork()
        if not child:
            work("child")
            counter.add(10)
            os._exit(0 if shutdown_telemetry() else 1)
        work("parent")
        counter.add(100)
        assert os.waitpid(child, 0)[1] == 0
        """,
        receiver,
    )
    assert sorted(receiver.span_names) == ["child", "parent", "queued before", "sent before"]
    assert sorted(value for _, value in receiver.points) == [1, 10, 101]


@needs_fork
def test_a_span_that_is_open_during_a_fork_is_exported_by_the_parent_alone(receiver):
    run(
        """
        init_telemetry()

        @traced("around the fork")
        def fork():
            work("before")
            return os.fork()

        child = fork()
        work("parent" if child else "child")
        if not child:
            os._exit(0 if shutdown_telemetry() else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
        receiver,
    )
    assert sorted(receiver.span_names) == ["around the fork", "before", "child", "parent"]


@needs_fork
def test_children_of_multiprocessing_flush_when_they_end(receiver):
    run(
        """
        import multiprocessing
        init_telemetry()
        work("parent")
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=(f"child-{number}",)) for number in range(3)]
        for child in children: child.start()
        for child in children: child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]
        """,
        receiver,
    )
    assert sorted(receiver.span_names) == ["child-0", "child-1", "child-2", "parent"]


@needs_fork
def test_a_fork_while_other_threads_use_telemetry_does_not_deadlock(receiver):
    run(
        """
        init_telemetry(exporters="otlp", metric_exporters="otlp")
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                work("busy")
                trace.get_tracer("library")
                metrics.get_meter("library").create_counter("busy").add(1)
        statuses = []
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(10):
            child = os.fork()
            if not child:
                faulthandler.dump_traceback_later(15, exit=True)
                work("child")
                trace.get_tracer("another")
                metrics.get_meter("another").create_counter("busy").add(1)
                os._exit(0 if shutdown_telemetry(20) else 1)
            statuses.append(os.waitpid(child, 0)[1])
        stop.set()
        for thread in threads: thread.join()
        assert statuses == [0] * 10
        """,
        receiver,
    )
    assert receiver.span_names.count("child") == 10


APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                init_telemetry(service="served", schedule_delay=3600)
                await send({"type": "lifespan.startup.complete"})
            else:
                work("in the shutdown")
                await flushing_send(send)({"type": "lifespan.shutdown.complete"})
                return
    work(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

import uvicorn
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="on")
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url, tries=400):
    for _ in range(tries):
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                return response.status
        except ConnectionError:
            time.sleep(0.05)
        except urllib.error.URLError as exc:
            if not isinstance(exc.reason, ConnectionError):
                raise
            time.sleep(0.05)
    pytest.fail(f"no server at {url}")
    return None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_sigterm_under_uvicorn_loses_nothing(receiver):
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + APP, str(port)],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for number in range(20):
            assert get(f"http://127.0.0.1:{port}/{number}") == 200
        assert receiver.spans == []
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=30)
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()
    assert sorted(receiver.span_names) == sorted([*(f"/{number}" for number in range(20)), "in the shutdown"]), errors
