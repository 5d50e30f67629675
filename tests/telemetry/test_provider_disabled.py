"""Without the SDK, disabled, and from the environment."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap

from exporting import Memory, make_span
from opentelemetry import metrics, trace

from asgi_infra.telemetry import (
    init_telemetry,
    reset_telemetry_for_tests,
    shutdown_telemetry,
)


def test_without_the_sdk_everything_is_a_no_op_and_says_so_once():
    script = """
        import logging, sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Blocker())
        logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
        import asyncio
        from asgi_infra.telemetry import *
        telemetry = init_telemetry(service="shop")
        assert telemetry is init_telemetry(service="shop") is get_telemetry()
        assert telemetry.status == "unavailable"
        assert init_telemetry(service="other", replace=True).status == "unavailable"
        assert traced(lambda: 5)() == 5
        assert asyncio.run(flush_telemetry())
        assert telemetry.stats() == {}
        assert shutdown_telemetry()
        init_telemetry()
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(
        "asgi_infra.telemetry WARNING telemetry collects nothing: No module named 'opentelemetry.sdk"
    )
    assert "pip install 'asgi-infra[otel]'" in lines[0]


def test_importing_the_package_loads_no_sdk_and_starts_nothing():
    script = (
        "import sys, threading, asgi_infra.telemetry;"
        "assert not any(name.startswith('opentelemetry.sdk') for name in sys.modules);"
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_otel_sdk_disabled_disables_and_sets_nothing(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    memory = Memory()
    assert init_telemetry(exporters=[memory]).status == "disabled"
    make_span()
    assert shutdown_telemetry()
    assert memory.names == []
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_the_console_exporter_writes_spans_to_standard_output(capsys):
    init_telemetry(exporters="console", metric_exporters="console", service="shop")
    make_span("shown")
    metrics.get_meter("library").create_counter("counted").add(1)
    shutdown_telemetry()
    output = capsys.readouterr().out
    assert '"name": "shown"' in output
    assert '"name": "counted"' in output


def test_reset_for_tests_says_it_again(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "asgi_infra.telemetry.build", None)
    with caplog.at_level(logging.WARNING, "asgi_infra.telemetry"):
        init_telemetry()
        shutdown_telemetry()
        init_telemetry()
        assert len(caplog.records) == 1
        reset_telemetry_for_tests()
        init_telemetry()
    assert len(caplog.records) == 2
