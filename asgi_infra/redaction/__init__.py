"""Any value in, a copy without private data out.

Logs, spans, audit entries and error texts all pass through one `Redactor`, so that what is private in one is private in
all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgi_infra.redaction.patterns import Pattern
    from asgi_infra.redaction.query import redact_query
    from asgi_infra.redaction.redactor import Redactor

__all__ = ["Pattern", "Redactor", "redact_query"]

# On use: compiling all patterns takes longer than all else that a plain middleware imports.
_HOMES = {"Pattern": "patterns", "Redactor": "redactor", "redact_query": "query"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value
