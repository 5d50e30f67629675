from __future__ import annotations

import json

import pytest
from cli_processes import run_cli

GOOD = """
from starlette.applications import Starlette
from starlette.routing import Route
from asgi_infra.middleware.install import install
from asgi_infra.middleware.stack import InfraMiddleware

app = install(Starlette(routes=[Route("/items/{id}", lambda request: None)]))
bare = Starlette()

def create_app():
    inner = Starlette()
    inner.add_middleware(InfraMiddleware)
    return inner
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "shop.py").write_text(GOOD)
    return tmp_path


def test_a_clean_application_ends_with_0_and_shows_what_it_is(project):
    done = run_cli("doctor", "shop:app", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("shop:app  Starlette ")
    assert "InfraMiddleware  (request_id, tracing, metrics, access_log)" in done.stdout
    assert "GET,HEAD  /items/{id}" in done.stdout
    assert done.stdout.endswith("1 hint\n")
    assert "\x1b[" not in done.stdout


def test_findings_end_with_1(project):
    done = run_cli("doctor", "shop:create_app", "--factory", cwd=project, WEB_CONCURRENCY="2")
    assert done.returncode == 1
    assert done.stdout.endswith("2 warnings, 1 hint\n")
    assert "  mend  wrap the application outermost" in done.stdout


def test_json_is_one_document_with_the_same_exit_code(project):
    done = run_cli("doctor", "shop:bare", "--json", cwd=project, FORCE_COLOR="1")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert (document["target"], document["framework"]) == ("shop:bare", "Starlette")
    assert {"level", "code", "what", "why", "mend"} == set(document["findings"][0])
    assert document["findings"][0]["code"] == "middleware-missing"


def test_a_bad_target_ends_with_2(project):
    done = run_cli("doctor", "shop:ap", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_colours_can_be_forced_and_no_color_wins(project):
    assert "\x1b[" in run_cli("doctor", "shop:bare", cwd=project, FORCE_COLOR="1").stdout
    assert "\x1b[" not in run_cli("doctor", "shop:bare", cwd=project, FORCE_COLOR="1", NO_COLOR="1").stdout
