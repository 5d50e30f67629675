"""What is used of redis-py: connections, the parsing of URLs and replies, the slots of keys; not its pools and retries.

A store has to know whether a command was sent when it fails, which those hide.
"""

from __future__ import annotations

from asgi_infra.errors import MissingExtraError

try:
    from redis import asyncio as aio
    from redis import exceptions
    from redis.asyncio.connection import AbstractConnection, Connection, parse_url
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.crc import key_slot
except ImportError as exc:
    raise MissingExtraError("redis", purpose="RedisTokenStore", extra="redis") from exc

__all__ = ["AbstractConnection", "Connection", "NoBackoff", "Retry", "aio", "exceptions", "key_slot", "parse_url"]
