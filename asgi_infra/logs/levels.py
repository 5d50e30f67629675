"""The five levels, and the levels of single loggers."""

from __future__ import annotations

import logging
from typing import Final

from asgi_infra.errors import ConfigurationError

LEVELS: Final = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}


def level_number(name: object, parameter: str = "level") -> int:
    """Return the number of a level's name, in any case.

    Raises:
        ConfigurationError: It is none of the five, or no string: `True` and `10` would be levels by accident.
    """
    number = LEVELS.get(name.upper()) if isinstance(name, str) else None
    if number is None:
        shown = ascii(name[:40]) if isinstance(name, str) else f"a value of type {type(name).__name__}"
        raise ConfigurationError(f"{parameter} must be one of {', '.join(LEVELS)}, in any case, not {shown}")
    return number


def level_name(number: int) -> str:
    """Return the name of the level that a number reaches, `DEBUG` below all of them."""
    reached = "DEBUG"
    for name, bound in LEVELS.items():
        if number >= bound:
            reached = name
    return reached


class LevelChanges:
    """Sets the levels of loggers, and can set them back to what they were before the first change."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, int]] = {}

    def apply(self, levels: dict[str, int]) -> None:
        """Set these levels; those that were set before and aren't named now go back."""
        for name in [name for name in self._before if name not in levels]:
            self._restore(name)
        for name, level in levels.items():
            self.set(name, level)

    def set(self, name: str, level: int) -> None:
        """Set one level; `""` is the root logger."""
        logger = logging.getLogger(name or None)
        before = self._before[name][0] if name in self._before else logger.level
        self._before[name] = (before, level)
        logger.setLevel(level)

    def undo(self) -> None:
        """Set all levels back, except those that somebody else has changed since."""
        for name in list(self._before):
            self._restore(name)

    def _restore(self, name: str) -> None:
        before, ours = self._before.pop(name)
        logger = logging.getLogger(name or None)
        if logger.level == ours:
            logger.setLevel(before)
