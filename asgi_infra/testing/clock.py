"""A clock that tests set: for everything that takes a `clock`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_START = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


class ManualClock:
    """Tells the time that it was set to; it stands still otherwise.

    Args:
        now: The first time that it tells, aware; a moment of the year 2031 by default, so that whoever asks the
            machine's clock instead is noticed.

    Example:
        >>> clock = ManualClock()
        >>> before = clock()
        >>> clock.advance(90)
        >>> (clock() - before).total_seconds()
        90.0
    """

    def __init__(self, now: datetime = _START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; less than 0 sets the clock back."""
        self.now += timedelta(seconds=seconds)

    def after(self, seconds: float) -> datetime:
        """Return the moment that comes in so many seconds."""
        return self.now + timedelta(seconds=seconds)
