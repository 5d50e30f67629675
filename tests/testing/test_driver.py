"""The driver: what it gives to an application, and what it keeps."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_infra.testing import drive, http_scope, run, websocket_scope

HEAD = {"type": "http.response.start", "status": 201, "headers": [(b"A", b"1"), (b"a", b"2")]}
variable: ContextVar[str] = ContextVar("variable", default="unset")


def body(data: bytes = b"", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


@pytest.mark.anyio
async def test_an_exchange_is_kept_as_it_was():
    messages = [HEAD, body(b"la", more_body=True), body(b"mp")]

    async def app(scope, receive, send):
        assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/ä", "/ä".encode())
        assert await receive() is script[0]
        for message in messages:
            await send(message)
        assert await receive() == {"type": "http.disconnect"}

    script = [{"type": "http.request", "body": b"x"}]
    scope = http_scope("POST", "/ä")
    driven = await drive(app, scope, script)
    assert driven.error is None
    assert driven.scope is scope
    assert [sent is message for sent, message in zip(driven.sent, messages, strict=True)] == [True] * 3
    assert (driven.status, driven.body) == (201, b"lamp")
    assert driven.headers == [(b"A", b"1"), (b"a", b"2")]
    assert driven.header(b"a") == [b"1", b"2"]
    assert driven.received == [*script, {"type": "http.disconnect"}]


@pytest.mark.anyio
async def test_the_context_is_fresh_and_nothing_of_it_stays():
    async def app(scope, receive, send):
        seen.append(variable.get())
        variable.set("inner")

    seen: list[str] = []
    token = variable.set("outer")
    await drive(app)
    await drive(app)
    assert seen == ["unset", "unset"]
    assert variable.get() == "outer"
    variable.reset(token)


@pytest.mark.anyio
async def test_what_an_application_raises_is_kept_and_not_raised():
    async def app(scope, receive, send):
        raise error

    error = ExceptionGroup("two", [ValueError(), KeyError()])
    driven = await drive(app)
    assert driven.error is error
    assert (driven.status, driven.headers, driven.body, driven.sent) == (None, [], b"", [])


@pytest.mark.anyio
async def test_a_send_can_fail():
    def on_send(message: Any) -> None:
        raise BrokenPipeError

    async def app(scope, receive, send):
        await send(HEAD)

    driven = await drive(app, on_send=on_send)
    assert isinstance(driven.error, BrokenPipeError)
    assert driven.sent == [HEAD]


@pytest.mark.anyio
async def test_an_application_that_does_not_return_is_given_up():
    async def app(scope, receive, send):
        await receive()
        await receive()  # no response, and so no disconnect

    with pytest.raises(TimeoutError):
        await drive(app, timeout=0.01)


@pytest.mark.parametrize(
    "messages",
    [
        [HEAD, body()],
        [{**HEAD, "trailers": True}, body(), {"type": "http.response.trailers"}],
        [HEAD, {"type": "http.response.pathsend", "path": "/srv/file"}],
        [HEAD, {"type": "http.response.zerocopysend", "file": 3, "more_body": True}, body()],
    ],
    ids=["body", "trailers", "pathsend", "zerocopysend"],
)
def test_the_disconnect_comes_after_the_last_message(messages):
    async def app(scope, receive, send):
        await receive()

        async def listen() -> None:
            received.append(await receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            for message in messages:
                await anyio.lowlevel.checkpoint()
                assert received == []
                await send(message)
        assert received == [{"type": "http.disconnect"}]

    received: list[Any] = []
    assert run(app).error is None


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "websocket.accept", "headers": [(b"a", b"1")]}, {"type": "websocket.close"}],
        [
            {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"1")]},
            {"type": "websocket.http.response.body", "body": b"no"},
        ],
    ],
    ids=["accepted", "refused"],
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_websocket_is_connected_and_disconnected(messages, backend):
    async def app(scope, receive, send):
        assert (scope["type"], scope["scheme"], scope["path"]) == ("websocket", "ws", "/ws")
        assert "method" not in scope
        await receive()
        for message in messages:
            await send(message)
        await receive()

    driven = run(app, websocket_scope("/ws"), backend=backend)
    assert [message["type"] for message in driven.received] == ["websocket.connect", "websocket.disconnect"]
    assert driven.headers == [(b"a", b"1")]
    assert driven.status == messages[0].get("status")


def test_a_lifespan_starts_and_shuts_down():
    async def app(scope, receive, send):
        await receive()
        await receive()

    driven = run(app, {"type": "lifespan"})
    assert [message["type"] for message in driven.received] == ["lifespan.startup", "lifespan.shutdown"]
