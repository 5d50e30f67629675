"""What a Valkey server must be like to hold audit entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from asgi_infra.audit.backends.valkey.driver import NoBackoff, Redis, Retry, exceptions
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEMES = {"valkey": "redis", "redis": "redis", "valkeys": "rediss", "rediss": "rediss"}


def client_of(url: str, timeout: float) -> Redis:
    """Return a client that tries nothing twice; nothing is connected yet.

    Raises:
        ConfigurationError: The URL is wrong.
    """
    problem = ConfigurationError(
        "url must be valkey://host:port/database, redis://, valkeys:// or rediss:// (TLS), of one server"
    )
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname or "," in parts.netloc:
            raise problem
        if not (parts.path.strip("/") or "0").isdecimal():
            raise problem
        client: Redis = Redis.from_url(
            urlunsplit(parts._replace(scheme=scheme)),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
    except (ValueError, TypeError) as exc:
        if exc is problem:
            raise
        raise problem from None  # the library's message may hold a password
    return client


def refuse_unsafe(client: Redis, stream: str, replicas: int) -> None:
    """Refuse a server that could lose entries.

    Raises:
        ConfigurationError: It names everything that is wrong.
    """
    persistence: Mapping[str, Any] = _section(client, "persistence")
    memory: Mapping[str, Any] = _section(client, "memory")
    replication: Mapping[str, Any] = _section(client, "replication")
    settings = _settings(client)
    kind = client.type(stream)
    version = str(_section(client, "server").get("redis_version", "7.2"))
    faults = {
        f"it must be Valkey, or Redis from 7.2, not {version[:16]}": _numbers(version) < (7, 2),
        "appendonly must be yes": persistence.get("aof_enabled") != 1,
        "appendfsync must be always or everysec": settings.get("appendfsync") == "no",
        "maxmemory-policy must be noeviction": str(memory.get("maxmemory_policy", "")) != "noeviction",
        "it must be the primary": replication.get("role") not in (None, "master"),
        f"it must have {replicas} replicas": int(replication.get("connected_slaves", 0)) < replicas,
        f"the key {stream} must be a stream": kind not in (b"none", b"stream", "none", "stream"),
    }
    if wrong := [text for text, is_wrong in faults.items() if is_wrong]:
        raise ConfigurationError(f"the server could lose entries: {'; '.join(wrong)}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _section(client: Redis, name: str) -> Mapping[str, Any]:
    found: Any = client.info(name)
    return found if isinstance(found, dict) else {}


def _settings(client: Redis) -> Mapping[str, Any]:
    try:
        found: Any = client.config_get("appendfsync")
    except exceptions.ResponseError:  # providers forbid it; WAITAOF tells what became of each batch
        return {}
    return found if isinstance(found, dict) else {}
