"""Log in, refresh, list the devices, log out here or everywhere: sessions in a token store.

The token is opaque: it is the `jti` of what is stored. `TokenMiddleware` guards everything below `/session`; logging in
and refreshing check for themselves, since who refreshes may hold a token that was just replaced.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from asgi_infra.middleware.tokens import get_token
from asgi_infra.tokens import RotationStatus, StoredToken
from asgi_infra.tokens.identity import CredentialsError
from asgi_infra.tokens.presented import BearerTokens

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from asgi_infra.tokens import TokenStore
    from asgi_infra.tokens.identity import TokenIdentity

OPEN = ("/login", "/login/refresh")
"""The paths that no token guards."""

_LIFETIME = timedelta(days=30)
_NO_STORE = {"Cache-Control": "no-store"}
_SALT = b"one of each user's own, in a real shop"
_PASSWORDS = {"amy": hashlib.scrypt(b"green-tea", salt=_SALT, n=2**12, r=8, p=1)}


class Sessions:
    """The endpoints around one token store.

    Args:
        store: Where the sessions are kept.
    """

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._bearer = BearerTokens()

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.log_in, methods=["POST"]),
            Route("/login/refresh", self.refresh, methods=["POST"]),
            Route("/session/devices", self.list_devices),
            Route("/session/devices/{family}", self.forget_device, methods=["DELETE"]),
            Route("/session/logout", self.log_out, methods=["POST"]),
            Route("/session/logout-everywhere", self.log_out_everywhere, methods=["POST"]),
        ]

    async def log_in(self, request: Request) -> Response:
        try:
            body = await request.json()
            user, password, device = str(body["user"]), str(body["password"]), str(body.get("device", "unknown"))
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise HTTPException(422, "send a JSON object with user and password") from exc
        if not await asyncio.to_thread(_is_password_of, user, password):
            raise HTTPException(401, "no such user, or another password")
        client = request.client
        token = StoredToken.issue(
            user, lifetime=_LIFETIME, metadata={"device": device[:100], "address": client.host if client else None}
        )
        await self._store.save(token)
        return JSONResponse({"token": token.jti}, 201, headers=_NO_STORE)

    async def refresh(self, request: Request) -> Response:
        try:
            presented = self._bearer.read(request.scope)
        except CredentialsError as exc:
            raise HTTPException(401, "present a token") from exc
        rotation = await self._store.rotate(presented or "", lambda token: token.successor())
        if rotation.token is None:
            again = rotation.status is RotationStatus.REUSED
            raise HTTPException(401, "the token was used before: its session is over" if again else "no such token")
        return JSONResponse({"token": rotation.token.jti}, headers=_NO_STORE)

    async def list_devices(self, request: Request) -> Response:
        current = _current(request)
        tokens = await self._store.list_for_user(_user(current))
        return JSONResponse(
            [
                {
                    "id": token.family_id,
                    "device": token.metadata.get("device"),
                    "since": token.issued_at.isoformat(),
                    "this": current.stored is not None and token.family_id == current.stored.family_id,
                }
                for token in tokens
            ]
        )

    async def forget_device(self, request: Request) -> Response:
        # With the user: nobody logs out others.
        revoked = await self._store.revoke_family(
            request.path_params["family"], user_id=_user(_current(request)), reason="forgotten by the user"
        )
        if not revoked:
            raise HTTPException(404, "no such device")
        return JSONResponse({"revoked": revoked})

    async def log_out(self, request: Request) -> Response:
        current = _current(request)
        revoked = await self._store.revoke(current.jti, user_id=_user(current), reason="logged out")
        return JSONResponse({"revoked": int(revoked)})

    async def log_out_everywhere(self, request: Request) -> Response:
        revoked = await self._store.revoke_all_for_user(_user(_current(request)), reason="logged out everywhere")
        return JSONResponse({"revoked": revoked})


def _current(request: Request) -> TokenIdentity:
    token = get_token(request)
    if token is None:
        raise HTTPException(401, "log in first")
    return token


def _user(token: TokenIdentity) -> str:
    if token.user_id is None:
        raise HTTPException(401, "log in first")
    return token.user_id


def _is_password_of(user: str, password: str) -> bool:
    digest = hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=_SALT, n=2**12, r=8, p=1)
    # Unknown users take as long as known ones.
    return hmac.compare_digest(digest, _PASSWORDS.get(user, b"")) and user in _PASSWORDS
