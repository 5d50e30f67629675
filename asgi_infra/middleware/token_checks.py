"""When a token is good: the two uses of a store, in one place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from asgi_infra.tokens.contract import TokenStore
    from asgi_infra.tokens.identity import TokenIdentity
    from asgi_infra.tokens.model import StoredToken

NOT_VERIFIED = "mode='denied' is for tokens that prove by themselves whose they are (`TokenIdentity.verified`)"


async def find_stored(store: TokenStore, identity: TokenIdentity) -> TokenIdentity | None:
    """Return what is known of a token that the store has, or `None` for one that it has not."""
    token = await store.get(identity.jti, user_id=identity.user_id)
    return None if token is None else with_stored(identity, token)


def with_stored(identity: TokenIdentity, token: StoredToken) -> TokenIdentity:
    """Return an identity with what the store says of it; when a token says that it expires, that holds."""
    expires_at = identity.expires_at or token.expires_at
    return replace(identity, user_id=token.user_id, expires_at=expires_at, stored=token)


async def find_not_denied(
    store: TokenStore, identity: TokenIdentity, *, require_generation: bool = False
) -> TokenIdentity | None:
    """Return the identity of a token that proves itself, unless it was denied or its generation is over.

    Raises:
        ConfigurationError: It doesn't prove itself.
    """
    user_id = identity.user_id
    if user_id is None or not identity.verified:
        raise ConfigurationError(NOT_VERIFIED)
    if await store.is_denied(identity.jti):
        return None
    if identity.generation is None:
        return None if require_generation else identity
    return identity if await store.is_current(user_id, identity.generation) else None
