"""Token stores as one would describe them on a sheet of paper: dictionaries, and a clock that only goes forward."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from asgi_infra.tokens import Rotation, RotationStatus, StoredToken
from asgi_infra.tokens.identifiers import family_of

if TYPE_CHECKING:
    from datetime import datetime

    from asgi_infra.testing.clock import ManualClock

REMEMBERED = 16
KEPT_AT_LEAST = 10
UNKNOWN = Rotation(RotationStatus.UNKNOWN)


@dataclass(frozen=True)
class Bounds:
    """The options of a store that the model knows, in seconds."""

    grace: float = 30
    idle_lifetime: float | None = None
    absolute_lifetime: float | None = None
    max_sessions: int | None = None
    touch_interval: float = 60
    leeway: float = 60


@dataclass
class Entry:
    """A token, live or used."""

    token: StoredToken
    started_at: datetime
    ancestors: tuple[str, ...] = ()
    used_at: datetime | None = None
    successor: str = ""


class Model:
    """What a store must answer, one caller after the other."""

    def __init__(self, bounds: Bounds, clock: ManualClock) -> None:
        self.bounds = bounds
        self.entries: dict[str, Entry] = {}
        self.denied: dict[str, datetime] = {}
        self.generations: dict[str, str] = {}
        self.revoked = 0
        self.evicted = 0
        self._clock = clock

    def there(self, jti: str) -> Entry | None:
        """Return an entry, live or used and not yet forgotten."""
        entry = self.entries.get(jti)
        return entry if entry is not None and self._end(entry) > self._clock() else None

    def live(self, jti: str, user_id: str | None = None) -> Entry | None:
        """Return a live entry."""
        entry = self.there(jti)
        if entry is None or entry.used_at is not None or user_id not in (None, entry.token.user_id):
            return None
        return entry

    def of_user(self, user_id: str) -> list[StoredToken]:
        """Return a user's live tokens."""
        return [entry.token for jti, entry in self.entries.items() if self.live(jti, user_id)]

    def save(self, token: StoredToken) -> bool:
        """Return whether it is not there yet; store it then."""
        if self.there(token.jti) is not None:
            return False
        self.entries[token.jti] = Entry(self._capped(token, token.issued_at), token.issued_at)
        if self.bounds.max_sessions is not None:
            others = sorted((each for each in self.of_user(token.user_id) if each.jti != token.jti), key=_issued)
            for old in others[: max(0, len(others) + 1 - self.bounds.max_sessions)]:
                del self.entries[old.jti]
                self.evicted += 1
        return True

    def rotate(self, jti: str, new: StoredToken | None, user_id: str | None) -> Rotation | None:
        """Return the answer, `None` for the error that the successor's `jti` is taken."""
        entry = self.there(jti)
        if entry is None:
            return self._forgotten(jti, user_id)
        if user_id not in (None, entry.token.user_id):
            return UNKNOWN
        if entry.used_at is not None:
            return self._used(entry, new)
        if new is None:
            return UNKNOWN
        if self.there(new.jti) is not None:
            return None
        token = self._capped(new.replaced(family_id=entry.token.family_id), entry.started_at)
        entry.used_at, entry.successor = self._clock(), new.jti
        self.entries[new.jti] = Entry(token, entry.started_at, (jti, *entry.ancestors)[:REMEMBERED])
        return Rotation(RotationStatus.ROTATED, token=token)

    def revoke(self, jti: str, user_id: str | None) -> bool:
        """Return whether a live token was revoked."""
        entry = self.there(jti)
        if entry is None or user_id not in (None, entry.token.user_id):
            return False
        family = entry.token.family_id
        return self._drop([jti] if entry.used_at is None else self._of_family(family)) > 0

    def revoke_family(self, family_id: str) -> int:
        """Return how many live tokens were revoked."""
        return self._drop(self._of_family(family_id))

    def revoke_user(self, user_id: str, kept: str | None) -> int:
        """Return how many live tokens were revoked."""
        spared = self._spared(user_id, kept)
        return self._drop(
            [jti for jti, entry in self.entries.items() if entry.token.user_id == user_id and jti not in spared]
        )

    def touch(self, jti: str) -> bool:
        """Return whether it is live."""
        entry = self.live(jti)
        if entry is None:
            return False
        last = entry.token.last_used_at or entry.token.issued_at
        if self._clock() >= last + timedelta(seconds=self.bounds.touch_interval):
            entry.token = entry.token.replaced(last_used_at=self._clock())
        return True

    def deny(self, jti: str, until: datetime) -> None:
        """Deny a token."""
        end = until + timedelta(seconds=self.bounds.leeway)
        self.denied[jti] = max(end, self.denied.get(jti, end))

    def is_denied(self, jti: str) -> bool:
        """Return whether it is denied."""
        return jti in self.denied and self.denied[jti] > self._clock()

    def _used(self, entry: Entry, new: StoredToken | None) -> Rotation:
        assert entry.used_at is not None  # noqa: S101
        same = new is not None and new.jti == entry.successor
        if not same and self._clock() >= entry.used_at + timedelta(seconds=self.bounds.grace):
            return self._reused(entry.token.family_id)
        followed = self.there(entry.successor)
        if followed is None:
            return UNKNOWN
        return Rotation(RotationStatus.ROTATED if same else RotationStatus.SUPERSEDED, token=followed.token)

    def _forgotten(self, jti: str, user_id: str | None) -> Rotation:
        for other in [other for other in self.entries if self.live(other, user_id)]:
            entry = self.entries[other]
            if jti in entry.ancestors or entry.token.family_id == family_of(jti):
                return self._reused(entry.token.family_id)
        return UNKNOWN

    def _reused(self, family_id: str) -> Rotation:
        revoked = self._drop(self._of_family(family_id))
        return Rotation(RotationStatus.REUSED, family_id=family_id, revoked=revoked)

    def _spared(self, user_id: str, kept: str | None) -> set[str]:
        entry = None if kept is None else self.there(kept)
        if kept is None or entry is None or entry.token.user_id != user_id:
            return set()
        while entry.used_at is not None and (followed := self.there(entry.successor)) is not None:
            kept, entry = entry.successor, followed
        family = self._of_family(entry.token.family_id)
        return {kept, *(jti for jti in family if self.entries[jti].used_at is not None)}

    def _of_family(self, family_id: str) -> list[str]:
        return [jti for jti, entry in self.entries.items() if entry.token.family_id == family_id]

    def _drop(self, jtis: list[str]) -> int:
        count = sum(self.live(jti) is not None for jti in jtis)
        for jti in jtis:
            del self.entries[jti]
        self.revoked += count
        return count

    def _capped(self, token: StoredToken, started_at: datetime) -> StoredToken:
        if self.bounds.absolute_lifetime is None:
            return token
        end = started_at + timedelta(seconds=self.bounds.absolute_lifetime)
        return token.replaced(expires_at=min(token.expires_at, end))

    def _end(self, entry: Entry) -> datetime:
        if entry.used_at is not None:
            return entry.used_at + timedelta(seconds=max(self.bounds.grace, KEPT_AT_LEAST))
        token = entry.token
        if self.bounds.idle_lifetime is None:
            return token.expires_at
        idles = (token.last_used_at or token.issued_at) + timedelta(seconds=self.bounds.idle_lifetime)
        return min(token.expires_at, idles)


def _issued(token: StoredToken) -> datetime:
    return token.issued_at
