"""Any value in, a copy without private data out."""

from __future__ import annotations

from asgi_infra.redaction.query import redact_query

__all__ = ["redact_query"]
