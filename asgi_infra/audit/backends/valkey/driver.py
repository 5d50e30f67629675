"""What is used of redis-py: its blocking client."""

from __future__ import annotations

from asgi_infra.errors import MissingExtraError

try:
    from redis import Redis, exceptions
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as exc:
    raise MissingExtraError("redis", purpose="ValkeyAuditLogger", extra="redis") from exc

__all__ = ["NoBackoff", "Redis", "Retry", "exceptions"]
