"""What a database session says about its pool and its health."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """The answer of `DatabaseSession.health`; true where the database answered.

    Attributes:
        healthy: Whether the database answered in time.
        seconds: How long that took.
        error: The class of what went wrong, for example `"ConnectionFailedError"`, or `None`.
    """

    healthy: bool
    seconds: float
    error: str | None = None

    def __bool__(self) -> bool:
        return self.healthy


@dataclass(frozen=True, slots=True)
class PoolState:
    """The connections of a pool at one moment. The counts begin when the pool is opened.

    Attributes:
        limit: How many connections there may be, `pool_size + max_overflow`.
        used: Connections that sessions hold.
        idle: Connections that wait for a session.
        waiting: Sessions that wait for a connection.
        timeouts: How often one waited in vain.
        opened: How many connections were opened.
        committed: How many sessions were committed.
        rolled_back: How many sessions were rolled back.
        commit_failed: How many commits failed, so that nothing was kept.
        outcome_unknown: Of how many commits the outcome is unknown.
    """

    limit: int
    used: int = 0
    idle: int = 0
    waiting: int = 0
    timeouts: int = 0
    opened: int = 0
    committed: int = 0
    rolled_back: int = 0
    commit_failed: int = 0
    outcome_unknown: int = 0
