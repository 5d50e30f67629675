"""The ids of the entries that the index does not know yet."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from asgi_infra.audit.record import Receipt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgi_infra.audit.backends.file.frames import Frame
    from asgi_infra.audit.record import Record


class _Named(msgspec.Struct):
    id: str


_named = msgspec.json.Decoder(_Named).decode


class Recent:
    """Ids of the newest entries, with their receipts. Thread-safe.

    Args:
        size: How many entries the index knows.
    """

    def __init__(self, size: int) -> None:
        self._lock = Lock()
        self._receipts: dict[str, Receipt] = {}
        self._ids: deque[str] = deque()
        self.first = size
        """The number of the first entry that is in here; older ones are in the index."""

    def add_records(self, records: Sequence[Record], receipts: Sequence[Receipt]) -> None:
        """Add the next entries, of this process."""
        with self._lock:
            for record, receipt in zip(records, receipts, strict=True):
                self._ids.append(record.entry.id)
                self._receipts[record.entry.id] = receipt

    def add_frames(self, frames: Iterable[Frame], hashes: Iterable[bytes]) -> None:
        """Add the next entries, of another process or from before."""
        with self._lock:
            for frame, value in zip(frames, hashes, strict=True):
                name = _named(frame.leaf).id
                self._ids.append(name)
                self._receipts[name] = Receipt(frame.seq, value)

    def skip(self, first: int) -> None:
        """Begin anew: all entries before `first` that are not in the index were purged."""
        with self._lock:
            self._receipts.clear()
            self._ids.clear()
            self.first = first

    def find(self, ids: Iterable[str]) -> dict[str, Receipt]:
        """Return the receipts of those that are in here."""
        with self._lock:
            receipts = self._receipts
            return {each: receipts[each] for each in ids if each in receipts}

    def forget(self, size: int) -> None:
        """Give up what the index knows by now."""
        with self._lock:
            while self.first < size and self._ids:
                self._receipts.pop(self._ids.popleft(), None)
                self.first += 1
