"""What can be configured, checked without importing a driver."""

from __future__ import annotations

from dataclasses import dataclass

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_flag, require_integer, require_seconds


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
            require_flag(name, getattr(self, name))

    def require_for(self, dialect: str) -> None:
        """Raise `ConfigurationError` when an option does not exist for the given dialect."""
        if dialect == "sqlite" and self.statement_timeout is not None:
            raise ConfigurationError("statement_timeout does not exist on SQLite; leave it out")
