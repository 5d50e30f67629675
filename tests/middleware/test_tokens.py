"""The check of tokens: who gets in, who is refused and how, and what the application knows of who came."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, generate_latest
from token_driver import (
    DENIAL,
    DOWN,
    Moody,
    Visited,
    bearer,
    challenge,
    checks,
    guarded,
    issued,
    new_clock,
    problem,
    request,
)

from asgi_infra import InfraMiddleware, faults
from asgi_infra.context import get_user_id
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.access_log import AccessLog
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.refusal import Refusal
from asgi_infra.middleware.tokens import TokenMiddleware, Tokens, get_token
from asgi_infra.middleware.tracing import Tracing
from asgi_infra.testing import drive, http_scope, run, websocket_scope
from asgi_infra.tokens import InMemoryTokenStore
from asgi_infra.tokens.identity import InvalidTokenError, MalformedCredentialsError, TokenIdentity
from asgi_infra.tokens.presented import BearerTokens, CookieToken

if TYPE_CHECKING:
    from asgi_infra.middleware.token_rejection import Rejection


class Setup:
    def __init__(self, **options: Any) -> None:
        self.clock = new_clock()
        self.store = Moody(clock=self.clock)
        self.app = Visited()
        self.guard = guarded(self.app, self.store, clock=self.clock, **options)

    async def issue(self, **named: Any) -> Any:
        token = issued(self.clock, **named)
        await self.store.save(token)
        return token


# Who gets in


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
async def test_a_good_token_is_let_in_and_its_user_is_known(scheme):
    setup = Setup()
    token = await setup.issue()
    driven = await drive(setup.guard, http_scope(headers=bearer(token, scheme)))
    assert (driven.status, driven.body) == (200, b"private")
    assert setup.app.users == ["alice"]
    (identity,) = setup.app.tokens
    assert (identity.user_id, identity.stored) == ("alice", token)
    assert checks(setup.guard) == {"accepted": 1}


@pytest.mark.anyio
async def test_the_user_is_forgotten_when_the_request_is_over():
    setup = Setup()
    token = await setup.issue()

    async def send(message: Any) -> None:
        pass

    await setup.guard(request(token), None, send)
    assert setup.app.users == ["alice"]
    assert get_user_id() is None


@pytest.mark.anyio
async def test_a_websocket_is_let_in_with_a_good_token():
    setup = Setup()
    token = await setup.issue()
    driven = await drive(setup.guard, websocket_scope(headers=bearer(token)))
    assert [message["type"] for message in driven.sent] == ["websocket.accept", "websocket.close"]
    assert setup.app.users == ["alice"]


@pytest.mark.anyio
async def test_a_lifespan_needs_no_token():
    async def app(scope, receive, send):
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    driven = await drive(guarded(app, InMemoryTokenStore()), {"type": "lifespan"})
    assert driven.error is None
    assert len(driven.sent) == 2


# Who is refused: RFC 6750, section 3


@pytest.mark.anyio
async def test_a_request_without_a_token_is_told_that_one_is_needed_and_no_more():
    setup = Setup(realm="example")
    driven = await drive(setup.guard, request())
    assert driven.status == 401
    assert challenge(driven) == b'Bearer realm="example"'
    assert driven.header(b"cache-control") == [b"no-store"]
    assert problem(driven) == {"title": "Unauthorized", "status": 401, "detail": "An access token is needed."}
    assert setup.app.users == []
    assert checks(setup.guard) == {"missing": 1}


@pytest.mark.anyio
async def test_without_a_realm_the_challenge_is_the_scheme_alone():
    assert challenge(await drive(Setup().guard, request())) == b"Bearer"


@pytest.mark.anyio
@pytest.mark.parametrize("end", ["unknown", "expired", "revoked", "rotated", "all revoked", "too long"])
async def test_a_token_that_is_no_longer_good_is_invalid_whatever_the_reason(end):
    setup = Setup(realm="example")
    token = await setup.issue()
    presented: Any = token
    if end == "unknown":
        presented = "mF_9.B5f-4.1JqM"
    elif end == "expired":
        setup.clock.advance(3600)
    elif end == "revoked":
        await setup.store.revoke(token.jti)
    elif end == "rotated":
        await setup.store.rotate(token.jti, lambda token: token.successor(clock=setup.clock))
    elif end == "all revoked":
        await setup.store.revoke_all_for_user("alice")
    else:
        presented = b"a" * 1_000_000
    driven = await drive(setup.guard, request(presented))
    assert driven.status == 401
    assert challenge(driven) == (
        b'Bearer realm="example", error="invalid_token", '
        b'error_description="The access token is expired, revoked or otherwise not valid."'
    )
    assert problem(driven)["error"] == "invalid_token"
    assert setup.app.users == []
    assert checks(setup.guard) == {"invalid": 1}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        bearer(b"one") + bearer(b"two"),
        [*bearer(b"one"), (b"authorization", b"Basic YTpi")],
        bearer(b"") + bearer(b""),
        bearer(b""),
        [(b"authorization", b"Bearer")],
        bearer(b"two words"),
        bearer(b"\xc3\xa9"),
        bearer(b"\x00"),
        bearer(b"a,b"),
        bearer(b"=a"),
        bearer(b'"quoted"'),
    ],
    ids=repr,
)
async def test_credentials_that_cannot_be_read_are_an_invalid_request(headers):
    setup = Setup()
    driven = await drive(setup.guard, http_scope(headers=headers))
    assert driven.status == 400
    assert b'error="invalid_request"' in challenge(driven)
    assert problem(driven)["error"] == "invalid_request"
    assert setup.app.users == []
    assert setup.store.asked == []
    assert checks(setup.guard) == {"malformed": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("value", [b"Basic YTpi", b"Bearertoken", b"", b"Bearer\ttoken", b"token"], ids=repr)
async def test_another_scheme_is_no_token(value):
    setup = Setup()
    driven = await drive(setup.guard, http_scope(headers=[(b"authorization", value)]))
    assert (driven.status, challenge(driven)) == (401, b"Bearer")


@given(headers=st.lists(st.tuples(st.sampled_from([b"authorization", b"Authorization"]), st.binary()), max_size=3))
def test_no_header_lets_anybody_in(headers):
    app = Visited()
    driven = run(guarded(app, InMemoryTokenStore()), http_scope(headers=headers))
    assert driven.status in (400, 401)
    assert app.users == []


@pytest.mark.anyio
async def test_a_websocket_without_a_good_token_is_closed_before_it_is_accepted():
    setup = Setup()
    driven = await drive(setup.guard, websocket_scope(headers=bearer("unknown")))
    assert driven.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert setup.app.users == []


@pytest.mark.anyio
async def test_a_websocket_gets_the_whole_answer_where_the_server_can_send_it():
    driven = await drive(Setup().guard, websocket_scope(headers=bearer("unknown"), **DENIAL))
    assert driven.sent[0]["type"] == "websocket.http.response.start"
    assert driven.sent[0]["status"] == 401
    assert problem(driven)["error"] == "invalid_token"


# Cookies


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("lines", "gets_in"),
    [
        ([b"session=%s"], True),
        ([b"a=b; session=%s; c=d"], True),
        ([b"a=b", b"session=%s"], True),
        ([b'session="%s"'], True),
        ([b"session=%s; session=%s"], True),
        ([b"Session=%s"], False),
        ([b"xsession=%s"], False),
        ([b"session=%s; session=tossed"], False),
        ([b"session=tossed", b"session=%s"], False),
        ([b"session="], False),
        ([b"session"], False),
        ([b"session=\xff%s"], False),
    ],
    ids=repr,
)
async def test_a_cookie_carries_a_token(lines, gets_in):
    setup = Setup(extract=CookieToken("session"))
    token = await setup.issue()
    headers = [(b"cookie", line.replace(b"%s", token.jti.encode())) for line in lines]
    driven = await drive(setup.guard, http_scope(headers=headers))
    assert driven.status == (200 if gets_in else 401)
    assert setup.app.users == (["alice"] if gets_in else [])


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a=b", "é", None, 7])
def test_a_cookie_has_a_name(name):
    with pytest.raises(ConfigurationError, match="name"):
        CookieToken(name)


# Paths that do without a token


@pytest.mark.anyio
async def test_an_optional_path_is_open_and_still_knows_who_comes():
    setup = Setup(optional=["/shop"])
    token = await setup.issue()
    assert (await drive(setup.guard, request(path="/shop"))).status == 200
    assert (await drive(setup.guard, request(token, path="/shop"))).status == 200
    assert (await drive(setup.guard, request(path="/cart"))).status == 401
    assert setup.app.users == [None, "alice"]
    assert checks(setup.guard) == {"anonymous": 1, "accepted": 1, "missing": 1}


@pytest.mark.anyio
async def test_only_what_is_required_needs_a_token():
    setup = Setup(require=["/admin/**"])
    assert (await drive(setup.guard, request(path="/shop"))).status == 200
    assert (await drive(setup.guard, request(path="/admin/users"))).status == 401


@pytest.mark.anyio
async def test_a_bad_token_is_refused_on_an_optional_path_too():
    setup = Setup(optional=["/shop"])
    assert (await drive(setup.guard, request("unknown", path="/shop"))).status == 401
    assert (await drive(setup.guard, request(b"two words", path="/shop"))).status == 400


@pytest.mark.anyio
async def test_a_stale_cookie_does_not_keep_anybody_from_the_login_page():
    setup = Setup(optional=["/login"], extract=CookieToken("session"))
    stale = [(b"cookie", b"session=stale")]
    assert (await drive(setup.guard, http_scope(path="/login", headers=stale))).status == 200
    assert (await drive(setup.guard, http_scope(path="/", headers=stale))).status == 401
    setup.store.error = DOWN
    assert (await drive(setup.guard, http_scope(path="/login", headers=stale))).status == 200
    assert setup.app.users == [None, None]


@pytest.mark.anyio
async def test_nothing_is_looked_for_on_an_excluded_path():
    setup = Setup(exclude="/health")
    token = await setup.issue()
    assert (await drive(setup.guard, request(token, path="/health"))).status == 200
    assert setup.app.users == [None]
    assert setup.store.asked == []


@pytest.mark.anyio
async def test_preflights_pass_only_where_that_was_asked_for():
    headers = [(b"origin", b"https://shop.example.org"), (b"access-control-request-method", b"PUT")]
    preflight = http_scope("OPTIONS", headers=headers)
    assert (await drive(Setup().guard, preflight)).status == 401
    setup = Setup(preflight=True)
    assert (await drive(setup.guard, preflight)).status == 200
    for scope in (
        http_scope("OPTIONS"),
        http_scope("PUT", headers=headers),
        http_scope("OPTIONS", headers=headers[:1]),
    ):
        assert (await drive(setup.guard, scope)).status == 401


# What is yours to decide


@pytest.mark.anyio
async def test_a_function_of_yours_finds_the_token_and_may_be_asynchronous():
    async def extract(scope: Any) -> TokenIdentity | None:
        await anyio.lowlevel.checkpoint()
        found = dict(scope["headers"]).get(b"x-token")
        return None if found is None else TokenIdentity(jti=found.decode())

    setup = Setup(extract=extract)
    token = await setup.issue()
    assert (await drive(setup.guard, http_scope(headers=[(b"x-token", token.jti.encode())]))).status == 200
    assert (await drive(setup.guard, http_scope(headers=[(b"x-token", b"no")]))).status == 401
    assert (await drive(setup.guard, http_scope(headers=[]))).status == 401
    assert setup.app.users == ["alice"]


@pytest.mark.anyio
@pytest.mark.parametrize(("error", "status"), [(InvalidTokenError("x"), 401), (MalformedCredentialsError("x"), 400)])
async def test_a_function_of_yours_can_refuse(error, status):
    def extract(scope: Any) -> None:
        raise error

    assert (await drive(Setup(extract=extract).guard, request())).status == status


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", ["raises", "returns a text"])
async def test_a_function_of_yours_that_fails_lets_nobody_in_and_tells_nothing_of_the_token(wrong, caplog):
    class SecretError(Exception):
        pass

    def extract(scope: Any) -> Any:
        found = BearerTokens().read(scope)
        if wrong == "raises":
            raise SecretError(found)
        return found

    setup = Setup(extract=extract)
    before = sum(faults.counts().values())
    driven = await drive(setup.guard, request("s3cr3t-token"))
    assert driven.status == 503
    assert sum(faults.counts().values()) == before + 1
    assert setup.app.users == []
    assert "s3cr3t" not in caplog.text


@pytest.mark.anyio
async def test_a_refusal_can_be_yours():
    seen: list[Rejection] = []

    def on_reject(rejection: Rejection, scope: Any) -> Any:
        seen.append(rejection)
        return Refusal(303, "See Other", headers=[(b"location", b"/login")]) if scope["path"] == "/" else None

    setup = Setup(on_reject=on_reject)
    driven = await drive(setup.guard, request())
    assert (driven.status, driven.header(b"location")) == (303, [b"/login"])
    assert (await drive(setup.guard, request("unknown", path="/api"))).status == 401
    assert [(rejection.status, rejection.error) for rejection in seen] == [(401, None), (401, "invalid_token")]
    assert setup.app.users == []


@pytest.mark.anyio
async def test_a_refusal_of_yours_that_fails_is_still_a_refusal():
    def on_reject(rejection: Any, scope: Any) -> Any:
        raise LookupError("broken on purpose")

    setup = Setup(on_reject=on_reject)
    assert (await drive(setup.guard, request())).status == 401
    assert setup.app.users == []


# The store is down


@pytest.mark.anyio
async def test_when_the_store_has_failed_nobody_gets_in_and_clients_are_told_to_come_back():
    setup = Setup()
    token = await setup.issue()
    setup.store.error = DOWN
    driven = await drive(setup.guard, request(token))
    assert (driven.status, driven.header(b"retry-after")) == (503, [b"5"])
    assert driven.header(b"www-authenticate") == []
    assert setup.app.users == []
    assert checks(setup.guard) == {"failed_closed": 1}
    assert faults.counts()["tokens.store", "StoreUnavailableError"] > 0
    setup.store.error = None
    assert (await drive(setup.guard, request(token))).status == 200


@pytest.mark.anyio
async def test_a_websocket_is_told_to_come_back_too():
    setup = Setup()
    setup.store.error = DOWN
    driven = await drive(setup.guard, websocket_scope(headers=bearer("any")))
    assert driven.sent == [{"type": "websocket.close", "code": 1013, "reason": ""}]


@pytest.mark.anyio
async def test_open_lets_in_who_proves_it_and_refuses_a_text_that_anybody_could_write():
    def extract(scope: Any) -> TokenIdentity | None:
        found = BearerTokens()(scope)
        return found and TokenIdentity(jti=found.jti, user_id="alice", verified=found.jti == "signed")

    setup = Setup(extract=extract, on_store_failure="open")
    setup.store.error = DOWN
    assert (await drive(setup.guard, request("signed"))).status == 200
    assert (await drive(setup.guard, request("opaque"))).status == 503
    assert (await drive(setup.guard, request())).status == 401
    assert setup.app.users == ["alice"]
    assert checks(setup.guard) == {"failed_open": 1, "failed_closed": 1, "missing": 1}


@pytest.mark.anyio
async def test_a_store_that_fails_in_an_unknown_way_lets_nobody_in_where_it_is_open_either():
    def extract(scope: Any) -> TokenIdentity:
        return TokenIdentity(jti="signed", user_id="alice", verified=True)

    setup = Setup(extract=extract, on_store_failure="open")
    setup.store.error = ZeroDivisionError()
    assert (await drive(setup.guard, request())).status == 503
    assert setup.app.users == []


# Tokens in use


@pytest.mark.anyio
async def test_a_token_in_use_is_touched_after_the_response_and_not_every_time():
    setup = Setup()
    token = await setup.issue()
    await drive(setup.guard, request(token))
    assert setup.store.asked == ["get"]
    setup.clock.advance(61)
    await drive(setup.guard, request(token))
    await drive(setup.guard, request(token))
    assert setup.store.asked == ["get", "get", "touch", "get"]
    found = await setup.store.get(token.jti)
    assert found is not None
    assert found.last_used_at == setup.clock()


@pytest.mark.anyio
async def test_a_token_whose_answer_is_kept_is_not_touched_more_often_for_that():
    setup = Setup(cache_seconds=60)
    token = await setup.issue()
    await drive(setup.guard, request(token))
    setup.clock.advance(61)
    setup.store.asked.clear()
    for _ in range(5):
        await drive(setup.guard, request(token))
    assert setup.store.asked == ["get", "touch", "get"]


@pytest.mark.anyio
async def test_the_response_does_not_wait_for_the_touch_and_an_error_in_it_is_a_fault():
    setup = Setup()
    token = await setup.issue()
    setup.clock.advance(61)
    order: list[str] = []

    async def touch(*args: Any, **named: Any) -> bool:
        order.append("touch")
        raise DOWN

    setup.store.touch = touch  # type: ignore[method-assign]
    before = faults.counts().get(("tokens.settle", "StoreUnavailableError"), 0)
    driven = await drive(setup.guard, request(token), on_send=lambda message: order.append(message["type"]))
    assert (driven.status, driven.error) == (200, None)
    assert order == ["http.response.start", "http.response.body", "touch"]
    assert faults.counts()["tokens.settle", "StoreUnavailableError"] == before + 1


@pytest.mark.anyio
async def test_nothing_is_touched_where_that_is_switched_off():
    setup = Setup(touch=False)
    token = await setup.issue()
    setup.clock.advance(61)
    await drive(setup.guard, request(token))
    assert setup.store.asked == ["get"]


# What others learn


def stack(setup: Setup, lines: io.StringIO, recorder: Any, app: Any = None, **options: Any) -> InfraMiddleware:
    return InfraMiddleware(
        setup.app if app is None else app,
        tracing=Tracing(tracer_provider=recorder.provider),
        metrics=Metrics(registry=CollectorRegistry()),
        access_log=AccessLog(stream=lines, replace_server_log=False),
        **options,
    )


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["one pass", "inner middleware", "outer middleware"])
async def test_the_line_and_the_span_name_the_user_and_nothing_shows_the_token(how, recorder):
    setup, lines = Setup(), io.StringIO()
    token = await setup.issue()
    tokens = Tokens(setup.store, registry=CollectorRegistry(), clock=setup.clock)
    if how == "one pass":
        app: Any = stack(setup, lines, recorder, tokens=tokens)
    elif how == "inner middleware":
        app = stack(setup, lines, recorder, setup.guard)
    else:
        app = guarded(stack(setup, lines, recorder), setup.store, clock=setup.clock)
    driven = await drive(app, request(token, path="/x"))
    assert driven.status == 200
    assert json.loads(lines.getvalue())["user_id"] == "alice"
    (span,) = recorder.spans
    assert span.attributes["user.id"] == "alice"
    assert token.jti not in lines.getvalue() + span.to_json() + repr(setup.app.tokens) + repr(
        driven.scope["asgi_infra"]
    )


@pytest.mark.anyio
async def test_a_refusal_is_a_request_like_any_other_in_log_and_span(recorder):
    setup, lines = Setup(), io.StringIO()
    tokens = Tokens(setup.store, registry=CollectorRegistry(), clock=setup.clock)
    driven = await drive(stack(setup, lines, recorder, tokens=tokens), request("s3cr3t-token"))
    line = json.loads(lines.getvalue())
    assert (driven.status, line["status"], line["outcome"]) == (401, 401, "ok")
    assert "user_id" not in line
    assert driven.header(b"x-request-id") == [line["request_id"].encode()]
    (span,) = recorder.spans
    assert span.attributes["http.response.status_code"] == 401
    assert "s3cr3t" not in lines.getvalue() + span.to_json()


def test_the_counters_show_in_the_registry_and_are_shared():
    registry, app = CollectorRegistry(), Visited()
    for _ in range(2):
        run(guarded(app, InMemoryTokenStore(), registry=registry), request())
    assert b'asgi_infra_token_checks_total{result="missing"} 2.0' in generate_latest(registry)


# Several of them


@pytest.mark.anyio
@pytest.mark.parametrize("nested", [False, True])
async def test_the_demands_of_several_middlewares_all_hold(nested):
    outer, inner = Setup(optional=["/**"]), Setup()
    inner.guard.app = inner.app
    app: Any = guarded(inner.guard, outer.store, optional=["/**"], clock=outer.clock)
    if nested:
        tokens = Tokens(outer.store, optional=["/**"], registry=CollectorRegistry(), clock=outer.clock)
        app = InfraMiddleware(
            inner.guard,
            tracing=Tracing(tracer_provider=TracerProvider(shutdown_on_exit=False)),
            metrics=False,
            access_log=False,
            tokens=tokens,
        )
    assert (await drive(app, request())).status == 401
    token = issued(outer.clock, user_id="bob")
    await outer.store.save(token)
    assert (await drive(app, request(token))).status == 401  # known outside, unknown further in
    await inner.store.save(token)
    assert (await drive(app, request(token))).status == 200
    assert inner.app.users == ["bob"]


def test_get_token_takes_a_request_and_knows_when_there_is_none():
    class Request:
        def __init__(self) -> None:
            self.scope = {"type": "http"}

    identity = TokenIdentity(jti="x", user_id="alice")
    assert get_token(Request()) is None
    assert get_token({"asgi_infra": {"token": identity}}) is identity
    assert get_token({"asgi_infra": "other"}) is None


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"store": "memory://"},
        {"extract": "bearer"},
        {"mode": "allowed"},
        {"mode": "denied"},
        {"mode": "denied", "extract": CookieToken("session")},
        {"on_store_failure": "ignore"},
        {"cache_seconds": -1},
        {"cache_seconds": 61},
        {"realm": 'quo"te'},
        {"realm": "new\nline"},
        {"touch": "yes"},
        {"preflight": 1},
        {"require_generation": None},
        {"on_reject": "never"},
        {"require": "admin"},
        {"optional": ["/a/**b"]},
        {"registry": "default"},
        {"clock": 7},
    ],
    ids=str,
)
def test_a_wrong_option_is_named(options):
    with pytest.raises(ConfigurationError) as raised:
        guarded(Visited(), **{"store": InMemoryTokenStore(), **options})
    assert [name for name in options if name in str(raised.value)]
    assert isinstance(raised.value, ValueError)


def test_a_foreign_metric_of_the_name_is_told():
    from prometheus_client import Counter

    registry = CollectorRegistry()
    Counter("asgi_infra_token_checks", "Something else.", registry=registry)
    with pytest.raises(ConfigurationError, match="registry"):
        guarded(Visited(), InMemoryTokenStore(), registry=registry)


def test_the_stack_takes_tokens_and_nothing_else():
    with pytest.raises(ConfigurationError, match="tokens must be None or Tokens"):
        InfraMiddleware(Visited(), tokens=True)  # type: ignore[arg-type]


def test_the_middleware_takes_the_global_registry_by_default():
    TokenMiddleware(Visited(), store=InMemoryTokenStore())
    assert b"asgi_infra_token_checks_total" in generate_latest()
