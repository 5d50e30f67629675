"""What a request presents as its token, before and after it was checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from asgi_infra.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from asgi_infra.tokens.model import StoredToken

_NO_CLAIMS: Mapping[str, Any] = MappingProxyType({})


class CredentialsError(InfrastructureError):
    """What a request presents is no good; messages say nothing of the token itself."""


class InvalidTokenError(CredentialsError):
    """The token is expired, revoked, forged or for somebody else: `invalid_token` (RFC 6750, section 3.1)."""


class MalformedCredentialsError(CredentialsError):
    """The request is malformed: `invalid_request` (RFC 6750, section 3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIdentity:
    """Which token a request presents, and what is known about it.

    Attributes:
        jti: Its identifier, by which a store knows it.
        user_id: Whose it is, where the token itself says so, or the store has said so.
        expires_at: Until when it is good, likewise.
        generation: The user's generation that it was signed in, see `TokenStore.generation`.
        claims: What else a signed token says.
        verified: Whether the token proves by itself what it says, as a signature does. Only such tokens are let in
            where the store has failed and the middleware was told to fail open.
        stored: The stored token, once the store has found it.
    """

    jti: str = field(repr=False)
    user_id: str | None = None
    expires_at: datetime | None = None
    generation: str | None = field(default=None, repr=False)
    claims: Mapping[str, Any] = field(default_factory=lambda: _NO_CLAIMS, hash=False, repr=False)
    verified: bool = False
    stored: StoredToken | None = None
