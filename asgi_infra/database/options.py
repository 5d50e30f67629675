"""What can be configured, checked without importing a driver."""

from __future__ import annotations

import math
from dataclasses import dataclass

from asgi_infra.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine connects and pools; all times in seconds. `DatabaseSession` documents each of them.

    Raises:
        ConfigurationError: A value has the wrong type (a bool is no number here) or is out of range.
    """

    pool_size: int = 5
    max_overflow: int = 10
    pool_timeout: float = 10.0
    pool_recycle: float = 1800.0
    pool_pre_ping: bool = False
    connect_timeout: float = 10.0
    statement_timeout: float | None = None
    lock_timeout: float | None = None
    hide_parameters: bool = True

    def __post_init__(self) -> None:
        require_integer("pool_size", self.pool_size, minimum=1)
        require_integer("max_overflow", self.max_overflow, minimum=0)
        for name in ("pool_timeout", "pool_recycle", "connect_timeout"):
            require_seconds(name, getattr(self, name))
        for name in ("statement_timeout", "lock_timeout"):
            require_seconds(name, getattr(self, name), optional=True)
        for name in ("pool_pre_ping", "hide_parameters"):
            require_bool(name, getattr(self, name))

    def require_for(self, dialect: str) -> None:
        """Raise `ConfigurationError` when an option does not exist for the given dialect."""
        if dialect == "sqlite" and self.statement_timeout is not None:
            raise ConfigurationError("statement_timeout does not exist on SQLite; leave it out")


def require_integer(name: str, value: object, *, minimum: int) -> None:
    """Refuse anything but an `int` of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(
            f"{name} must be an int, not {_kind(value)}; give a whole number of at least {minimum}"
        )
    if value < minimum:
        raise ConfigurationError(f"{name} must be at least {minimum}, not {_short(value)}")


def require_seconds(name: str, value: object, *, optional: bool = False) -> None:
    """Refuse anything but a finite number of seconds above zero, or `None` where that is `optional`."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        alternative = " or None" if optional else ""
        raise ConfigurationError(f"{name} must be a number of seconds{alternative}, not {_kind(value)}")
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be more than 0 seconds and finite, not {_short(value)}")


def require_bool(name: str, value: object) -> None:
    """Refuse anything but `True` and `False`."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {_kind(value)}")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _short(value: float) -> str:
    # str() of an int with thousands of digits raises
    return str(value) if isinstance(value, float) or abs(value) < 10**18 else "a huge number"
