"""What is used of nats-py: connections and messages. JetStream's interface is spoken in its JSON."""

from __future__ import annotations

from asgi_infra.errors import MissingExtraError

try:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
except ImportError as exc:
    raise MissingExtraError("nats-py", purpose="NATSAuditLogger", extra="nats") from exc

__all__ = ["Client", "Msg", "Subscription"]
