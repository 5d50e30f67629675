"""Each example is imported as it stands, and asked for an item, an unknown path and, where it has them, its metrics."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
from cli_django import unconfigured

from asgi_infra.tokens import StoreClosedError

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = {
    "starlette_app": "app",
    "fastapi_app": "app",
    "litestar_app": "app",
    "quart_app": "app",
    "django_app": "application",
    "falcon_app": "app",
    "blacksheep_app": "app",
    "plain_asgi": "app",
}
PREFIX = {"fastapi_app": "/v1"}


@pytest.fixture(scope="module", params=sorted(NAMES))
def example(request):
    name = request.param
    if name == "blacksheep_app":
        pytest.importorskip("blacksheep", reason="it is not there for this Python")
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch, unconfigured() if name == "django_app" else nullcontext():
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield name, getattr(module, NAMES[name])


def ask(app, path, **headers):
    """Ask an application one request, within its lifespan if it has one, and return status, headers and body."""
    return asyncio.run(asyncio.wait_for(_ask(app, path, headers), 30))


async def _ask(app, path, headers):
    to_lifespan, answers = asyncio.Queue(), asyncio.Queue()
    lifespan = asyncio.create_task(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, to_lifespan.get, answers.put)
    )
    to_lifespan.put_nowait({"type": "lifespan.startup"})
    started = asyncio.create_task(answers.get())
    await asyncio.wait([lifespan, started], return_when=asyncio.FIRST_COMPLETED)
    assert lifespan.done() or started.result() == {"type": "lifespan.startup.complete"}
    sent, over = [], asyncio.Event()
    requests = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        try:
            return next(requests)
        except StopIteration:
            await over.wait()
            return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            over.set()

    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET"}
    scope |= {"scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
    scope |= {"server": ("shop.example.org", 80), "client": ("192.0.2.7", 4711), "state": {}}
    scope["headers"] = [(b"host", b"shop.example.org")]
    scope["headers"] += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await app(scope, receive, send)
    if not lifespan.done():
        to_lifespan.put_nowait({"type": "lifespan.shutdown"})
    started.cancel()
    await asyncio.gather(lifespan, started, return_exceptions=True)  # no lifespan at all is told by an exception
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return sent[0]["status"], {k.lower(): v for k, v in sent[0]["headers"]}, body


def lines(capfd):
    return [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]


def test_a_request_has_one_id_in_handler_response_and_log_line(example, capfd):
    name, app = example
    prefix = PREFIX.get(name, "")
    status, headers, body = ask(app, f"{prefix}/items/7", x_request_id="example-1")
    assert (status, json.loads(body)) == (200, {"id": 7, "request_id": "example-1"})
    assert headers[b"x-request-id"] == b"example-1"
    (line,) = lines(capfd)
    assert (line["request_id"], line["service"]) == ("example-1", "shop")
    assert line["route"].startswith(f"{prefix}/items/{{id")


def test_an_unknown_path_has_an_id_and_no_route(example, capfd):
    _, app = example
    status, headers, _ = ask(app, "/nowhere")
    assert status == 404
    (line,) = lines(capfd)
    assert (line["request_id"], line["route"]) == (headers[b"x-request-id"].decode(), None)


def test_the_metrics_are_served_where_the_example_says_so(example, capfd):
    name, app = example
    if name not in ("starlette_app", "fastapi_app", "litestar_app"):
        assert "metrics_app" not in (EXAMPLES / f"{name}.py").read_text()
        return
    ask(app, f"{PREFIX.get(name, '')}/items/8")
    status, headers, body = ask(app, "/metrics")
    assert status == 200
    assert b"x-request-id" not in headers
    assert f'path="{PREFIX.get(name, "")}/items/{{id}}"'.encode() in body


def test_every_example_is_shorter_than_forty_lines_and_is_tested():
    files = {path.stem: path.read_text().splitlines() for path in EXAMPLES.glob("*.py")}
    assert set(files) == {*NAMES, "sessions_app"}
    assert all(len(text) < 40 for text in files.values())


@pytest.fixture
def sessions_example():
    spec = importlib.util.spec_from_file_location("examples_sessions", EXAMPLES / "sessions_app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sessions_example_closes_its_store_with_the_application(sessions_example):
    assert ask(sessions_example.app, "/session/devices")[0] == 401
    with pytest.raises(StoreClosedError):
        asyncio.run(sessions_example.store.ping())


def test_the_sessions_example_logs_in_refreshes_and_logs_out_everywhere(sessions_example):
    async def tour():
        transport = httpx.ASGITransport(sessions_example.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example.org") as client:
            assert (await client.get("/session/devices")).status_code == 401
            assert (await client.post("/login", json={"user": "amy", "password": "tea"})).status_code == 401
            assert (await client.post("/login", json={"user": "amy"})).status_code == 422
            tokens = []
            for device in ("phone", "laptop"):
                answer = await client.post("/login", json={"user": "amy", "password": "green-tea", "device": device})
                tokens.append({"Authorization": f"Bearer {answer.json()['token']}"})
            devices = (await client.get("/session/devices", headers=tokens[0])).json()
            assert [(each["device"], each["this"]) for each in devices] == [("laptop", False), ("phone", True)]

            answers = [await client.post("/login/refresh", headers=tokens[0]) for _ in range(2)]
            assert [each.status_code for each in answers] == [200, 200]
            assert answers[0].json() == answers[1].json()
            assert (await client.get("/session/devices", headers=tokens[0])).status_code == 401
            tokens[0] = {"Authorization": f"Bearer {answers[0].json()['token']}"}

            laptop = next(each["id"] for each in devices if each["device"] == "laptop")
            assert (await client.delete(f"/session/devices/{laptop}", headers=tokens[0])).json() == {"revoked": 1}
            assert (await client.delete(f"/session/devices/{laptop}", headers=tokens[0])).status_code == 404
            assert (await client.get("/session/devices", headers=tokens[1])).status_code == 401
            everywhere = await client.post("/session/logout-everywhere", headers=tokens[0])
            assert everywhere.json() == {"revoked": 1}
            assert (await client.get("/session/devices", headers=tokens[0])).status_code == 401
            assert (await client.post("/login/refresh", headers=tokens[0])).status_code == 401

    asyncio.run(asyncio.wait_for(tour(), 30))
