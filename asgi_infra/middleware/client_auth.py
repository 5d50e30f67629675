"""How an OAuth client shows who it is: with its secret, by HTTP Basic (RFC 6749, section 2.3.1)."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha256
from secrets import token_bytes
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.types import Scope

_MAX_HEADER = 4096
_LEAST = 16


def client_secret_basic(clients: Mapping[str, str]) -> Callable[[Scope, Mapping[str, str]], str | None]:
    """Return what authenticates clients by their id and secret, in a time that tells nothing of either.

    Args:
        clients: The secret of each client by its id; at least 16 characters, for example `secrets.token_urlsafe(32)`.

    Raises:
        ConfigurationError: There is no client, or an id or a secret that won't do; no secret is shown.

    Example:
        >>> endpoints = token_endpoints(store, authenticate=client_secret_basic({"shop": secret}))
    """
    if not isinstance(clients, Mapping) or not clients:
        raise ConfigurationError("clients must map the ids of clients to their secrets, and hold at least one")
    for name, secret in clients.items():
        if not isinstance(name, str) or not name or not isinstance(secret, str) or len(secret) < _LEAST:
            raise ConfigurationError(f"clients must hold secrets of at least {_LEAST} characters, by ids not empty")
    digests = {name: _digest(secret) for name, secret in clients.items()}
    nobody = token_bytes(32)  # what the secret of an unknown client is compared with

    def authenticate(scope: Scope, form: Mapping[str, str]) -> str | None:
        presented = _credentials(scope)
        if presented is None:
            return None
        name, secret = presented
        fits = hmac.compare_digest(_digest(secret), digests.get(name, nobody))
        return name if fits and name in digests else None

    return authenticate


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _credentials(scope: Scope) -> tuple[str, str] | None:
    values = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if len(values) != 1 or len(values[0]) > _MAX_HEADER:
        return None
    scheme, _, encoded = values[0].strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = b64decode(encoded.strip(), validate=True).decode("utf-8")
    except ValueError:
        return None
    name, colon, secret = text.partition(":")
    return (unquote_plus(name), unquote_plus(secret)) if colon else None
