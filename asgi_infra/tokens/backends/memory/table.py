"""Tokens with the indexes that a store needs: by user, by family, by end and by issue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.tokens.backends.memory.index import Index
from asgi_infra.tokens.backends.memory.timeline import Timeline

if TYPE_CHECKING:
    from asgi_infra.tokens.records import Record

_SLACK = 64


class Entry:
    """A token, live or used.

    Attributes:
        record: The token.
        since: When it was issued or, once it is used, replaced, in microseconds of Unix time, as all times here.
        end: Until when it is good, or, once it is used, kept.
        used_at: When it was replaced, `None` while it is live.
        successor: The digest of what replaced it.
        sealed: What only who presents this token can read: the successor's `jti`.
    """

    __slots__ = ("end", "record", "sealed", "since", "successor", "used_at")

    def __init__(self, record: Record, end: int, since: int) -> None:
        self.record = record
        self.end = end
        self.since = since
        self.used_at: int | None = None
        self.successor: bytes | None = None
        self.sealed = b""

    def is_live(self, now: int) -> bool:
        """Return whether the token is good at a moment."""
        return self.used_at is None and self.end > now


class Table:
    """The entries of a store. Not thread-safe: the store has the lock."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self._users = Index()
        self._families = Index()
        self._ends = Timeline()
        self._issues = Timeline()

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: Entry) -> None:
        """Add an entry whose digest is not there yet."""
        record = entry.record
        digest, token = record.digest, record.token
        self.entries[digest] = entry
        self._users.add(token.user_id, digest)
        self._families.add(token.family_id, digest)
        self._issues.put(entry.since, digest)
        self._ends.put(entry.end, digest)
        if len(self._ends) + len(self._issues) > 4 * len(self.entries) + _SLACK:
            self._rebuild()

    def postpone(self, entry: Entry, end: int) -> None:
        """Give an entry another end."""
        entry.end = end
        self._ends.put(end, entry.record.digest)
        if len(self._ends) > 3 * len(self.entries) + _SLACK:
            self._rebuild()

    def use(self, entry: Entry, now: int, end: int) -> None:
        """Note that a token was replaced; in the order of issue it counts as new, for late callers ask for it yet."""
        entry.used_at = entry.since = now
        self._issues.put(now, entry.record.digest)
        self.postpone(entry, end)

    def remove(self, digest: bytes) -> None:
        """Remove an entry, if it is there."""
        entry = self.entries.pop(digest, None)
        if entry is None:
            return
        token = entry.record.token
        self._users.remove(token.user_id, digest)
        self._families.remove(token.family_id, digest)

    def of_user(self, user_id: str) -> list[Entry]:
        """Return a user's entries, used ones included."""
        return [self.entries[digest] for digest in self._users.of(user_id)]

    def of_family(self, family_id: str) -> list[Entry]:
        """Return a family's entries, used ones included."""
        return [self.entries[digest] for digest in self._families.of(family_id)]

    def drop_ended(self, now: int, limit: int) -> int:
        """Remove entries that have ended, at most `limit`; returns how many."""
        dropped = 0
        ends = self._ends
        while dropped < limit and (first := ends.first()) is not None and first <= now:
            end, digest = ends.pop()
            entry = self.entries.get(digest)
            if entry is not None and entry.end == end:
                self.remove(digest)
                dropped += 1
        return dropped

    def drop_oldest(self) -> None:
        """Remove the entry that was issued, or replaced, first."""
        while len(self._issues):
            since, digest = self._issues.pop()
            entry = self.entries.get(digest)
            if entry is not None and entry.since == since:
                self.remove(digest)
                return

    def _rebuild(self) -> None:
        # What left the table in between is forgotten in bulk, so that it costs no more than it did to put it there.
        self._ends, self._issues = Timeline(), Timeline()
        for end, digest in sorted((entry.end, digest) for digest, entry in self.entries.items()):
            self._ends.put(end, digest)
        for since, digest in sorted((entry.since, digest) for digest, entry in self.entries.items()):
            self._issues.put(since, digest)
