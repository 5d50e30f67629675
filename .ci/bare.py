"""Without any extra: the core works, and what needs an extra says which."""

import asyncio
import io
import json

from asgi_infra import AccessLog, InfraMiddleware, InfrastructureError, get_request_id


async def app(scope, receive, send):
    assert get_request_id() == "bare-1"
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def receive():
    return {"type": "http.request"}


async def send(message):
    sent.append(message)


sent, lines = [], io.StringIO()
scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"x-request-id", b"bare-1")]}
asyncio.run(InfraMiddleware(app, access_log=AccessLog(stream=lines))(scope, receive, send))
assert dict(sent[0]["headers"]) == {b"x-request-id": b"bare-1"}, sent
assert json.loads(lines.getvalue())["request_id"] == "bare-1", lines.getvalue()

import asgi_infra.database  # noqa: E402 - without its driver, the import works and the use explains itself

try:
    asgi_infra.database.DatabaseSession("sqlite:///shop.db")
except InfrastructureError as exc:
    assert isinstance(exc, ImportError), exc
    assert "asgi-infra[sql]" in str(exc), exc
    print(f"no extras: {exc}")
else:
    raise AssertionError("a database session without the extra should say what is missing")
