"""What the doctor says: findings, each with its mend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["error", "warning", "info"]

LEVELS: tuple[Level, ...] = ("error", "warning", "info")
"""From the worst on: `error` will fail, `warning` works but wrongly or twice, `info` is good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about an application."""

    level: Level
    code: str
    """A name that stays the same from version to version, for scripts."""
    what: str
    why: str
    mend: str
