# ruff: noqa: E402 - what the benchmarks need is looked for before they are imported
from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # the benchmarks are no part of the installed package

pytest.importorskip("orjson", reason="the benchmarks need the extra 'bench'")
pytest.importorskip("opentelemetry.sdk.trace", reason="the benchmarks need the extra 'otel'")
pytest.importorskip("uvicorn", reason="the benchmarks need the extra 'bench'")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from benchmarks import apps
from benchmarks.experiments import EXPERIMENTS
from benchmarks.figures import Figure
from benchmarks.floor import request_id_var
from benchmarks.http_suite import NAMES
from benchmarks.measure import Estimate, Series, Subject, added, added_ratio, fresh, interleave, receive
from benchmarks.throughput import Throughput, kept, kept_by_cpu
from benchmarks.variants import ALL, FLOOR, Setting, named

REQUEST_ATTRIBUTES = {
    "http.request.method": "GET",
    "url.path": "/items/7",
    "url.scheme": "http",
    "server.address": "shop.example.org",
    "server.port": 80,
    "client.address": "192.0.2.7",
    "network.protocol.version": "1.1",
}


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def setting(tmp_path, exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = SimpleNamespace(provider=provider, flush=provider.force_flush, close=provider.shutdown)
    setting = Setting(tracing, sink=(tmp_path / "log").open("w+b"))
    yield setting
    setting.close()


def ask(app, scope):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(app(fresh(scope), receive, send))
    return sent


def written(setting):
    setting.sink.seek(0)
    return [json.loads(line) for line in setting.sink.read().splitlines()]


@pytest.mark.parametrize("name", [FLOOR, ALL])
@pytest.mark.parametrize("called", [False, True], ids=["from outside", "from a caller with ids"])
def test_the_floor_and_all_features_do_the_same_visible_work(name, called, setting, exporter):
    seen = []

    async def app(scope, receive, send):
        if name == FLOOR:
            seen.append(request_id_var.get())
        await apps.raw(scope, receive, send)

    (variant,) = named(name)
    head, body = ask(variant.around(app, setting), apps.scopes()[called])

    headers = dict(head["headers"])
    request_id = headers[b"x-request-id"].decode()
    assert headers[b"content-type"] == b"application/json"
    assert body["body"] == apps.BODY

    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind, span.status.status_code) == ("GET /items/{id}", SpanKind.SERVER, StatusCode.OK)
    assert REQUEST_ATTRIBUTES.items() <= span.attributes.items()
    assert span.attributes["user_agent.original"].startswith("Mozilla/5.0")
    assert span.attributes["http.route"] == "/items/{id}"
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["request_id"] == request_id

    (line,) = written(setting)
    assert line["request_id"] == request_id
    assert line["trace_id"] == f"{span.context.trace_id:032x}"
    assert line["span_id"] == f"{span.context.span_id:016x}"
    assert (line["method"], line["route"], line["path"]) == ("GET", "/items/{id}", "/items/7")
    assert (line["status"], line["outcome"], line["bytes_out"]) == (200, "ok", len(apps.BODY))

    labels = {"method": "GET", "path": "/items/{id}", "status_code": "200"}
    value = setting.registry.get_sample_value
    assert value("http_requests_total", labels) == 1
    assert value("http_request_duration_seconds_count", labels) == 1
    assert value("http_response_size_bytes_sum", labels) == len(apps.BODY)
    assert value("http_requests_in_progress", {"method": "GET"}) == 0

    if called:
        assert request_id == apps.REQUEST_ID.decode()
        assert line["trace_id"] == apps.TRACE.split(b"-")[1].decode()
    else:
        assert request_id != apps.REQUEST_ID.decode()
        assert span.parent is None
    assert seen == ([request_id] if name == FLOOR else [])
    assert request_id_var.get() is None


def test_the_lines_of_the_floor_and_of_all_features_have_the_same_fields(tmp_path):
    fields = []
    for name in (FLOOR, ALL):
        tracing = SimpleNamespace(provider=None, flush=lambda: None, close=lambda: None)
        setting = Setting(tracing, sink=(tmp_path / name).open("w+b"))
        (variant,) = named(name)
        ask(variant.around(apps.raw, setting), apps.scopes()[0])
        fields.append(set(written(setting)[0]))
        setting.close()
    assert fields[0] == fields[1]


def test_the_floor_replaces_an_id_that_is_not_valid(setting):
    scope = apps.scopes()[0]
    scope = {**scope, "headers": [*scope["headers"], (b"x-request-id", b"two words")]}
    (variant,) = named(FLOOR)
    head, _ = ask(variant.around(apps.raw, setting), scope)
    assert len(dict(head["headers"])[b"x-request-id"]) == 32


def test_the_floor_records_an_error_and_lets_it_pass(setting, exporter):
    async def broken(scope, receive, send):
        raise LookupError("no such item")

    (variant,) = named(FLOOR)
    with pytest.raises(LookupError):
        ask(variant.around(broken, setting), apps.scopes()[0])
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
    assert written(setting)[0]["level"] == "ERROR"
    assert setting.registry.get_sample_value("http_requests_in_progress", {"method": "GET"}) == 0
    assert request_id_var.get() is None


def test_every_round_runs_every_subject_once_and_settles_it():
    calls = []
    subjects = [
        Subject(name, "ours", run=lambda count, name=name: calls.append((name, count)), settle=lambda: calls.append(()))
        for name in ("a", "b", "c")
    ]
    series = interleave(subjects, rounds=4, batch=10)
    measured = [call[0] for call in calls[3 * 3 * 2 :] if call]
    assert [set(measured[start : start + 3]) for start in range(0, 12, 3)] == [{"a", "b", "c"}] * 4
    assert all(call == () for call in calls[1::2])
    assert {len(row.cpu) for row in series.values()} == {len(row.wall) for row in series.values()} == {4}


def test_added_costs_are_compared_within_their_rounds():
    # The machine is twice as slow in the second half; the difference and the ratio don't see a jump.
    bare = Series("bare", cpu=[1.0, 1.0, 2.0, 2.0])
    floor = Series("floor", cpu=[11.0, 11.0, 22.0, 22.0])
    ours = Series("ours", cpu=[13.0, 13.0, 26.0, 26.0])
    assert added_ratio(ours, floor, bare) == Estimate(1.2, 1.2, 1.2)
    assert added(ours, bare).value == 18.0


def test_the_share_of_throughput_is_taken_of_the_same_round():
    results = {
        "bare": Throughput(rate=[1000.0, 500.0], cpu=[100.0, 200.0]),
        "all features": Throughput(rate=[400.0, 200.0], cpu=[250.0, 500.0]),
    }
    assert kept(results, "all features").value == pytest.approx(0.4)
    assert kept_by_cpu(results, "all features").value == pytest.approx(0.4)
    results["all features"].cpu.clear()
    assert kept_by_cpu(results, "all features") is None


@pytest.mark.parametrize(
    ("value", "at_least", "met"), [(1.1, False, True), (1.2, False, False), (1.1, True, False), (1.2, True, True)]
)
def test_a_figure_says_whether_it_is_met(value, at_least, met):
    assert Figure("cost", "1.15", Estimate(value, value, value), 1.15, at_least=at_least).met is met


def test_a_figure_that_was_not_measured_is_neither_met_nor_missed():
    assert Figure("cost", "1.15", None, 1.15).met is None


def bench(*arguments, check=True):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=check, capture_output=True, text=True, encoding="utf-8", timeout=300
    )


def test_quick_mode_measures_all_variants_under_all_conditions(tmp_path):
    result = bench(
        "--quick",
        "--rounds=2",
        *(f"--only={name}" for name in ("features", "peers", "routes", "excluded", "websocket", "fastapi", "memory")),
        "--json",
        tmp_path / "figures.json",
        "--chart",
        tmp_path / "chart.svg",
    )
    text = (tmp_path / "figures.json").read_text(encoding="utf-8")
    report = json.loads(text)
    tables = {(table["name"], table["condition"]): table["rows"] for table in report["tables"]}
    for name in ("features", "peers"):
        for condition in ("sampled", "sampled out", "no SDK"):
            rows = tables[name, condition]
            assert {"bare", "floor", "all features"} < set(rows)
            assert all(len(row["rounds_cpu"]) == 2 for row in rows.values())
            assert rows["all features"]["added_cpu"]["value"] > 0
    assert len([table for table in report["tables"] if table["name"] == "routes"]) == 3
    assert report["peak_bytes"]["all features"] > 0
    names = {figure["name"]: figure for figure in report["figures"]}
    assert names["excluded path, added"]["value"] is not None
    assert names["import asgi_infra"]["met"] is None
    assert report["environment"]["python"] == platform.python_version()
    assert not platform.node() or platform.node() not in text
    assert "all features, sampled: added cost / the floor's" in result.stdout

    chart = ElementTree.parse(tmp_path / "chart.svg").getroot()
    labels = {element.text for element in chart.iter("{http://www.w3.org/2000/svg}text")}
    assert {"floor", "all features"} < labels


def test_quick_mode_measures_servers_and_imports(tmp_path):
    bench("--quick", "--only=throughput", "--only=imports", "--json", tmp_path / "figures.json")
    report = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert {"bare", "floor", "all features"} <= set(report["throughput"])
    assert all(row["requests_per_second"] > 0 for row in report["throughput"].values())
    assert all(estimate["value"] > 0 for estimate in report["imports_ms"].values())


def test_the_help_names_every_experiment():
    text = bench("http", "--help").stdout
    for name in ("features", "peers", "routes", "excluded", "websocket", "memory", "imports", "throughput", "--json"):
        assert name in text


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder
from runpy import run_module

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("orjson", "uvicorn", "structlog", "fastapi", "opentelemetry.sdk"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["benchmarks", *sys.argv[1:]]
run_module("benchmarks", run_name="__main__", alter_sys=True)
"""


def without_extras(*arguments):
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_help_needs_no_extra():
    result = without_extras("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "usage: python -m benchmarks" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quick"], "not installed: opentelemetry.sdk.trace, orjson, uvicorn; pip install 'asgi-infra[bench]'\n"),
        (["traced"], "not installed: opentelemetry.sdk; pip install 'asgi-infra[all,bench]'\n"),
    ],
)
def test_without_the_extras_a_run_is_one_line_that_installs_them(arguments, said):
    result = without_extras(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", said)


def test_every_experiment_can_be_named():
    assert set(EXPERIMENTS) < set(NAMES)


@pytest.mark.parametrize("arguments", [["--rounds=1"], ["--only=nothing"], ["nothing"]])
def test_wrong_arguments_are_refused(arguments):
    result = bench(*arguments, check=False)
    assert result.returncode == 2
    assert "usage: python -m benchmarks" in result.stderr
