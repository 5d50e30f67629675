"""The audit log's stream in Valkey or Redis; the extra `redis` installs redis-py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Self

from asgi_infra.audit.backends.valkey.stream import ValkeyStream
from asgi_infra.audit.stream.logger import StreamAuditLogger
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_integer, require_seconds

if TYPE_CHECKING:
    from asgi_infra.audit.contract import AuditLogger

__all__ = ["ValkeyAuditLogger"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class ValkeyAuditLogger(StreamAuditLogger):
    """Logs into a stream of Valkey or Redis (from 7.2), from where a `Relay` takes the entries to a log.

    A batch of entries is one script and one `WAITAOF`: it is acknowledged when it is on the disk of the server, and of
    as many replicas as you ask for. Best is `appendfsync always`; with `everysec` each acknowledgement takes up to a
    second. The server must have `appendonly yes` and `maxmemory-policy noeviction`, which is checked.

    The same `id` twice is one message within `deduplicate` seconds, and one entry of the log for ever.

    Args:
        url: `valkey://host:port/database`, or `redis://`; `valkeys://` or `rediss://` for TLS. One server: the primary.
        stream: The name of the stream.
        reader: The log that the relay fills, to read from.
        replicas: How many replicas must have an entry on their disks, too.
        max_entries: What may wait for the relay; beyond that entries are refused (`AuditFullError`).
        deduplicate: Seconds in which the server knows an `id` again.
        timeout: Seconds that the server may take.
        **options: As `AuditLogger` takes them.

    Raises:
        ConfigurationError: A parameter is wrong.
        MissingExtraError: redis-py is not installed.

    Example:
        >>> async with ValkeyAuditLogger("valkey://localhost", replicas=1) as logger:
        ...     await logger.log_action("order.refund", "order", resource_id="o-1")
    """

    def __init__(
        self,
        url: str = "valkey://localhost",
        *,
        stream: str = "audit",
        reader: AuditLogger | None = None,
        replicas: int = 0,
        max_entries: int = 1_000_000,
        deduplicate: float = 600.0,
        timeout: float = 5.0,
        **options: Any,
    ) -> None:
        if not isinstance(url, str):
            raise ConfigurationError(f"url must be a str, not {type(url).__name__}")
        if not isinstance(stream, str) or not _NAME.fullmatch(stream):
            raise ConfigurationError("stream must be 1 to 64 letters, digits and characters of _.:-")
        require_integer("replicas", replicas, minimum=0)
        require_integer("max_entries", max_entries, minimum=1)
        require_seconds("deduplicate", deduplicate)
        require_seconds("timeout", timeout)
        made = ValkeyStream(
            url,
            stream,
            replicas=replicas,
            max_entries=max_entries,
            deduplicate=float(deduplicate),
            timeout=float(timeout),
        )
        super().__init__(made, reader=reader, **options)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a logger for a URL."""
        return cls(url, **options)
