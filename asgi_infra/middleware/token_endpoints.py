"""Introspection (RFC 7662) and revocation (RFC 7009) of tokens, as one ASGI application to mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError, TokenStoreError
from asgi_infra.middleware.token_checks import find_not_denied, find_stored
from asgi_infra.options import require_integer, shown
from asgi_infra.paths import app_path
from asgi_infra.tokens.contract import TokenStore
from asgi_infra.tokens.identifiers import digest_in
from asgi_infra.tokens.identity import CredentialsError, TokenIdentity
from asgi_infra.tokens.model import MAX_IDENTIFIER

if TYPE_CHECKING:
    from asgi_infra.types import ASGIApp, RawHeaders, Receive, Scope, Send

Authenticate: TypeAlias = "Callable[[Scope, Mapping[str, str]], str | Awaitable[str | None] | None]"
"""Takes scope and form; returns the id of the client, or `None` for nobody."""
Resolve: TypeAlias = Callable[[str], "TokenIdentity | Awaitable[TokenIdentity | None] | None"]
"""Takes a token; returns which one it is. `None` and a `CredentialsError` mean that it is no good."""
Describe: TypeAlias = Callable[[TokenIdentity, str], "Mapping[str, Any] | None"]
"""Takes an active token and the client that asks; returns more members, or `None` when it is none of its business."""

_MAX_FIELDS: Final = 32
_RETRY_AFTER: Final = b"5"


def token_endpoints(
    store: TokenStore,
    *,
    authenticate: Authenticate | None = None,
    resolve: Resolve | None = None,
    mode: Literal["stored", "denied"] = "stored",
    describe: Describe | None = None,
    max_body: int = 16_384,
) -> ASGIApp:
    """Return an ASGI application with the endpoints `/introspect` and `/revoke`.

    Both take a form by POST with the parameter `token`, of an authenticated client. What is told of a token that is not
    active is `{"active": false}` and nothing more. Revoking a token revokes its family; what is not known is revoked
    already.

    Args:
        store: The token store.
        authenticate: Says which client asks, and may be asynchronous; see `client_secret_basic`. Without one nobody is
            answered.
        resolve: Says which token a text is, and may be asynchronous; by default the text is the `jti`. For JWTs give
            `JWTVerifier(...).verify`.
        mode: `"stored"` or `"denied"`, as for `TokenMiddleware`.
        describe: Adds members to the description of an active token, such as `scope`.
        max_body: The most bytes of a form.

    Raises:
        ConfigurationError: An option is wrong.

    Example:
        >>> app.mount("/oauth", token_endpoints(store, authenticate=client_secret_basic({"shop": secret})))
    """
    if not isinstance(store, TokenStore):
        raise ConfigurationError(f"store must be a TokenStore, such as InMemoryTokenStore(), not {shown(store)}")
    for name, hook in (("authenticate", authenticate), ("resolve", resolve), ("describe", describe)):
        if hook is not None and not callable(hook):
            raise ConfigurationError(f"{name} must be callable, not {shown(hook)}")
    if mode not in ("stored", "denied"):
        raise ConfigurationError(f"mode must be 'stored' or 'denied', not {shown(mode)}")
    if mode == "denied" and resolve is None:
        raise ConfigurationError("resolve must be given with mode='denied', for example JWTVerifier(...).verify")
    require_integer("max_body", max_body, minimum=1)
    return _Endpoints(store, authenticate, resolve or _opaque, describe, stored=mode == "stored", max_body=max_body)


class _Answer(Exception):  # noqa: N818 - it is no error of ours
    """What to answer in place of the usual."""

    def __init__(self, status: int, error: str, description: str, headers: RawHeaders | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.document = {"error": error, "error_description": description}
        self.headers = headers or []


class _Endpoints:
    def __init__(
        self,
        store: TokenStore,
        authenticate: Authenticate | None,
        resolve: Resolve,
        describe: Describe | None,
        *,
        stored: bool,
        max_body: int,
    ) -> None:
        self._store = store
        self._authenticate = authenticate
        self._resolve = resolve
        self._describe = describe
        self._stored = stored
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        status, headers, document = 200, list[tuple[bytes, bytes]](), None
        try:
            document = await self._answer(scope, receive)
        except _Answer as answer:
            status, headers, document = answer.status, answer.headers, answer.document
        except TokenStoreError as exc:
            faults.record("token_endpoints.store", exc, consequence="the client was told to try again")
            status, headers = 503, [(b"retry-after", _RETRY_AFTER)]
            document = {"error": "temporarily_unavailable"}
        await _send(send, status, headers, document)

    async def _answer(self, scope: Scope, receive: Receive) -> dict[str, Any] | None:
        act = {"/introspect": self._introspect, "/revoke": self._revoke}.get(app_path(scope))
        if act is None:
            raise _Answer(404, "not_found", "There is nothing here; /introspect and /revoke are.")
        if scope["method"] != "POST":
            raise _Answer(405, "invalid_request", "The method must be POST.", [(b"allow", b"POST")])
        form = await self._form(scope, receive)
        client = None if self._authenticate is None else await _awaited(self._authenticate(scope, form))
        if not isinstance(client, str) or not client:
            challenge = [(b"www-authenticate", b'Basic realm="tokens", charset="UTF-8"')]
            raise _Answer(401, "invalid_client", "The client is not authenticated.", challenge)
        token = form.get("token")
        if not token:
            raise _Answer(400, "invalid_request", "The parameter token is missing.")
        try:
            identity = await _awaited(self._resolve(token))
        except CredentialsError:
            identity = None
        return await act(identity, client)

    async def _form(self, scope: Scope, receive: Receive) -> dict[str, str]:
        types = [value for name, value in scope["headers"] if name.lower() == b"content-type"]
        kind = types[0].partition(b";")[0].strip().lower() if len(types) == 1 else b""
        if kind != b"application/x-www-form-urlencoded":
            raise _Answer(400, "invalid_request", "The content must be of type application/x-www-form-urlencoded.")
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _Answer(400, "invalid_request", "The request is not complete.")
            body += message.get("body") or b""
            if len(body) > self._max_body:
                raise _Answer(413, "invalid_request", "The form is too large.")
            if not message.get("more_body"):
                break
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise _Answer(400, "invalid_request", "The form can't be read.") from None
        form = dict(pairs)
        if len(form) != len(pairs):  # RFC 6749, section 3.2
            raise _Answer(400, "invalid_request", "A parameter is there more than once.")
        return form

    async def _introspect(self, identity: TokenIdentity | None, client: str) -> dict[str, Any]:
        active = None if identity is None else await self._active(identity)
        more = {} if active is None or self._describe is None else self._describe(active, client)
        if active is None or more is None:
            return {"active": False}
        stored = active.stored
        described = {
            "sub": active.user_id,
            "client_id": stored.client_id if stored is not None else active.claims.get("client_id"),
            "exp": None if active.expires_at is None else int(active.expires_at.timestamp()),
            "iat": int(stored.issued_at.timestamp()) if stored is not None else active.claims.get("iat"),
            "iss": active.claims.get("iss"),
            "aud": active.claims.get("aud"),
        }
        known = {name: value for name, value in described.items() if value is not None}
        return {"active": True, **known, **more}

    async def _active(self, identity: TokenIdentity) -> TokenIdentity | None:
        find = find_stored if self._stored else find_not_denied
        return await find(self._store, identity)

    async def _revoke(self, identity: TokenIdentity | None, client: str) -> None:
        if identity is None:
            return
        if not self._stored:
            if identity.expires_at is not None and identity.verified:
                await self._store.deny(identity.jti, identity.expires_at)
            return
        if digest_in(identity.jti) is not None:  # a handle from a list is no token
            return
        token = await self._store.get(identity.jti, user_id=identity.user_id)
        if token is None:  # unknown, or used before: the family of a used token goes, too
            await self._store.revoke(identity.jti, user_id=identity.user_id, reason="revocation endpoint")
        elif token.client_id not in (None, client):
            raise _Answer(400, "invalid_grant", "The token was issued to another client.")
        else:
            await self._store.revoke_family(token.family_id, user_id=token.user_id, reason="revocation endpoint")


def _opaque(token: str) -> TokenIdentity | None:
    return TokenIdentity(jti=token) if len(token) <= MAX_IDENTIFIER else None


async def _awaited(value: Any) -> Any:
    return await value if isawaitable(value) else value


async def _send(send: Send, status: int, headers: RawHeaders, document: dict[str, Any] | None) -> None:
    body = b"" if document is None else msgspec.json.encode(document)
    usual = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"pragma", b"no-cache"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*usual, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
