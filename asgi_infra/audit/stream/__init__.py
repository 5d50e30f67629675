"""The audit log of many machines: a durable stream takes the entries, and a relay gives them to the log.

```text
NATSAuditLogger   ┐                       ┌ Relay (one at a time, by lease)
ValkeyAuditLogger ┴── durable stream ─────┴──▶ any AuditLogger: numbers, tree, proofs, queries
```

An entry is sealed once, where it is logged; those bytes travel. So the leaf hash in the receipt of the stream is the
one that the log's checkpoints cover.
"""

from __future__ import annotations

from asgi_infra.audit.stream.contract import AuditLeaseLostError, AuditStream, Message
from asgi_infra.audit.stream.logger import StreamAuditLogger
from asgi_infra.audit.stream.relay import Relay, run_relay

__all__ = ["AuditLeaseLostError", "AuditStream", "Message", "Relay", "StreamAuditLogger", "run_relay"]
