"""The audit of requests: what an entry says, of whom, and that each exchange has one."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from audit_driver import AFTER, EVERYTHING, TWO_PHASE, Answer, Log, audited, faults_at, live, post
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from asgi_infra import InfraMiddleware
from asgi_infra.audit import InMemoryAuditLogger
from asgi_infra.context import bind
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.audit import Audit, AuditMiddleware, AuditRule, annotate
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.tokens import Tokens
from asgi_infra.middleware.tracing import Tracing
from asgi_infra.testing import drive, http_scope, websocket_scope
from asgi_infra.tokens import InMemoryTokenStore, StoredToken

pytestmark = pytest.mark.anyio


def stack(app: Any, log: Any, *rules: AuditRule, **options: Any) -> InfraMiddleware:
    provider = TracerProvider()
    audit = Audit(log, policy=rules) if rules else Audit(log)
    options.setdefault("tracing", Tracing(tracer_provider=provider))
    return InfraMiddleware(app, metrics=Metrics(registry=CollectorRegistry()), access_log=False, audit=audit, **options)


# What an entry says


async def test_an_entry_tells_who_did_what_from_where_and_how_it_ended():
    log = Log()
    scope = post(query_string=b"dry=1&token=s3cret", headers=[(b"user-agent", b"shop/1.0")])
    scope["path_template"] = "/orders/{id}"
    audit = stack(Answer(201, [b"four"]), log)

    async def bound(scope, receive, send):
        with bind(user_id="alice"):
            await audit(scope, receive, send)

    driven = await drive(bound, scope, [{"type": "http.request", "body": b"abc"}])
    entry = await log.one()
    assert (entry.action, entry.resource_type, entry.result) == ("http.post", "http", "success")
    assert (entry.user_id, entry.ip_address, entry.user_agent) == ("alice", "192.0.2.7", "shop/1.0")
    assert [entry.request_id.encode()] == driven.header(b"x-request-id")
    assert len(entry.trace_id) == 32
    details = dict(entry.details)
    assert details.pop("duration_us") >= 0
    assert details == {
        "method": "POST",
        "path": "/orders/7",
        "query": "dry=1&token=REDACTED",
        "route": "/orders/{id}",
        "status": 201,
        "bytes_in": 3,
        "bytes_out": 4,
    }


@pytest.mark.parametrize(
    ("status", "result"),
    [(200, "success"), (302, "success"), (401, "denied"), (403, "denied"), (404, "failure"), (503, "error")],
)
@pytest.mark.parametrize("rule", [EVERYTHING, AFTER, TWO_PHASE])
async def test_the_result_follows_from_the_status(rule, status, result):
    log = Log()
    await drive(audited(Answer(status), log, rule), post())
    *_, entry = await log.entries()
    assert (entry.result, entry.details["status"]) == (result, status)


@pytest.mark.parametrize("rule", [EVERYTHING, AFTER, TWO_PHASE])
async def test_what_the_application_raises_is_an_error_with_its_type(rule):
    log, app = Log(), Answer()
    app.error = LookupError("no such order: s3cret")
    driven = await drive(audited(app, log, rule), post())
    assert driven.error is app.error
    *_, entry = await log.entries()
    assert (entry.result, entry.details["error_type"], entry.details["status"]) == ("error", "LookupError", None)
    assert "s3cret" not in str(entry.to_dict())


async def test_by_default_all_but_safe_methods_and_websockets_are_recorded():
    log = Log()
    guard = audited(Answer(), log)
    for method in ("GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE", "PURGE", "M-SEARCH"):
        await drive(guard, http_scope(method))
    await drive(audited(live, log), websocket_scope())
    actions = [entry.action for entry in await log.entries()]
    verbs = ["post", "put", "patch", "delete", "purge", "other"]
    assert actions == [*(f"http.{verb}" for verb in verbs), *["websocket.connect"] * 2]


async def test_a_websocket_has_an_attempt_before_it_is_accepted_and_one_entry_at_its_end():
    log = Log()

    def on_send(message: Any) -> None:
        log.trace.append(message["type"])

    driven = await drive(audited(live, log), websocket_scope("/live"), on_send=on_send)
    assert driven.error is None
    assert log.trace == [
        *("log attempt", "logged attempt", "websocket.accept", "websocket.send", "websocket.close"),
        *("log success", "logged success"),
    ]
    attempt, end = await log.entries()
    assert attempt.id.removesuffix(":attempt") == end.id.removesuffix(":completed")
    assert (end.details["status"], end.details["close_code"], end.details["bytes_out"]) == (101, 1000, 5)


async def test_a_websocket_that_the_application_refuses_has_one_entry():
    async def app(scope, receive, send):
        await send({"type": "websocket.close", "code": 1008})

    log = Log()
    await drive(audited(app, log), websocket_scope())
    assert (await log.one()).result == "denied"


async def test_what_the_log_writes_of_a_rule_is_as_the_rule_says():
    def kind(exchange: Any) -> str:
        return f"order-{exchange.method.lower()}"

    log = Log()
    rule = AuditRule(action="order.refund", resource_type=kind, resource_id="order")
    scope = post(path_params={"order": 7})
    await drive(audited(Answer(), log, rule, tenant=lambda exchange: "acme"), scope)
    entry = await log.one()
    assert (entry.action, entry.resource_type, entry.resource_id, entry.tenant) == (
        *("order.refund", "order-post", "7", "acme"),
    )


async def test_the_application_may_say_more_but_not_other_than_what_happened():
    async def app(scope, receive, send):
        assert annotate(scope, action="order.rename", resource_id="o-1", details={"status": 1, "a": "x"})
        assert annotate(SimpleNamespace(scope=scope), resource_id="o-2", details={"password": "hunter2"})
        await Answer()(scope, receive, send)

    log = Log()
    await drive(audited(app, log), post())
    entry = await log.one()
    assert (entry.action, entry.resource_id) == ("order.rename", "o-2")
    assert (entry.details["status"], entry.details["a"]) == (200, "x")
    assert entry.details["password"] == "[REDACTED:password]"


async def test_what_can_not_be_said_is_refused_and_without_an_audit_nothing_is():
    assert not annotate({})
    answers = []

    async def app(scope, receive, send):
        for wrong in ({"action": " "}, {"details": "text"}):
            with pytest.raises(ConfigurationError):
                annotate(scope, **wrong)  # type: ignore[arg-type]
        answers.append(annotate(scope, action="a"))
        await Answer()(scope, receive, send)

    driven = await drive(audited(app, Log()), http_scope("GET"))
    assert (driven.error, answers) == (None, [False])


# Who


@pytest.mark.parametrize("rule", [EVERYTHING, TWO_PHASE])
async def test_the_user_of_the_token_is_the_actor_and_known_before_the_application_runs(rule):
    store, log = InMemoryTokenStore(), Log()
    token = StoredToken.issue("alice", lifetime=timedelta(hours=1))
    await store.save(token)
    tokens = Tokens(store, registry=CollectorRegistry())
    guard = stack(Answer(), log, rule, tokens=tokens)
    await drive(guard, post(headers=[(b"authorization", f"Bearer {token.jti}".encode())]))
    entries = await log.entries()
    assert {entry.user_id for entry in entries} == {"alice"}
    assert token.jti not in str([entry.to_dict() for entry in entries])


async def test_who_is_refused_for_lack_of_a_token_has_no_attempt_but_an_entry():
    log = Log()
    tokens = Tokens(InMemoryTokenStore(), registry=CollectorRegistry())
    driven = await drive(stack(Answer(), log, TWO_PHASE, tokens=tokens), post())
    assert driven.status == 401
    assert ((await log.one()).result, (await log.one()).user_id) == ("denied", None)


class User:
    def __init__(self, *, authenticated: Any = True, **names: str) -> None:
        self.is_authenticated = authenticated
        self.__dict__.update(names)


class Broken(User):
    @property
    def identity(self) -> str:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("user", "actor"),
    [
        (User(identity="alice", username="bob"), "alice"),
        (Broken(username="bob"), "bob"),
        (User(authenticated=False, username="eve"), None),
        (User(authenticated="yes", username="eve"), None),
        (User(username=""), None),
        ("eve", None),
    ],
)
async def test_the_user_that_the_scope_holds_is_the_actor_if_it_is_authenticated(user, actor):
    async def app(scope, receive, send):
        scope["user"] = user
        await Answer()(scope, receive, send)

    log = Log()
    await drive(audited(app, log), post())
    assert (await log.one()).user_id == actor


async def test_a_function_may_know_better_who_it_is_and_its_faults_cost_nothing():
    log = Log()
    await drive(audited(Answer(), log, actor=lambda exchange: "service:mail"), post())
    assert (await log.one()).user_id == "service:mail"

    def broken(exchange: Any) -> Any:
        raise LookupError

    log, before = Log(), faults_at("audit.actor")
    driven = await drive(audited(Answer(), log, AuditRule(action=lambda exchange: " "), actor=broken), post())
    entry = await log.one()
    assert (driven.status, entry.user_id, entry.action) == (200, None, "http.post")
    assert faults_at("audit.actor") > before


@pytest.mark.parametrize(
    ("trusted", "address"), [((), "192.0.2.7"), ("192.0.2.0/24", "203.0.113.9"), ("198.51.100.1", "192.0.2.7")]
)
async def test_only_trusted_proxies_say_where_a_request_comes_from(trusted, address):
    log = Log()
    headers = [(b"x-forwarded-for", b"198.51.100.66, 203.0.113.9")]
    await drive(audited(Answer(), log, trusted_proxies=trusted), post(headers=headers))
    assert (await log.one()).ip_address == address


async def test_a_user_agent_without_end_is_cut():
    log = Log()
    await drive(audited(Answer(), log), post(headers=[(b"user-agent", b"x" * 100_000)]))
    assert len((await log.one()).user_agent) == 512


# Options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"logger": object()}, "logger"),
        ({"policy": []}, "policy"),
        ({"policy": ["POST"]}, "policy"),
        ({"policy": 7}, "policy"),
        ({"max_body": -1}, "max_body"),
        ({"max_body": 100_000}, "max_body"),
        ({"timeout": 0}, "timeout"),
        ({"actor": "alice"}, "actor"),
        ({"content_types": ["text/plain"]}, "content_types"),
    ],
)
def test_wrong_options_are_named(options, named):
    with pytest.raises(ConfigurationError, match=f"^{named}"):
        AuditMiddleware(Answer(), **{"logger": InMemoryAuditLogger(), **options})


def test_the_stack_takes_an_audit_or_nothing():
    with pytest.raises(ConfigurationError, match="audit must be None or Audit"):
        InfraMiddleware(Answer(), audit=True)  # type: ignore[arg-type]
