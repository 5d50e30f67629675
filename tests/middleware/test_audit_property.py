"""Whatever happens in an exchange: one completed entry, no secret in it, and the attempt first."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
from audit_driver import Log, audited
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra import InfraMiddleware
from asgi_infra.middleware.audit import Audit, AuditRule
from asgi_infra.testing import http_scope, websocket_scope

SECRET = "hunter2-4711"

rules = st.builds(
    AuditRule,
    level=st.sampled_from(["metadata", "request", "response"]),
    two_phase=st.booleans(),
    when=st.sampled_from([None, "before_response", "after"]),
    on_failure=st.sampled_from(["refuse", "proceed"]),
)
http_steps = st.lists(
    st.one_of(
        st.builds(lambda status: ("start", status), st.sampled_from([200, 204, 302, 401, 404, 500, 503])),
        st.builds(lambda more: ("body", more), st.booleans()),
        st.sampled_from([("receive", None), ("error", None), ("cancel", None), ("sleep", None), ("odd", None)]),
    ),
    max_size=7,
)
websocket_steps = st.lists(
    st.sampled_from(["receive", "accept", "text", "close", "error", "cancel", "sleep"]).map(lambda step: (step, None)),
    max_size=7,
)
MESSAGES = {
    "accept": {"type": "websocket.accept"},
    "text": {"type": "websocket.send", "text": "hello"},
    "close": {"type": "websocket.close", "code": 1000},
    "odd": {"type": "http.response.debug", "info": {}},
}


class Scripted:
    """An application that does one step after the other."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps
        self.scope = anyio.CancelScope()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for step, value in self.steps:
            if step == "receive":
                await receive()
            elif step == "start":
                headers = [(b"content-type", b"application/json")]
                await send({"type": "http.response.start", "status": value, "headers": headers})
            elif step == "body":
                body = b'{"password": "%s"}' % SECRET.encode()
                await send({"type": "http.response.body", "body": body, "more_body": value})
            elif step == "error":
                raise LookupError(SECRET)
            elif step == "cancel":
                self.scope.cancel()
                await anyio.sleep_forever()
            elif step == "sleep":
                await anyio.lowlevel.checkpoint()
            else:
                await send(MESSAGES[step])


async def _exchange(guard: Any, scripted: Scripted, scope: Any, fails_at: int) -> None:
    sent = 0

    async def receive() -> Any:
        if scope["type"] == "websocket":
            return {"type": "websocket.receive", "text": SECRET}
        return {"type": "http.request", "body": b'{"password": "%s"}' % SECRET.encode()}

    async def send(message: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == fails_at:
            raise OSError("the client has gone")

    with scripted.scope, suppress(LookupError, OSError, RuntimeError):
        await guard(scope, receive, send)


@given(st.data(), rules, st.booleans(), st.booleans(), st.integers(0, 6), st.sampled_from(["asyncio", "trio"]))
def test_each_exchange_has_exactly_one_completed_entry(data, rule, is_websocket, joined, fails_at, backend):
    steps = data.draw(websocket_steps if is_websocket else http_steps)
    query = f"token={SECRET}".encode()
    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {SECRET}".encode())]
    changes: dict[str, Any] = {"query_string": query, "headers": headers}
    scope = websocket_scope("/live", **changes) if is_websocket else http_scope("POST", "/orders", **changes)

    async def main() -> list[Any]:
        log, scripted = Log(), Scripted(steps)
        features: dict[str, Any] = {"metrics": False, "tracing": False, "access_log": False}
        guard = (
            InfraMiddleware(audited(scripted, log, rule), **features)
            if joined
            else InfraMiddleware(scripted, audit=Audit(log, policy=rule), **features)
        )
        await _exchange(guard, scripted, scope, fails_at)
        return await log.entries()

    entries = anyio.run(main, backend=backend)
    attempts = [entry for entry in entries if entry.id.endswith(":attempt")]
    (end,) = [entry for entry in entries if entry.id.endswith(":completed")]
    assert entries == [*attempts, end]
    assert len(attempts) <= 1
    assert len(attempts) == 1 or not rule.two_phase
    assert {entry.id.partition(":")[0] for entry in entries} == {end.id.partition(":")[0]}
    assert end.result in ("success", "denied", "failure", "error", "disconnected", "cancelled", "unknown")
    assert SECRET not in str([entry.to_dict() for entry in entries])


@given(
    st.data(), rules, st.sets(st.sampled_from(["attempt", "success", "error"])), st.sampled_from(["asyncio", "trio"])
)
def test_a_client_never_hears_of_a_success_that_a_strict_rule_has_not_recorded(data, rule, failing, backend):
    steps = data.draw(http_steps)
    heads: list[int] = []

    async def main() -> list[Any]:
        log, scripted = Log(), Scripted(steps)
        log.failing = failing

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                # A server refuses a second head by itself.
                is_strict = rule.on_failure == "refuse" and rule.when == "before_response"
                if not heads and message["status"] < 400 and is_strict:
                    assert await log.entries()
                heads.append(message["status"])

        with scripted.scope, suppress(LookupError, OSError, RuntimeError):
            await audited(scripted, log, rule)(http_scope("POST"), receive, send)
        return await log.entries()

    heads.clear()
    entries = anyio.run(main, backend=backend)
    assert sum(entry.id.endswith(":completed") for entry in entries) <= 1
