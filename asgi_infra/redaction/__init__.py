"""Any value in, a copy without private data out.

Logs, spans, audit entries and error texts all pass through one `Redactor`, so that what is private in one is private in
all of them.
"""

from __future__ import annotations

from asgi_infra.redaction.patterns import Pattern
from asgi_infra.redaction.query import redact_query
from asgi_infra.redaction.redactor import Redactor

__all__ = ["Pattern", "Redactor", "redact_query"]
