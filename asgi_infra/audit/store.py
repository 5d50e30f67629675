"""What a backend of the audit log has to be: a few blocking calls around one numbered list of leaves.

`AuditLogger` does everything else: validation, sealing, group commit, policies, proofs, reports, export. It calls
`append` from one thread at a time, and all else from any number of threads; a store that is quick and only in memory
says so with `blocking = False`, and is called in the event loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgi_infra.audit.filter import AuditFilter
    from asgi_infra.audit.proofs.merkle import CompactRange
    from asgi_infra.audit.proofs.proving import Nodes
    from asgi_infra.audit.record import Receipt, Record, Stored


class Head(NamedTuple):
    """Where a log stands.

    Attributes:
        first: The number of the oldest entry that is still there; `size` if none is.
        tree: The right edge of the tree over all leaves that ever were. A copy: nobody else changes it.
    """

    first: int
    tree: CompactRange

    @property
    def size(self) -> int:
        """How many entries were ever logged: the number of the next one."""
        return self.tree.size


class AuditStore(ABC):
    """Keeps entries in order, with the tree over their leaves.

    Numbers begin at 0 and have no gaps. `append` is all or nothing, and its order is the order in which entries become
    visible: who has seen an entry has seen all before it. Every method raises `AuditUnavailableError` when nothing was
    done, `AuditOutcomeUnknownError` when that is not known, `AuditFullError` without room, `AuditIntegrityError` when
    what is stored can't be what was stored. `KeyError`, `OSError` or a driver's exception never leave it.
    """

    blocking: ClassVar[bool] = True
    """Whether calls may wait for a disk or a network, so that they must not run in an event loop."""

    def open(self) -> None:  # noqa: B027 - there may be nothing to do
        """Make ready: connect, recover, check. Called once, before anything else, in a worker thread if `blocking`."""

    @abstractmethod
    def append(self, records: Sequence[Record]) -> list[Receipt]:
        """Store records durably, and return a receipt for each, in order.

        An `id` that is stored already, in an earlier call, by another process or earlier in `records`, is not stored
        again: its receipt is the first one's, number and leaf hash. That holds for as long as the entry is there;
        stores that can should remember the ids of purged entries too.
        """

    @abstractmethod
    def head(self) -> Head:
        """Return where the log stands now, what other processes have appended included."""

    @abstractmethod
    def select(
        self, wanted: AuditFilter, start: int, stop: int, limit: int, *, newest_first: bool = False
    ) -> list[Stored]:
        """Return the first `limit` entries that are wanted from `start` up to but without `stop`, by number.

        With `newest_first` the last ones, downwards. What was purged is left out. An erased entry matches by what its
        leaf alone says.
        """

    @abstractmethod
    def count(self, wanted: AuditFilter, start: int, stop: int) -> int:
        """Return how many entries `select` would find without a limit."""

    @abstractmethod
    def find(self, entry_id: str) -> int | None:
        """Return the number of the entry with this id, or `None` if there is none, or it was purged."""

    @abstractmethod
    def nodes(self, size: int) -> Nodes:
        """Return where the hashes of the tree of the first `size` leaves come from; `TileNodes` is one such thing.

        What it returns raises `AuditNotFoundError` for hashes that were purged. It serves one proof or one check.
        """

    @abstractmethod
    def erase(self, seqs: Iterable[int]) -> int:
        """Remove the private parts of entries for good, from every file and index, and return how many there were.

        Durable when it returns. Where the leaf does not tell `user_id`, the index forgets it too.
        """

    @abstractmethod
    def prune(self, before: int) -> int:
        """Remove entries with numbers below `before`, and return the number of the oldest one that is still there.

        A store may keep more than it was asked to (whole files, whole partitions). The hashes that proofs of the
        remaining entries need stay.
        """

    @abstractmethod
    def load_checkpoint(self) -> bytes | None:
        """Return the checkpoint that was saved last, a signed note, or `None`."""

    @abstractmethod
    def save_checkpoint(self, note: bytes, size: int) -> None:
        """Keep a signed checkpoint durably; one with a larger `size` than the given one stays."""

    def stats(self) -> dict[str, int]:
        """Return counters of the store's own, by name."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Give everything back. Called once, after all other calls have returned."""
