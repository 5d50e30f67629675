"""What the tables of one log are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of tables, with the prefix; `ids` may be the entries themselves."""

    entries: str
    private: str
    ids: str
    tiles: str
    head: str
    checkpoint: str
    staged: str

    @classmethod
    def of(cls, prefix: str, ids: str) -> Tables:
        """Return the names below a prefix."""
        names = ("entries", "private", ids, "tiles", "head", "checkpoint", "staged")
        return cls(*(f"{prefix}audit_{name}" for name in names))
