"""Time as token stores see it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Returns the time now, aware."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def microseconds_now() -> int:
    """Return the time now, as whole microseconds of Unix time."""
    return time_ns() // 1000


def to_microseconds(moment: datetime) -> int:
    """Return a moment as whole microseconds of Unix time."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the moment, in UTC, for whole microseconds of Unix time.

    Raises:
        OverflowError: It lies outside of the years 1 to 9999.
    """
    return _EPOCH + timedelta(microseconds=microseconds)
