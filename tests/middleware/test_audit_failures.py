"""What must not happen unrecorded: the order of entries and messages, and what a log that fails does to a request."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from audit_driver import AFTER, EVERYTHING, TWO_PHASE, Answer, Log, audited, faults_at, live, post

from asgi_infra import InfraMiddleware
from asgi_infra.middleware.audit import Audit, AuditRule
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.testing import drive, websocket_scope

pytestmark = pytest.mark.anyio

STRICTEST = AuditRule(two_phase=True, when="before_response")
DENIAL = {"extensions": {"websocket.http.response": {}}}


async def traced(rule: AuditRule, pieces: Any = (b"done",)) -> list[str]:
    log = Log()

    def on_send(message: Any) -> None:
        log.trace.append(message["type"].rpartition(".")[2])

    driven = await drive(audited(Answer(pieces=pieces, trace=log.trace), log, rule), post(), on_send=on_send)
    assert driven.error is None
    return log.trace


SUCCESS = ["log success", "logged success"]
ATTEMPT = ["log attempt", "logged attempt"]


@pytest.mark.parametrize(
    ("rule", "order"),
    [
        (EVERYTHING, ["app", *SUCCESS, "start", "body"]),
        (AFTER, ["app", "start", "body", *SUCCESS]),
        (TWO_PHASE, [*ATTEMPT, "app", "start", "body", *SUCCESS]),
        (STRICTEST, [*ATTEMPT, "app", *SUCCESS, "start", "body"]),
        (AuditRule(on_failure="proceed"), ["app", "start", "body", *SUCCESS]),
    ],
)
async def test_a_response_leaves_when_its_rule_says(rule, order):
    assert await traced(rule) == order


@pytest.mark.parametrize(
    ("rule", "order"),
    [
        (EVERYTHING, ["app", *ATTEMPT, "start", "body", "body", "body", *SUCCESS]),
        (AFTER, ["app", "start", "body", "body", "body", *SUCCESS]),
        (TWO_PHASE, [*ATTEMPT, "app", "start", "body", "body", "body", *SUCCESS]),
        (STRICTEST, [*ATTEMPT, "app", "start", "body", "body", "body", *SUCCESS]),
    ],
)
async def test_a_stream_waits_for_its_attempt_at_most(rule, order):
    assert await traced(rule, [b"a", b"b", b"c"]) == order


async def test_the_first_byte_of_a_stream_does_not_wait_for_what_comes_after():
    log, first = Log(), anyio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        assert first.is_set()
        assert log.trace == []
        await send({"type": "http.response.body", "body": b"b"})

    def on_send(message: Any) -> None:
        if message.get("body") == b"a":
            first.set()

    assert (await drive(audited(app, log, AFTER), post(), on_send=on_send)).error is None


@pytest.mark.parametrize("status", [500, 503])
async def test_an_error_leaves_at_once_and_is_recorded_with_its_type(status):
    log = Log()

    async def app(scope, receive, send):
        try:
            raise LookupError
        except LookupError:
            await Answer(status)(scope, receive, send)
            log.trace.append("answered")
            raise

    await drive(audited(app, log), post())
    assert log.trace == ["answered", "log error", "logged error"]
    assert (await log.one()).details["error_type"] == "LookupError"


async def test_what_was_recorded_is_what_the_client_gets_even_if_there_are_two_heads():
    log = Log()

    async def app(scope, receive, send):
        for status in (200, 404):
            await send({"type": "http.response.start", "status": status})

    driven = await drive(audited(app, log), post())
    assert isinstance(driven.error, RuntimeError)
    assert driven.sent == []
    assert (await log.one()).result == "error"


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
async def test_a_file_is_a_body_in_one_piece(kind):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": kind, "path": "/srv/shop/a.txt"})

    log = Log()
    driven = await drive(audited(app, log), post())
    assert [message["type"] for message in driven.sent] == ["http.response.start", kind]
    assert (await log.one()).result == "success"


async def test_a_response_with_trailers_is_over_after_them():
    log = Log()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"a"})
        log.trace.append("body")
        await send({"type": "http.response.trailers", "headers": []})

    await drive(audited(app, log), post())
    assert log.trace == [*ATTEMPT, "body", *SUCCESS]


# A log that fails


async def test_what_is_in_two_phases_does_not_happen_when_the_log_is_down():
    log, app = Log(), Answer()
    log.failing = True
    before = faults_at("audit.admit")
    driven = await drive(audited(app, log, TWO_PHASE), post())
    assert (driven.status, app.calls, driven.error) == (503, 0, None)
    assert driven.header(b"retry-after") == [b"5"]
    assert log.trace == ["log attempt"]
    assert faults_at("audit.admit") == before + 1


@pytest.mark.parametrize("pieces", [[b"one"], [b"one", b"two"]])
async def test_nobody_gets_a_success_that_was_not_recorded(pieces):
    log, app = Log(), Answer(pieces=pieces)
    log.failing = True
    driven = await drive(audited(app, log), post())
    assert (driven.status, app.calls) == (503, 1)
    assert b"one" not in driven.body
    assert len([message for message in driven.sent if message["type"] == "http.response.start"]) == 1
    assert isinstance(driven.error, OSError) == (len(pieces) > 1)


async def test_what_was_done_is_recorded_later_if_the_log_comes_back():
    log, app = Log(), Answer(201)
    log.failing = ["success"]
    driven = await drive(audited(app, log), post())
    assert driven.status == 503
    entry = await log.one()
    assert (entry.result, entry.details["status"], entry.details["application_status"]) == ("error", 503, 201)


async def test_all_other_features_see_the_refusal_too_and_the_client_gets_their_headers():
    from prometheus_client import CollectorRegistry

    log, registry = Log(), CollectorRegistry()
    log.failing = True
    stack = InfraMiddleware(
        Answer(), metrics=Metrics(registry=registry), tracing=False, access_log=False, audit=Audit(log)
    )
    driven = await drive(stack, post())
    assert len(driven.header(b"x-request-id")) == 1
    labels = {"method": "POST", "path": "unmatched", "status_code": "503"}
    assert registry.get_sample_value("http_requests_total", labels) == 1


@pytest.mark.parametrize(
    "rule",
    [
        AuditRule(on_failure="proceed"),
        AuditRule(on_failure="proceed", when="before_response"),
        AuditRule(on_failure="proceed", two_phase=True),
        AFTER,
    ],
)
@pytest.mark.parametrize("pieces", [[b"one"], [b"one", b"two"]])
async def test_where_the_rule_says_so_a_failing_log_costs_a_fault_and_no_more(rule, pieces):
    log, app = Log(), Answer(pieces=pieces)
    log.failing = True
    before = faults_at("audit.settle")
    driven = await drive(audited(app, log, rule), post())
    assert (driven.status, driven.body, driven.error) == (200, b"".join(pieces), None)
    assert faults_at("audit.settle") == before + 1


async def test_a_completion_that_failed_is_tried_once_more():
    log, failed = Log(), []

    async def once() -> None:
        if not failed:
            failed.append(True)
            raise LookupError("broken on purpose")

    log.before = once
    driven = await drive(audited(Answer(), log, AFTER), post())
    assert (driven.status, (await log.one()).result) == (200, "success")


async def test_a_log_that_does_not_answer_counts_as_one_that_has_failed():
    log, app = Log(), Answer()
    log.before = anyio.sleep_forever
    for rule in (TWO_PHASE, EVERYTHING):
        driven = await drive(audited(app, log, rule, timeout=0.01), post())
        assert driven.status == 503
    assert app.calls == 1


@pytest.mark.parametrize("changes", [{}, DENIAL])
async def test_a_websocket_is_refused_before_it_is_accepted(changes):
    log = Log()
    log.failing = True
    driven = await drive(audited(live, log), websocket_scope(**changes))
    kinds = [message["type"] for message in driven.sent]
    assert kinds == (
        ["websocket.http.response.start", "websocket.http.response.body"] if changes else ["websocket.close"]
    )
    assert isinstance(driven.error, OSError)
    assert changes or driven.sent[0]["code"] == 1013


async def test_a_websocket_whose_refusal_can_not_be_recorded_is_told_to_try_again():
    async def app(scope, receive, send):
        await send({"type": "websocket.close", "code": 1008})

    log = Log()
    log.failing = True
    driven = await drive(audited(app, log), websocket_scope())
    assert [message.get("code") for message in driven.sent] == [1013]


async def test_after_a_refusal_the_application_may_end_as_it_likes():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        with pytest.raises(OSError, match="refused"):
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body"})

    log = Log()
    log.failing = True
    driven = await drive(audited(app, log), post())
    assert (driven.status, driven.error, len(driven.sent)) == (503, None, 2)


async def test_what_a_cancelled_request_had_logged_before_is_not_logged_twice():
    log = Log()

    async def after() -> None:
        log.after = None
        scope.cancel()
        await anyio.sleep_forever()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    log.after = after
    with anyio.CancelScope() as scope:
        await audited(Answer(), log)(post(), receive, None)
    assert log.trace == ["log success", "logged success", "log cancelled", "logged cancelled"]
    assert (await log.one()).result == "success"
