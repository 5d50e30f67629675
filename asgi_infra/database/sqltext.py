"""Statements as they may be shown: without literals, and in a short form of low cardinality."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_MAX_SCANNED = 16_384
_MAX_SHOWN = 2_000

_LITERAL = re.compile(
    r"\"(?:[^\"]|\"\")*(?:\"|\Z)"  # a quoted identifier: kept, but what is inside it opens nothing
    r"|\$(?P<tag>[A-Za-z_]{0,32})\$(?:.*?\$(?P=tag)\$|.*)"
    r"|\b[eE]'(?:[^'\\]|''|\\.?)*(?:'|\Z)"
    r"|'(?:[^']|'')*(?:'|\Z)"
    r"|--[^\n]*|/\*.*?(?:\*/|\Z)"
    r"|(?<![\w$?:.])[-+]?\d[\d.]*(?:[eE][-+]?\d+)?\b",
    re.DOTALL,
)
_TARGET = re.compile(
    r"\b(?:FROM|INTO|UPDATE|TABLE|INDEX)\s+(?:(?:IF|NOT|EXISTS|ONLY)\s+)*([\w.\"]{1,128})", re.IGNORECASE
)
_OPERATION = re.compile(r"\s*([A-Za-z]{1,32})")


class StatementText(NamedTuple):
    """`db.operation.name`, `db.collection.name` and `db.query.text` of OpenTelemetry's conventions."""

    operation: str
    target: str | None
    text: str

    @property
    def summary(self) -> str:
        """`db.query.summary`: the operation and its first target, for example `"SELECT users"`."""
        return f"{self.operation} {self.target}" if self.target else self.operation


@lru_cache(maxsize=512)
def describe(statement: str) -> StatementText:
    """Describe a statement, with string and number literals replaced by `?` and comments removed.

    What lies beyond the first 16,384 characters is not looked at, and therefore not shown.
    """
    clean = _LITERAL.sub(_replacement, statement[:_MAX_SCANNED]).strip()
    operation = _OPERATION.match(clean)
    target = _TARGET.search(clean)
    return StatementText(
        operation=operation[1].upper() if operation else "OTHER",
        target=target[1].replace('"', "") if target else None,
        text=clean if len(clean) <= _MAX_SHOWN else f"{clean[:_MAX_SHOWN]}...",
    )


def _replacement(match: re.Match[str]) -> str:
    found = match[0]
    if found.startswith('"'):
        return found
    return " " if found.startswith(("--", "/*")) else "?"
