"""The audit of requests among engines, paths and event loops: one entry, whatever is around it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import pytest
from audit_driver import AFTER, EVERYTHING, TWO_PHASE, Answer, Log, audited, faults_at, post

from asgi_infra import InfraMiddleware
from asgi_infra.middleware.audit import AuditRule
from asgi_infra.testing import drive, run

pytestmark = pytest.mark.anyio


async def test_excluded_paths_are_left_alone():
    log = Log()
    guard = audited(Answer(), log, exclude={"audit": "/health"})
    assert (await drive(guard, post("/health"))).status == 200
    assert await log.entries() == []


@pytest.mark.parametrize("rule", [EVERYTHING, AFTER, TWO_PHASE])
async def test_one_log_gets_one_entry_however_many_middlewares_there_are(rule):
    log = Log()
    await drive(audited(audited(Answer(), log, rule), log, rule), post())
    assert [entry.result for entry in await log.entries()][-1:] == ["success"]
    assert sum(entry.id.endswith(":completed") for entry in await log.entries()) == 1


async def test_two_logs_get_an_entry_each():
    inner, outer = Log(), Log()
    guard = audited(audited(Answer(), inner, AuditRule(action="inner")), outer, AuditRule(action="outer"))
    await drive(guard, post())
    assert ((await inner.one()).action, (await outer.one()).action) == ("inner", "outer")


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("rule", [EVERYTHING, AFTER, TWO_PHASE])
async def test_an_inner_middleware_records_what_it_sees_where_the_outer_one_has_no_audit(rule, raises):
    log, app = Log(), Answer()
    app.error = LookupError() if raises else None
    outer = InfraMiddleware(audited(app, log, rule), metrics=False, tracing=False, access_log=False)
    driven = await drive(outer, post())
    *_, entry = await log.entries()
    assert entry.result == ("error" if raises else "success")
    assert sum(entry.id.endswith(":completed") for entry in await log.entries()) == 1
    assert [entry.request_id.encode()] == driven.header(b"x-request-id") or raises


@pytest.mark.parametrize("rule", [EVERYTHING, AFTER])
async def test_behind_a_layer_that_keeps_the_response_the_entry_does_not_know_the_status(rule):
    log = Log()

    async def keeps(scope, receive, send):
        kept: list[Any] = []

        async def keep(message: Any) -> None:
            kept.append(message)

        await audited(Answer(), log, rule)(scope, receive, keep)
        for message in kept:
            await send(message)

    driven = await drive(InfraMiddleware(keeps, metrics=False, tracing=False, access_log=False), post())
    assert driven.status == 200
    assert (await log.one()).result == "unknown"


async def test_what_fails_before_a_rule_is_found_refuses_the_request():
    log, app = Log(), Answer()
    scope = post()
    scope["method"] = 7
    before = faults_at("audit.start")
    driven = await drive(audited(app, log), scope)
    assert (driven.status, app.calls) == (503, 0)
    assert faults_at("audit.start") == before + 1


async def test_messages_that_are_none_pass_as_they_are():
    seen = []

    async def app(scope, receive, send):
        for message in (None, {}, {"type": "http.response.body", "body": "text"}):
            await send(message)

    async def send(message: Any) -> None:
        seen.append(message)

    await audited(app, Log(), AuditRule(level="response"))(post(), None, send)
    assert seen == [None, {}, {"type": "http.response.body", "body": "text"}]


class Probe:
    """Something that weak references can see."""


async def test_an_exchange_is_not_part_of_a_cycle_when_it_is_over():
    found = []

    async def app(scope, receive, send):
        probe = scope["asgi_infra"]["exchange"].notes["probe"] = Probe()
        found.append(weakref.ref(probe))
        await Answer()(scope, receive, send)

    gc.collect()
    gc.disable()
    try:
        await drive(audited(app, Log(), AuditRule(level="response")), post())
        assert found[0]() is None
    finally:
        gc.enable()


async def test_background_work_has_no_part_in_it_and_its_failure_neither():
    log, app = Log(), Answer()
    app.late_error = LookupError()
    driven = await drive(audited(app, log), post())
    assert driven.error is app.late_error
    assert (await log.one()).result == "success"


async def test_the_entry_is_there_before_the_work_in_the_background_begins():
    log = Log()

    async def app(scope, receive, send):
        await Answer()(scope, receive, send)
        assert (await log.one()).result == "success"

    assert (await drive(audited(app, log, AFTER), post())).error is None


def test_cancelled_and_abandoned_requests_have_their_entry_on_both_loops():
    async def app(scope, receive, send):
        await anyio.sleep_forever()

    async def main() -> Any:
        log = Log()
        with anyio.move_on_after(0.01):
            await audited(app, log)(post(), None, None)
        return await log.one()

    for backend in ("asyncio", "trio"):
        entry = anyio.run(main, backend=backend)
        assert (entry.result, entry.details["error_type"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_that_goes_away_is_told_apart(backend):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b", "more_body": True})

    def on_send(message: Any) -> None:
        if message.get("body") == b"b":
            raise OSError("gone")

    log = Log()
    driven = run(audited(app, log), post(), on_send=on_send, backend=backend)
    assert isinstance(driven.error, OSError)

    attempt, end = anyio.run(log.entries)
    assert (attempt.result, end.result, end.details["status"]) == ("attempt", "disconnected", 200)
