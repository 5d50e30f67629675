"""Token stores: revocable, rotating, race-free, from one process to a cluster.

>>> from asgi_infra.tokens import StoredToken, open_token_store
>>> async with open_token_store("redis://localhost") as store:
...     await store.save(StoredToken.issue("alice", lifetime=timedelta(days=30)))

`TokenStore` is the contract; its module says what holds for all backends. The backends are imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from asgi_infra.errors import TokenStoreError
from asgi_infra.tokens.contract import TokenStore
from asgi_infra.tokens.errors import (
    CorruptRecordError,
    DuplicateTokenError,
    OutcomeUnknownError,
    StoreClosedError,
    StoreFullError,
    StoreUnavailableError,
)
from asgi_infra.tokens.identity import (
    CredentialsError,
    InvalidTokenError,
    MalformedCredentialsError,
    TokenIdentity,
)
from asgi_infra.tokens.model import StoredToken
from asgi_infra.tokens.opening import open_token_store
from asgi_infra.tokens.presented import BearerTokens, CookieToken
from asgi_infra.tokens.rotation import Rotation, RotationStatus
from asgi_infra.tokens.stats import StoreStats

if TYPE_CHECKING:
    from asgi_infra.tokens.backends.memory import InMemoryTokenStore
    from asgi_infra.tokens.backends.redis import RedisTokenStore
    from asgi_infra.tokens.backends.sql import SQLTokenStore
    from asgi_infra.tokens.jwt import JWTVerifier

_HOMES = {
    "InMemoryTokenStore": "backends.memory",
    "JWTVerifier": "jwt",
    "RedisTokenStore": "backends.redis",
    "SQLTokenStore": "backends.sql",
}

__all__ = [
    "BearerTokens",
    "CookieToken",
    "CorruptRecordError",
    "CredentialsError",
    "DuplicateTokenError",
    "InMemoryTokenStore",
    "InvalidTokenError",
    "JWTVerifier",
    "MalformedCredentialsError",
    "OutcomeUnknownError",
    "RedisTokenStore",
    "Rotation",
    "RotationStatus",
    "SQLTokenStore",
    "StoreClosedError",
    "StoreFullError",
    "StoreStats",
    "StoreUnavailableError",
    "StoredToken",
    "TokenIdentity",
    "TokenStore",
    "TokenStoreError",
    "open_token_store",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
