"""What a stream has to be: durable, ordered, and emptied from its beginning by one relay at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from asgi_infra.audit.errors import AuditStoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.audit.record import Receipt, Record


class AuditLeaseLostError(AuditStoreError):
    """Another relay has the lease, or may have it: this one must stop."""


class Message(NamedTuple):
    """One message of a stream.

    Attributes:
        position: Where it is; only the stream understands it.
        data: What a producer, or somebody else, has put there.
    """

    position: str
    data: bytes


class AuditStream(ABC):
    """Keeps sealed entries until a relay has given them to a log.

    All methods block, and may be called from any thread. They raise `AuditUnavailableError` when nothing was done,
    `AuditOutcomeUnknownError` when that is not known, `AuditFullError` without room; never a driver's exception.

    Nothing depends on the lease for being right: the log takes an `id` once, whoever brings it, and only what it has
    taken leaves the stream. The lease keeps two relays from doing the same work.
    """

    def open(self) -> None:  # noqa: B027 - there may be nothing to do
        """Connect, make what is missing, and refuse a stream that could lose entries. Called once, before all else."""

    @abstractmethod
    def append(self, records: Sequence[Record]) -> list[Receipt]:
        """Put records into the stream durably, in order; their receipts have the number -1.

        An `id` that was put there before, as long as the stream remembers it, is not put there again: its receipt is
        the first one's. If its leaf hash is not known any more, it is empty (`b""`).
        """

    @abstractmethod
    def acquire(self, owner: str, seconds: float) -> int | None:
        """Take the lease for so long and return a token, larger than all before; `None` if another relay has it."""

    @abstractmethod
    def renew(self, token: int, seconds: float) -> None:
        """Have the lease for so long from now on.

        Raises:
            AuditLeaseLostError: It has gone to another relay, or run out.
        """

    @abstractmethod
    def release(self, token: int) -> None:
        """Give the lease back, if it is still this one."""

    @abstractmethod
    def fetch(self, after: str | None, limit: int, wait: float) -> list[Message]:
        """Return the messages behind a position, in order and without a gap; from the oldest one if it is `None`.

        If there are none, waits so many seconds for the first one.
        """

    @abstractmethod
    def settle(self, token: int, position: str) -> None:
        """Remove all messages up to and with this position for good.

        Raises:
            AuditLeaseLostError: The lease of this token has ended; nothing was removed.
        """

    @abstractmethod
    def set_aside(self, message: Message, reason: str) -> None:
        """Copy a message that is no entry to where somebody can look at it; the oldest of too many go."""

    @abstractmethod
    def waiting(self) -> int:
        """Return how many messages wait for the relay."""

    def stats(self) -> dict[str, int]:
        """Return counters, by name."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Give everything back. Called once, after all other calls have returned."""
