from __future__ import annotations

import json
import signal
import socket

import pytest
from cli_processes import free_port, run_cli, run_python, running

from asgi_infra.cli.runner import Wrapping

SHOP = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                print("shop closed", flush=True)
                return
    body = f"greeting from {os.getpid()} below {scope.get('root_path', '')!r}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

async def without_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    await app(scope, receive, send)

def create_app():
    return app

async def create_later():
    return app

def create_for(name):
    return app

def create_badly():
    raise LookupError("no settings")

class Shop:
    async def __call__(self, scope, receive, send):
        await app(scope, receive, send)

settings = {}
"""
SERVERS = ["uvicorn", "granian", "hypercorn"]


@pytest.fixture
def project(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def access_lines(served):
    lines = [json.loads(line) for line in served.lines if line.startswith('{"')]
    return [line for line in lines if line["logger"] == "asgi_infra.access"]


@pytest.mark.parametrize("server", SERVERS)
def test_run_serves_the_application_with_the_whole_stack_on(server, project):
    with running(
        *("run", "shop:app", "--server", server, "--port", "PORT", "--service", "tea-shop", "--exclude", "/ready"),
        *("--metrics-path", "/metrics"),
        cwd=project,
        ready="/ready",
    ) as served:
        status, headers, body = served.get("/items/7", {"X-Request-ID": "order-4711"})
        assert (status, headers["x-request-id"]) == (200, "order-4711")
        assert body.startswith("greeting")
        assert "x-request-id" not in served.get("/ready")[1]
        assert 'http_requests_total{method="GET",path="unmatched",status_code="200"} 1.0' in served.get("/metrics")[2]
        served.stop()
    (line,) = access_lines(served)
    assert (line["request_id"], line["service"], line["path"]) == ("order-4711", "tea-shop", "/items/7")
    assert "HTTP/1.1" not in served.output  # the server's own access log
    assert "shop closed" in served.output  # SIGTERM has reached the server


def test_the_exit_code_after_sigint_is_that_of_a_clean_end(project):
    with running("run", "shop:app", "--port", "PORT", cwd=project) as served:
        assert served.stop(signal.SIGINT) in (0, -signal.SIGINT)
    assert "shop closed" in served.output


@pytest.mark.parametrize("server", SERVERS)
def test_every_worker_gets_the_stack(server, project):
    with running("run", "shop:app", "--server", server, "--workers", "2", "--port", "PORT", cwd=project) as served:
        seen = set()

        def two_workers():
            for _ in range(20):
                _, headers, body = served.get("/")
                assert "x-request-id" in headers
                seen.add(body.split()[2])
            return len(seen) == 2

        served.wait_for(two_workers)
        served.stop()


def test_reload_serves_what_the_source_says_now_with_the_stack_still_on(project):
    with running("run", "shop:app", "--reload", "--port", "PORT", cwd=project) as served:
        assert "greeting" in served.get("/")[2]
        (project / "shop.py").write_text(SHOP.replace("greeting", "farewell, in a longer text,"))
        served.wait_for(lambda: "farewell" in served.get("/")[2])
        assert "x-request-id" in served.get("/")[1]


@pytest.mark.parametrize("server", SERVERS)
def test_a_factory_is_called(server, project):
    with running("run", "shop:create_app", "--factory", "--server", server, "--port", "PORT", cwd=project) as served:
        assert "x-request-id" in served.get("/")[1]


def test_arguments_after_two_dashes_reach_the_server(project):
    with running("run", "shop:app", "--port", "PORT", "--", "--root-path", "/api", cwd=project) as served:
        assert "below '/api'" in served.get("/")[2]


@pytest.mark.parametrize("server", SERVERS)
def test_the_exit_code_is_the_servers_own(server, project):
    done = run_cli("run", "shop:app", "--server", server, "--", "--no-such-option", cwd=project)
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr


def test_a_port_that_is_taken_ends_with_the_servers_code(project):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_cli("run", "shop:app", "--port", taken.getsockname()[1], cwd=project)
    assert done.returncode == 3  # what uvicorn calls a failure to start


@pytest.mark.parametrize(
    ("target", "arguments", "said"),
    [
        ("shop", [], "must be of the form module:app"),
        ("shop:", [], "must be of the form module:app"),
        ("shop:app()", [], "'app()' is not a name"),
        ("./shop.py:app", [], "name the module instead: shop:app"),
        ("store:app", [], "no module 'store'"),
        ("shop:ap", [], "did you mean shop:app?"),
        ("shop:create_app", [], "add --factory"),
        ("shop:Shop", [], "is a class"),
        ("shop:settings", [], "is a dict, not an ASGI application"),
        ("shop:app", ["--factory"], "leave out --factory"),
        ("shop:settings", ["--factory"], "not a factory"),
        ("shop:create_for", ["--factory"], "can't be called without arguments"),
        ("shop:create_later", ["--factory"], "is a coroutine"),
        ("shop:create_badly", ["--factory"], "LookupError: no settings"),
        ("broken:app", [], "SyntaxError"),
        ("needy:app", [], "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("quitting:app", [], "ends the process"),
    ],
)
@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_a_bad_target_is_told_in_one_line(server, target, arguments, said, project):
    (project / "broken.py").write_text("def (")
    (project / "needy.py").write_text("import nowhere_to_be_found")
    (project / "quitting.py").write_text("raise SystemExit(7)")
    done = run_cli("run", target, "--server", server, "--port", free_port(), *arguments, cwd=project)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("asgi-infra: starting uvicorn for ")]
    assert done.returncode == 2
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--exclude", "/ok", "--exclude", "/[a"], "exclude[1]: malformed path pattern '/[a', column 2: "),
        (["--exclude", "health"], "exclude[0]: malformed path pattern 'health', column 1: "),
        (["--service", ""], "service must be a name that isn't blank, or None, not ''"),
        (["--service", " "], "service must be a name that isn't blank, or None, not ' '"),
    ],
)
def test_an_option_that_the_middleware_refuses_is_told_in_one_line_and_starts_nothing(options, said, project):
    done = run_cli("run", "shop:app", *options, "--port", free_port(), cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"asgi-infra: {said}")
    assert done.stderr.count("\n") == 1


def test_the_path_of_the_metrics_is_no_pattern(project):
    wrapped = Wrapping(target="shop:app", metrics_path="/{a}*").to_environ()
    script = "from asgi_infra.cli.runner import create_app; print(create_app())"
    assert run_python("-c", script, cwd=project, **wrapped).returncode == 0


def test_a_bad_target_ends_a_start_with_reload(project):
    done = run_cli("run", "shop:ap", "--reload", "--port", free_port(), cwd=project)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("target", ["shop:app", "shop:without_lifespan"])
def test_spans_are_exported_where_the_standard_variables_say_so(target, project):
    with running("run", target, "--port", "PORT", cwd=project, OTEL_TRACES_EXPORTER="console") as served:
        served.get("/", {"X-Request-ID": "traced-1"})
        served.stop()
    assert "SpanKind.SERVER" in served.output
    assert all(line["trace_id"] for line in access_lines(served))


def test_servers_that_run_does_not_know_can_import_the_runner(project):
    script = (
        "from asgi_infra.cli import runner\n"
        "assert 'app' not in vars(runner)\n"
        "assert runner.app is runner.app\n"
        "print(type(runner.app).__name__)\n"
    )
    done = run_python("-c", script, cwd=project, ASGI_INFRA_TARGET="shop:app")
    assert (done.stdout.strip(), done.stderr) == ("InfraMiddleware", "")


def test_the_runner_without_a_target_says_what_to_set(project):
    done = run_python("-c", "import asgi_infra.cli.runner as runner; runner.app", cwd=project)
    assert done.returncode == 2
    assert done.stderr.strip() == "asgi-infra: ASGI_INFRA_TARGET must name the application, for example shop:app"
