"""Token stores from URLs."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import did_you_mean

if TYPE_CHECKING:
    from asgi_infra.tokens.contract import TokenStore

ENTRY_POINTS = "asgi_infra.token_stores"
"""Where other packages add schemes: entry points that name a callable `(url, **options) -> TokenStore`."""

_BACKENDS = "asgi_infra.tokens.backends"
_OPENERS = {
    "memory": f"{_BACKENDS}.memory:open_store",
    "sqlite": f"{_BACKENDS}.sql:open_store",
    "postgres": f"{_BACKENDS}.sql:open_store",
    "postgresql": f"{_BACKENDS}.sql:open_store",
    "redis": f"{_BACKENDS}.redis:open_store",
    "rediss": f"{_BACKENDS}.redis:open_store",
    "unix": f"{_BACKENDS}.redis:open_store",
    "valkey": f"{_BACKENDS}.redis:open_store",
    "valkeys": f"{_BACKENDS}.redis:open_store",
}
_VARIANTS = ("redis+cluster", "redis+sentinel", "redis+unix")
_SCHEME = re.compile(r"(([A-Za-z][A-Za-z0-9]*)(?:[+][A-Za-z0-9.-]+)?)://")


def open_token_store(url: str, **options: Any) -> TokenStore:
    """Return the token store that a URL names; it connects when it is first used, or by `async with`.

    | URL | store |
    |---|---|
    | `memory://` | `InMemoryTokenStore` |
    | `sqlite:///tokens.db`, `postgresql://user:password@host/name` | `SQLTokenStore` |
    | `redis://host:6379/0`, `rediss://`, `valkey://`, `valkeys://` | `RedisTokenStore` |
    | `unix:///run/valkey.sock` | the same, through a socket |
    | `redis+cluster://host1:6379,host2:6379`, `redis+sentinel://host1:26379,host2:26379/service` | the same |

    Other packages add schemes through entry points of the group `asgi_infra.token_stores`, which name a callable that
    takes the URL and the options.

    Args:
        url: Which store, and where.
        options: Those of the store.

    Raises:
        ConfigurationError: The URL or an option is wrong; the message shows nothing of the URL but its scheme.
        MissingExtraError: The driver is not installed.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"url must be a str, not {type(url).__name__}; for example 'memory://'")
    match = _SCHEME.match(url)
    if match is None:
        raise ConfigurationError("url must begin with a scheme, for example 'memory://' or 'redis://localhost'")
    scheme = match[2].lower()
    target = _OPENERS.get(scheme)
    if target is not None:
        module, _, name = target.partition(":")
        return _checked(getattr(import_module(module), name)(url, **options), scheme)
    added = {entry.name.lower(): entry for entry in entry_points(group=ENTRY_POINTS)}
    if scheme in added:
        return _checked(added[scheme].load()(url, **options), scheme)
    known = sorted({*_OPENERS, *_VARIANTS, *added})
    raise ConfigurationError(
        f"url has the scheme {scheme[:40]!r}, which no token store serves; known are {', '.join(known)}"
        f"{did_you_mean(match[1], known)}"
    )


def _checked(store: object, scheme: str) -> TokenStore:
    from asgi_infra.tokens.contract import TokenStore

    if not isinstance(store, TokenStore):
        raise ConfigurationError(
            f"what serves the scheme {scheme!r} has returned {type(store).__name__}, no TokenStore"
        )
    return store
