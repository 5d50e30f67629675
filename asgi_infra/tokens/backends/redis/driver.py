"""What is used of redis-py: connections, the parsing of URLs and replies, the slots of keys; not its pools and retries.

A store has to know whether a command was sent when it fails, which those hide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.errors import MissingExtraError

_absence: ImportError | None = None

if TYPE_CHECKING:
    from redis import asyncio as aio
    from redis import exceptions
    from redis.asyncio.connection import AbstractConnection, Connection, parse_url
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.crc import key_slot
else:
    try:
        from redis import asyncio as aio
        from redis import exceptions
        from redis.asyncio.connection import AbstractConnection, Connection, parse_url
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.crc import key_slot
    except ImportError as exc:
        _absence = exc

        class _Absent:
            """Stands where redis-py would: `from asgi_infra.tokens import *` works without it, a store does not."""

            def __getattr__(self, name: str) -> type[Exception]:
                return Exception

        aio = exceptions = AbstractConnection = Connection = NoBackoff = Retry = key_slot = parse_url = _Absent()

__all__ = [
    "AbstractConnection",
    "Connection",
    "NoBackoff",
    "Retry",
    "aio",
    "exceptions",
    "key_slot",
    "parse_url",
    "require_driver",
]


def require_driver() -> None:
    """Raise `MissingExtraError` when redis-py is not installed."""
    if _absence is not None:
        raise MissingExtraError("redis", purpose="RedisTokenStore", extra="redis") from _absence
