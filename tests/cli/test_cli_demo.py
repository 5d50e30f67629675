from __future__ import annotations

import importlib.util
import json
import re
import signal
import socket
from contextlib import suppress
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from cli_processes import run_cli, run_python, running

from asgi_infra import cli
from asgi_infra.cli.demo import _NEEDED
from asgi_infra.cli.demo.stage import listen
from asgi_infra.cli.demo.tour import tour_steps


def test_the_check_finds_one_id_in_trace_metric_and_log_of_every_request():
    done = run_cli("demo", "--check", timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in tour_steps():
        assert f"ok  {step.title}: id " in done.stdout
    assert done.stdout.count("in header, trace, metric and log") >= 10
    assert "trace, metrics and log agree" in done.stdout
    assert done.stderr == ""
    assert "\x1b[" not in done.stdout


def test_what_the_shop_logs_by_mistake_comes_out_redacted_and_nowhere_else():
    done = run_cli("demo", "--check", timeout=90)
    assert "INFO shop: order 1 paid by [REDACTED:email] with card [REDACTED:card]  of request " in done.stdout
    (secrets,) = [step.secrets for step in tour_steps() if step.secrets]
    assert set(secrets) == {"email", "card"}
    for secret in secrets.values():
        assert secret not in done.stdout + done.stderr


def test_a_payment_that_fails_shows_its_statements_and_the_rollback(tmp_path):
    with running("demo", "--port", "PORT", cwd=tmp_path, ready="/metrics") as served:
        for path, body in [("items", {"sku": "tea"}), ("checkout", {"email": "amy@example.org", "card": "none"})]:
            request = Request(
                f"http://127.0.0.1:{served.port}/carts/mine/{path}",
                json.dumps(body).encode(),
                {"X-Request-ID": path},
            )
            with suppress(HTTPError):
                urlopen(request, timeout=10).close()
        served.wait_for(lambda: "POST /carts/mine/checkout 502" in served.output)
        told = "INFO asgi_infra.database: database session rolled back: GatewayDownError  of request checkout"
        assert told in served.output
        shown = served.output[served.output.index("POST /carts/mine/checkout 502") :]
        names = re.findall(r"^ +[│├└─ ]+ (\w[\w. ]*\w) +[\d.]+ ms", shown, re.MULTILINE)
        assert names == [
            "order.place",
            "BEGIN",
            "UPDATE products",
            "SELECT products",
            "INSERT orders",
            "payment.charge",
        ]
        assert "GatewayDownError: the gateway is down!" in shown
        assert "amy@example.org" not in served.output


def test_the_check_fails_when_redaction_is_off():
    script = (
        "import sys\n"
        "from asgi_infra import logs\n"
        "from asgi_infra.cli import main\n"
        "configure = logs.configure_logging\n"
        "logs.configure_logging = lambda **arguments: configure(redact=False, **arguments)\n"
        "sys.exit(main(['demo', '--check']))\n"
    )
    done = run_python("-c", script, timeout=90)
    assert done.returncode == 1
    for kind in ("email", "card"):
        assert f"the secret {kind} came out" in done.stdout
        assert f"no log line shows that it lacks the {kind}" in done.stdout


def test_nothing_of_the_shop_is_left_when_a_signal_ends_the_demo(tmp_path):
    with running("demo", "--port", "PORT", cwd=tmp_path, ready="/metrics", TMPDIR=str(tmp_path)) as served:
        served.get("/products")
        assert [path.name for path in tmp_path.glob("shop-*/shop.db")] == ["shop.db"]
        served.stop(signal.SIGTERM)
    assert list(tmp_path.glob("shop-*")) == []


def test_the_demo_shows_a_request_with_its_id_trace_metrics_and_log_line(tmp_path):
    with running("demo", "--port", "PORT", cwd=tmp_path, ready="/metrics") as served:
        assert f"http://127.0.0.1:{served.port}/metrics" in served.output
        for step in tour_steps():
            assert step.command(f"http://127.0.0.1:{served.port}") in served.output
        served.get("/products/tea", {"X-Request-ID": "look-here"})
        served.wait_for(lambda: '"request_id": "look-here"' in served.output)
        shown = served.output[served.output.index("GET /products/tea 200") :]
        assert re.search(r"^  id +look-here$", shown, re.MULTILINE)
        (trace_id,) = re.findall(r"^  trace +([0-9a-f]{32})$", shown, re.MULTILINE)
        ms = r" +[\d.]+ ms\n +"
        assert re.search(rf"GET /products/\{{sku\}}{ms}└─ catalogue.find{ms}├─ BEGIN{ms}└─ SELECT products", shown)
        assert 'http_requests_total{method="GET",path="/products/{sku}",status_code="200"} 0 → 1' in shown
        assert f'"trace_id": "{trace_id}"' in shown
        assert "\x1b[" not in served.output
        assert served.stop(signal.SIGINT) == 0


def test_colours_can_be_forced(tmp_path):
    with running("demo", "--port", "PORT", cwd=tmp_path, ready="/metrics", FORCE_COLOR="1") as served:
        served.get("/products")
        served.wait_for(lambda: "\x1b[1;32mGET /products 200\x1b[0m" in served.output)


def test_an_exception_is_shown_in_the_tree_and_without_its_traceback(tmp_path):
    with running("demo", "--port", "PORT", cwd=tmp_path, ready="/metrics") as served:
        served.get("/products/gold")
        served.wait_for(lambda: "GET /products/gold 404" in served.output)
        assert "Traceback" not in served.output


def test_a_port_in_use_is_one_line_and_code_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_cli("demo", "--port", port)
    assert done.returncode == 1
    assert done.stderr == (
        f"asgi-infra: can't listen on 127.0.0.1:{port}: Address already in use. "
        "Choose another port with --port; 0 takes a free one\n"
    )


def test_a_host_without_an_address_is_told_without_advice_about_the_port():
    done = run_cli("demo", "--host", "nosuch.invalid", "--port", "8123")
    assert done.returncode == 1
    assert done.stderr == (
        "asgi-infra: can't listen on nosuch.invalid:8123: no address is known for 'nosuch.invalid'. "
        "Choose an address of this machine with --host, such as 127.0.0.1\n"
    )


def test_connections_of_the_demo_do_not_wait_for_acknowledgements():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("modules", "extras"),
    [
        (["opentelemetry.sdk"], "otel"),
        (["uvicorn"], "cli"),
        (["sqlalchemy", "aiosqlite"], "sql"),
        (["aiosqlite"], "sql"),
        (["greenlet"], "sql"),
        (["opentelemetry.sdk", "aiosqlite", "uvicorn"], "otel,sql,cli"),
    ],
)
def test_missing_extras_are_told_with_the_line_that_installs_all_of_them(modules, extras, monkeypatch, capsys):
    monkeypatch.setattr(
        "asgi_infra.cli.demo.find_spec", lambda name: None if name in modules else importlib.util.find_spec(name)
    )
    assert cli.main(["demo"]) == 2
    assert f"pip install 'asgi-infra[{extras}]'" in capsys.readouterr().err


def test_the_help_names_every_extra_that_is_needed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["demo", "--help"])
    said = capsys.readouterr().out
    assert all(f"'{extra}'" in said for extra in {extra for *_, extra in _NEEDED})


def test_the_check_fails_when_a_signal_is_missing():
    script = (
        "import sys\n"
        "from asgi_infra.cli import main\n"
        "from asgi_infra.cli.demo.accounts import Accountant\n"
        "Accountant.write = lambda self, line: None\n"
        "sys.exit(main(['demo', '--check']))\n"
    )
    done = run_python("-c", script, timeout=90)
    assert done.returncode == 1
    assert "no log line has this id" in done.stdout
    assert "trace, metrics and log disagree" in done.stdout
