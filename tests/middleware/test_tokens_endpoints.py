"""Introspection and revocation over HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_driver import DOWN, Moody, issued, new_clock

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.client_auth import client_secret_basic
from asgi_infra.middleware.token_endpoints import token_endpoints
from asgi_infra.testing import Driven, drive, http_scope, run, websocket_scope
from asgi_infra.tokens import InMemoryTokenStore
from asgi_infra.tokens.identifiers import Hashing, handle_of
from asgi_infra.tokens.identity import InvalidTokenError, TokenIdentity

SECRET = "an-example-secret"
FORM = (b"content-type", b"application/x-www-form-urlencoded")


def basic(name: str = "shop", secret: str = SECRET) -> tuple[bytes, bytes]:
    pair = f"{quote_plus(name)}:{quote_plus(secret)}".encode()
    return (b"authorization", b"Basic " + base64.b64encode(pair))


def post(path: str, *headers: tuple[bytes, bytes], method: str = "POST", **changes: Any) -> dict[str, Any]:
    return http_scope(method, path, headers=list(headers or (FORM, basic())), **changes)


def body(*chunks: bytes) -> list[dict[str, Any]]:
    last = len(chunks) - 1
    return [{"type": "http.request", "body": chunk, "more_body": at < last} for at, chunk in enumerate(chunks)]


class Setup:
    def __init__(self, **options: Any) -> None:
        self.clock = new_clock()
        self.store = Moody(clock=self.clock)
        self.app = token_endpoints(
            self.store, **{"authenticate": client_secret_basic({"shop": SECRET, "till": SECRET * 2}), **options}
        )

    async def issue(self, **named: Any) -> Any:
        token = issued(self.clock, **named)
        await self.store.save(token)
        return token

    async def ask(self, path: str, token: Any, *headers: tuple[bytes, bytes], **more: str) -> Driven:
        text = token if isinstance(token, str) else token.jti
        form = urlencode({"token": text, **more}).encode()
        return await drive(self.app, post(path, *headers), body(form))

    async def introspect(self, token: Any, *headers: tuple[bytes, bytes], **more: str) -> dict[str, Any]:
        driven = await self.ask("/introspect", token, *headers, **more)
        assert driven.status == 200
        assert driven.header(b"content-type") == [b"application/json"]
        assert driven.header(b"cache-control") == [b"no-store"]
        answer: dict[str, Any] = json.loads(driven.body)
        return answer


# Introspection


@pytest.mark.anyio
async def test_an_active_token_is_described():
    setup = Setup()
    token = await setup.issue(client_id="shop")
    assert await setup.introspect(token, token_type_hint="anything") == {
        "active": True,
        "sub": "alice",
        "client_id": "shop",
        "exp": int(token.expires_at.timestamp()),
        "iat": int(token.issued_at.timestamp()),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("why", ["unknown", "expired", "revoked", "rotated", "long"])
async def test_of_a_token_that_is_not_active_nothing_more_is_told(why):
    setup = Setup()
    token: Any = await setup.issue()
    if why == "expired":
        setup.clock.advance(3600)
    elif why == "revoked":
        await setup.store.revoke(token.jti)
    elif why == "rotated":
        await setup.store.rotate(token.jti, lambda token: token.successor(clock=setup.clock))
    else:
        token = "unknown" if why == "unknown" else "x" * 10_000
    driven = await setup.ask("/introspect", token)
    assert (driven.status, driven.body) == (200, b'{"active":false}')


@pytest.mark.anyio
async def test_you_can_tell_more_or_tell_it_to_some():
    def describe(identity: TokenIdentity, client: str) -> dict[str, Any] | None:
        return {"scope": "read", "aud": client} if client == "shop" else None

    setup = Setup(describe=describe)
    token = await setup.issue()
    told = await setup.introspect(token)
    assert (told["scope"], told["aud"]) == ("read", "shop")
    assert await setup.introspect(token, FORM, basic("till", SECRET * 2)) == {"active": False}


# Revocation


@pytest.mark.anyio
async def test_a_revoked_token_is_gone_with_its_family():
    setup = Setup()
    token = await setup.issue(client_id="shop")
    rotation = await setup.store.rotate(token.jti, lambda token: token.successor(clock=setup.clock))
    assert rotation.token is not None
    driven = await setup.ask("/revoke", rotation.token)
    assert (driven.status, driven.body) == (200, b"")
    assert driven.header(b"cache-control") == [b"no-store"]
    assert await setup.store.list_for_user("alice") == []


@pytest.mark.anyio
async def test_a_used_token_takes_its_family_along():
    setup = Setup()
    token, other = await setup.issue(), await setup.issue()
    await setup.store.rotate(token.jti, lambda token: token.successor(clock=setup.clock))
    assert (await setup.ask("/revoke", token)).status == 200
    (left,) = await setup.store.list_for_user("alice")
    assert left.family_id == other.family_id


@pytest.mark.anyio
@pytest.mark.parametrize("token", ["unknown", "x" * 10_000, "ä", "\x00"])
async def test_a_token_that_is_not_known_is_revoked_already(token):
    assert (await Setup().ask("/revoke", token)).status == 200


@pytest.mark.anyio
async def test_a_handle_from_a_list_of_devices_is_no_token():
    setup = Setup()
    token = await setup.issue(client_id="till")
    handle = handle_of(Hashing().digest(token.jti))
    assert (await setup.ask("/revoke", handle)).status == 200
    assert await setup.introspect(handle) == {"active": False}
    assert await setup.store.get(token.jti) is not None
    assert await setup.store.revoke(handle)


@pytest.mark.anyio
async def test_a_client_can_not_revoke_the_token_of_another():
    setup = Setup()
    token = await setup.issue(client_id="till")
    driven = await setup.ask("/revoke", token)
    assert (driven.status, json.loads(driven.body)["error"]) == (400, "invalid_grant")
    assert await setup.store.get(token.jti) is not None
    assert (await setup.ask("/revoke", token, FORM, basic("till", SECRET * 2))).status == 200
    assert await setup.store.get(token.jti) is None


# JWTs


@pytest.mark.anyio
async def test_a_signed_token_may_have_an_identifier_of_any_form():
    clock = new_clock()
    jti = "~" + "A" * 22

    def resolve(token: str) -> TokenIdentity:
        return TokenIdentity(jti=jti, user_id="alice", verified=True, expires_at=clock.after(60))

    store = Moody(clock=clock)
    app = token_endpoints(store, authenticate=lambda scope, form: "shop", resolve=resolve, mode="denied")
    await drive(app, post("/revoke"), body(b"token=signed"))
    assert await store.is_denied(jti)


@pytest.mark.anyio
async def test_signed_tokens_are_denied_and_described_by_what_they_say():
    clock = new_clock()

    async def resolve(token: str) -> TokenIdentity:
        if token != "signed":
            raise InvalidTokenError("the token is not signed")
        claims = {"iss": "https://id.example.org", "aud": "shop", "iat": 1, "client_id": "till"}
        return TokenIdentity(jti="a-1", user_id="alice", verified=True, expires_at=clock.after(60), claims=claims)

    store = Moody(clock=clock)
    app = token_endpoints(store, authenticate=lambda scope, form: "shop", resolve=resolve, mode="denied")

    async def ask(path: str, token: str) -> Any:
        driven = await drive(app, post(path), body(urlencode({"token": token}).encode()))
        assert driven.status == 200
        return json.loads(driven.body) if driven.body else None

    told = await ask("/introspect", "signed")
    assert told == {
        "active": True,
        "sub": "alice",
        "iss": "https://id.example.org",
        "aud": "shop",
        "iat": 1,
        "client_id": "till",
        "exp": int(clock.after(60).timestamp()),
    }
    assert await ask("/introspect", "forged") == {"active": False}
    await ask("/revoke", "forged")
    assert await ask("/introspect", "signed") == told
    await ask("/revoke", "signed")
    assert await ask("/introspect", "signed") == {"active": False}
    assert await store.is_denied("a-1")


# Clients


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/introspect", "/revoke"])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [basic("shop", "wrong-secret-wrong")],
        [basic("nobody")],
        [basic("shop", SECRET * 2)],
        [basic("", "")],
        [basic(), basic()],
        [(b"authorization", b"Basic !!!")],
        [(b"authorization", b"Basic " + base64.b64encode(b"shop"))],
        [(b"authorization", b"Basic " + base64.b64encode(b"\xff:\xff"))],
        [(b"authorization", b"Bearer " + SECRET.encode())],
        [(b"authorization", b"Basic " + b"A" * 10_000)],
    ],
    ids=repr,
)
async def test_who_is_no_client_is_told_nothing(path, headers):
    setup = Setup()
    token = await setup.issue()
    driven = await setup.ask(path, token, FORM, *headers)
    assert (driven.status, json.loads(driven.body)["error"]) == (401, "invalid_client")
    assert driven.header(b"www-authenticate") == [b'Basic realm="tokens", charset="UTF-8"']
    assert setup.store.asked == []
    assert await setup.store.get(token.jti) is not None


@pytest.mark.anyio
async def test_without_authentication_nobody_is_answered():
    setup = Setup(authenticate=None)
    token = await setup.issue()
    for path in ("/introspect", "/revoke"):
        assert (await setup.ask(path, token)).status == 401
    assert await setup.store.get(token.jti) is not None


@pytest.mark.anyio
async def test_an_answer_that_is_no_name_is_nobody():
    for nobody in (True, 7, ""):
        setup = Setup(authenticate=lambda scope, form, nobody=nobody: nobody)
        assert (await setup.ask("/introspect", "x")).status == 401


@pytest.mark.anyio
async def test_clients_can_be_authenticated_by_what_stands_in_the_form():
    async def authenticate(scope: Any, form: Any) -> str | None:
        return "shop" if form.get("client_assertion") == "good" else None

    setup = Setup(authenticate=authenticate)
    assert (await setup.ask("/introspect", "x", client_assertion="good")).status == 200
    assert (await setup.ask("/introspect", "x", client_assertion="bad")).status == 401


@given(name=st.text(min_size=1), secret=st.text(min_size=16))
def test_ids_and_secrets_may_hold_anything(name, secret):
    try:
        header = basic(name, secret)
    except UnicodeEncodeError:  # a lone surrogate has no form in UTF-8
        return
    authenticate = client_secret_basic({name: secret, "other": SECRET})
    assert authenticate({"headers": [header]}, {}) == name
    assert authenticate({"headers": [basic(name, secret + "x")]}, {}) is None


@pytest.mark.parametrize("clients", [{}, None, {"": SECRET}, {"shop": "short"}, {"shop": None}, {7: SECRET}, ["shop"]])
def test_clients_must_have_secrets_that_are_long_enough(clients):
    with pytest.raises(ConfigurationError) as raised:
        client_secret_basic(clients)
    assert "short" not in str(raised.value).replace("shorter", "")


# The form of the request


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", "/introspect/", "/INTROSPECT", "/x/revoke", ""])
async def test_there_is_nothing_at_other_paths(path):
    assert (await Setup().ask(path, "x")).status == 404


@pytest.mark.anyio
async def test_it_can_be_mounted():
    driven = await drive(Setup().app, post("/oauth/introspect", root_path="/oauth"), body(b"token=x"))
    assert driven.status == 200


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"])
async def test_only_post_is_answered(method):
    scope = post("/introspect", method=method, query_string=b"token=x")
    driven = await drive(Setup().app, scope)
    assert (driven.status, driven.header(b"allow")) == (405, [b"POST"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "status"),
    [
        (b"", 400),
        (b"token", 400),
        (b"token=", 400),
        (b"other=x", 400),
        (b"token=x&token=x", 400),
        (b"token=x&a=1&a=2", 400),
        (b"token=%ff", 400),
        (b"token=\xff", 400),
        (b"&".join(b"a%d=1" % number for number in range(100)) + b"&token=x", 400),
        (b"token=" + b"x" * 20_000, 413),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_form_that_is_wrong_is_an_invalid_request(form, status):
    driven = await drive(Setup().app, post("/introspect"), body(form))
    assert (driven.status, json.loads(driven.body)["error"]) == (status, "invalid_request")


@pytest.mark.anyio
async def test_the_body_is_bounded_however_it_is_cut():
    setup = Setup(max_body=20)
    assert (await drive(setup.app, post("/introspect"), body(b"tok", b"", b"en=x"))).status == 200
    driven = await drive(setup.app, post("/introspect"), body(*[b"token=xxx"] * 1000))
    assert driven.status == 413
    assert len(driven.received) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [b"application/json", b"text/plain", b"multipart/form-data; boundary=x", None])
async def test_other_content_is_refused(kind):
    headers = [basic()] if kind is None else [(b"content-type", kind), basic()]
    driven = await drive(Setup().app, post("/introspect", *headers), body(b'{"token": "x"}'))
    assert (driven.status, json.loads(driven.body)["error"]) == (400, "invalid_request")


@pytest.mark.anyio
async def test_the_type_of_the_content_may_have_parameters():
    kind = (b"content-type", b"Application/x-www-form-urlencoded; charset=UTF-8")
    assert (await drive(Setup().app, post("/introspect", kind, basic()), body(b"token=x"))).status == 200


@pytest.mark.anyio
async def test_a_client_that_goes_away_revokes_nothing():
    setup = Setup()
    token = await setup.issue()
    part = {"type": "http.request", "body": f"token={token.jti}".encode(), "more_body": True}
    driven = await drive(setup.app, post("/revoke"), [part, {"type": "http.disconnect"}])
    assert driven.error is None
    assert await setup.store.get(token.jti) is not None


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/introspect", "/revoke"])
async def test_when_the_store_has_failed_the_client_is_told_to_come_back(path):
    setup = Setup()
    setup.store.error = DOWN
    driven = await setup.ask(path, "x")
    assert (driven.status, driven.header(b"retry-after")) == (503, [b"5"])
    assert json.loads(driven.body) == {"error": "temporarily_unavailable"}


def test_other_scopes_are_served():
    app = token_endpoints(InMemoryTokenStore())
    driven = run(app, {"type": "lifespan"})
    assert [message["type"] for message in driven.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert run(app, websocket_scope("/introspect")).sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    "options",
    [
        {"authenticate": "basic"},
        {"resolve": 7},
        {"describe": []},
        {"mode": "both"},
        {"max_body": 0},
        {"mode": "denied"},
    ],
    ids=str,
)
def test_a_wrong_option_is_named(options):
    with pytest.raises(ConfigurationError, match="resolve" if options == {"mode": "denied"} else next(iter(options))):
        token_endpoints(InMemoryTokenStore(), **options)
    with pytest.raises(ConfigurationError, match="store"):
        token_endpoints("memory://")  # type: ignore[arg-type]
