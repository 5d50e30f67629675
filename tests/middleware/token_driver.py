"""What the tests of token checks share: an application that tells who came, requests, and stores that fail."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from asgi_infra.context import get_user_id
from asgi_infra.middleware.tokens import TokenMiddleware, get_token
from asgi_infra.testing import ManualClock, http_scope
from asgi_infra.tokens import InMemoryTokenStore, StoredToken, StoreUnavailableError

if TYPE_CHECKING:
    from asgi_infra.middleware.tokens import Tokens

DENIAL = {"extensions": {"websocket.http.response": {}}}


class Visited:
    """An application that remembers whom it has seen."""

    def __init__(self) -> None:
        self.users: list[str | None] = []
        self.tokens: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.users.append(get_user_id())
        self.tokens.append(get_token(scope))
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"private"})


class Moody(InMemoryTokenStore):
    """A store that counts what it is asked, waits and fails when it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[str] = []
        self.error: BaseException | None = None
        self.before: Any = None
        self.after: Any = None

    async def _mood(self, name: str) -> None:
        self.asked.append(name)
        if self.before is not None:
            await self.before()
        if self.error is not None:
            raise self.error

    async def get(self, *args: Any, **named: Any) -> Any:
        await self._mood("get")
        answer = await super().get(*args, **named)
        if self.after is not None:
            await self.after()
        return answer

    async def is_denied(self, *args: Any, **named: Any) -> Any:
        await self._mood("is_denied")
        return await super().is_denied(*args, **named)

    async def touch(self, *args: Any, **named: Any) -> Any:
        await self._mood("touch")
        return await super().touch(*args, **named)


DOWN = StoreUnavailableError("the store can't be reached")


def new_clock() -> ManualClock:
    return ManualClock()


def issued(clock: Any, user_id: str = "alice", **named: Any) -> StoredToken:
    return StoredToken.issue(user_id, clock=clock, **{"lifetime": timedelta(hours=1), **named})


def bearer(token: Any, scheme: bytes = b"Bearer") -> list[tuple[bytes, bytes]]:
    jti = token.jti if isinstance(token, StoredToken) else token
    return [(b"authorization", scheme + b" " + (jti if isinstance(jti, bytes) else jti.encode()))]


def request(token: Any = None, path: str = "/", **changes: Any) -> dict[str, Any]:
    return http_scope(path=path, headers=bearer(token) if token is not None else [], **changes)


def guarded(app: Any, store: Any, **options: Any) -> TokenMiddleware:
    options.setdefault("registry", CollectorRegistry())
    return TokenMiddleware(app, store=store, **options)


def checks(middleware: TokenMiddleware) -> dict[str, int]:
    """Return the results that were counted."""
    tokens: Tokens = middleware._plan.observers[0]  # type: ignore[assignment]
    found = {name: int(counter._value.get()) for name, counter in tokens._checks.items()}
    return {name: count for name, count in found.items() if count}


def challenge(driven: Any) -> bytes:
    (value,) = driven.header(b"www-authenticate")
    return value


def problem(driven: Any) -> dict[str, Any]:
    assert driven.header(b"content-type") == [b"application/problem+json"]
    assert driven.header(b"content-length") == [str(len(driven.body)).encode()]
    document: dict[str, Any] = json.loads(driven.body)
    return document
