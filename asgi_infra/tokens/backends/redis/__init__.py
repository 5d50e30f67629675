"""Tokens in Valkey or Redis, through redis-py; the extra `redis` installs it."""

from __future__ import annotations

from typing import Any

from asgi_infra.tokens.backends.redis.store import RedisTokenStore

__all__ = ["RedisTokenStore", "open_store"]


def open_store(url: str, **options: Any) -> RedisTokenStore:
    """Return a store for a URL such as `valkey://localhost`."""
    return RedisTokenStore(url, **options)
