"""The audit log's stream in NATS JetStream; the extra `nats` installs nats-py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from asgi_infra.audit.backends.nats.settings import StreamSettings, parse, require_name
from asgi_infra.audit.backends.nats.stream import NATSStream
from asgi_infra.audit.stream.logger import StreamAuditLogger
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_integer, require_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_infra.audit.contract import AuditLogger

__all__ = ["NATSAuditLogger"]


class NATSAuditLogger(StreamAuditLogger):
    """Logs into a NATS JetStream stream, from where a `Relay` takes the entries to a log.

    A batch of entries is one atomic publish (servers from 2.12; older ones get them one by one), and its
    acknowledgement is awaited. The servers **must** run with `sync_interval: always`: with the default they acknowledge
    up to two minutes before they write to the disk.

    The same `id` twice is one message within `deduplicate` seconds, and one entry of the log for ever. What another
    process has logged, and the relay has taken to the log already, has an empty `leaf_hash` in its second receipt,
    unless `reader` is given to look it up.

    Args:
        url: `nats://host:port/stream`, or several hosts with commas; `nats+tls://` for TLS. Without a path, the
            stream is `asgi_infra_audit`. It is made on first use.
        reader: The log that the relay fills, to read from.
        replicas: Servers that keep the stream, 1 to 5.
        max_bytes: What may wait for the relay; beyond that entries are refused (`AuditFullError`).
        deduplicate: Seconds in which the servers know an `id` again.
        timeout: Seconds that the servers may take to acknowledge.
        monitor: The URL of the servers' monitoring endpoint, such as `http://localhost:8222`: opening then fails if
            `sync_interval` is not `always`. Clients can't see that otherwise.
        connect_options: Further options of `nats.connect`, such as `tls` and `user_credentials`.
        **options: As `AuditLogger` takes them.

    Raises:
        ConfigurationError: A parameter is wrong.
        MissingExtraError: nats-py is not installed.

    Example:
        >>> async with NATSAuditLogger("nats://localhost/audit", replicas=3) as logger:
        ...     await logger.log_action("order.refund", "order", resource_id="o-1")
    """

    def __init__(
        self,
        url: str = "nats://localhost:4222",
        *,
        reader: AuditLogger | None = None,
        replicas: int = 1,
        max_bytes: int = 1024**3,
        deduplicate: float = 600.0,
        timeout: float = 5.0,
        monitor: str | None = None,
        connect_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(url, str):
            raise ConfigurationError(f"url must be a str, not {type(url).__name__}")
        servers, name = parse(url)
        require_integer("replicas", replicas, minimum=1)
        if replicas > 5:
            raise ConfigurationError(f"replicas must be at most 5, not {replicas}")
        require_integer("max_bytes", max_bytes, minimum=1024**2)
        require_seconds("deduplicate", deduplicate)
        require_seconds("timeout", timeout)
        if monitor is not None and not str(monitor).startswith(("http://", "https://")):
            raise ConfigurationError("monitor must be an http:// or https:// URL")
        settings = StreamSettings(require_name(name or "asgi_infra_audit"), replicas, max_bytes, float(deduplicate))
        stream = NATSStream(
            servers, settings, timeout=float(timeout), monitor=monitor, options=dict(connect_options or {})
        )
        super().__init__(stream, reader=reader, **options)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a logger for a URL."""
        return cls(url, **options)
