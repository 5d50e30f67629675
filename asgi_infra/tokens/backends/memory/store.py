"""Tokens in the memory of this process."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_integer
from asgi_infra.tokens.backends.memory.denials import Denials
from asgi_infra.tokens.backends.memory.snapshot import Snapshot, read_snapshot, write_snapshot
from asgi_infra.tokens.backends.memory.table import Entry, Table
from asgi_infra.tokens.clock import from_microseconds, to_microseconds
from asgi_infra.tokens.contract import TokenStore
from asgi_infra.tokens.errors import DuplicateTokenError
from asgi_infra.tokens.identifiers import family_of
from asgi_infra.tokens.records import Record, Replaced
from asgi_infra.tokens.rotation import RotationStatus

if TYPE_CHECKING:
    from os import PathLike
    from typing import Unpack

    from asgi_infra.tokens.options import StoreOptions

_UPKEEP = 2


class InMemoryTokenStore(TokenStore):
    """Keeps tokens in this process: for one process, for tests, and for what may be lost when it ends.

    When it is full, what has ended goes first (expired tokens, and used ones whose time is over), then what was issued
    first. Deny entries are never dropped before their time. Thread-safe, and bound to no event loop.

    Args:
        max_entries: How many tokens to keep, used ones included; 100 000 by default. As many deny entries and
            generations.
        snapshot: A file to read when the store opens, and to write when it is closed; `save_snapshot` writes it at any
            time. It holds what other backends store: digests, and each `jti` only where there is a key, concealed.
        options: What every store can be told, see `TokenStore`.

    Raises:
        ConfigurationError: An option is wrong.

    Example:
        >>> store = InMemoryTokenStore(max_entries=10_000)
        >>> await store.save(StoredToken.issue("alice", lifetime=timedelta(days=30)))
    """

    def __init__(
        self,
        *,
        max_entries: int = 100_000,
        snapshot: str | PathLike[str] | None = None,
        **options: Unpack[StoreOptions],
    ) -> None:
        super().__init__(**options)
        require_integer("max_entries", max_entries, minimum=1)
        self._max_entries = max_entries
        self._snapshot = None if snapshot is None else Path(snapshot)
        self._kept = round(self._settings.kept_used * 1_000_000)
        self._grace = round(self._settings.grace * 1_000_000)
        self._lock = Lock()
        self._table = Table()
        self._denials = Denials(max_entries)
        self._generations: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._loaded = False

    async def save_snapshot(self) -> None:
        """Write the snapshot: whole, or not at all.

        Raises:
            ConfigurationError: The store has no snapshot file.
            StoreUnavailableError: The file can't be written.
        """
        if self._snapshot is None:
            raise ConfigurationError("snapshot must name a file for this; give InMemoryTokenStore(snapshot=...)")
        with self._lock:
            taken = Snapshot(
                entries=[
                    (
                        entry.record.digest,
                        self._codec.pack(entry.record),
                        entry.end,
                        entry.used_at,
                        entry.successor,
                        entry.sealed,
                    )
                    for entry in self._table.entries.values()
                ],
                denials=self._denials.items(),
                generations=[(user, *value) for user, value in self._generations.items()],
            )
        await to_thread.run_sync(partial(write_snapshot, self._snapshot, taken, self._hashing))

    async def _open(self) -> None:
        if self._snapshot is None or self._loaded:
            return
        taken = await to_thread.run_sync(partial(read_snapshot, self._snapshot, self._hashing))
        entries = []
        for digest, data, end, used_at, successor, sealed in taken.entries:
            record = self._codec.unpack(data, digest)
            entry = Entry(record, end, to_microseconds(record.token.issued_at) if used_at is None else used_at)
            entry.used_at, entry.successor, entry.sealed = used_at, successor, sealed
            entries.append(entry)
        with self._lock:
            if self._loaded:
                return
            self._loaded = True
            for entry in entries[-self._max_entries :]:
                self._table.add(entry)
            self._denials.restore(taken.denials)
            self._generations.update({user: (generation, until) for user, generation, until in taken.generations})

    async def _close(self) -> None:
        if self._snapshot is not None:
            await self.save_snapshot()

    async def _insert(self, record: Record, others: tuple[bytes, ...], now: int) -> int:
        with self._lock:
            table = self._table
            table.drop_ended(now, _UPKEEP)
            for digest in (record.digest, *others):
                if self._stored(digest, now) is not None:
                    raise DuplicateTokenError("a token with this jti is stored already")
            evicted = self._add(record, record.started_at, now)
            most = self._settings.max_sessions
            if most is None:
                return evicted
            live = [entry for entry in table.of_user(record.token.user_id) if entry.is_live(now)]
            live.sort(key=lambda entry: (entry.record is record, entry.record.token.issued_at))
            for entry in live[: max(0, len(live) - most)]:
                table.remove(entry.record.digest)
                evicted += 1
            return evicted

    async def _find(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> Record | None:
        with self._lock:
            entry = self._live(digests, user_id, now)
            if entry is None:
                return None
            record = entry.record
            if record.token.jti != jti:  # read from a snapshot, which does not tell it
                record = entry.record = replace(record, token=record.token.replaced(jti=jti))
            return record

    async def _replace(
        self,
        digests: tuple[bytes, ...],
        jti: str,
        successor: Record | None,
        sealed: bytes,
        user_id: str | None,
        now: int,
    ) -> Replaced:
        with self._lock:
            table = self._table
            table.drop_ended(now, _UPKEEP)
            entry = next((each for digest in digests if (each := self._stored(digest, now)) is not None), None)
            if entry is None:
                return self._forgotten(digests, jti, user_id, now)
            token = entry.record.token
            if user_id is not None and token.user_id != user_id:
                return Replaced(RotationStatus.UNKNOWN)
            if entry.used_at is not None:
                return self._used(entry, successor, now)
            if successor is None:
                return Replaced(RotationStatus.UNKNOWN)
            if self._stored(successor.digest, now) is not None:
                raise DuplicateTokenError("the successor's jti is stored already, for another token")
            record = entry.record.followed_by(successor, self._settings)
            entry.successor, entry.sealed = record.digest, sealed
            table.use(entry, now, now + self._kept)
            evicted = self._add(record, to_microseconds(record.token.issued_at), now)
            if evicted:
                self._counts.add("evicted", evicted)
            return Replaced(RotationStatus.ROTATED, record)

    def _used(self, entry: Entry, successor: Record | None, now: int) -> Replaced:
        assert entry.used_at is not None  # noqa: S101 - for the type checker
        same = successor is not None and successor.digest == entry.successor
        if not same and now >= entry.used_at + self._grace:
            return self._reused(entry.record.token.family_id, now)
        followed = None if entry.successor is None else self._stored(entry.successor, now)
        if followed is None:
            return Replaced(RotationStatus.UNKNOWN)
        status = RotationStatus.ROTATED if same else RotationStatus.SUPERSEDED
        return Replaced(status, followed.record, entry.sealed)

    def _forgotten(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> Replaced:
        family_id = family_of(jti)
        of_family = [] if family_id is None else self._table.of_family(family_id)
        for entry in of_family or ([] if user_id is None else self._table.of_user(user_id)):
            token = entry.record.token
            if not entry.is_live(now) or (user_id is not None and token.user_id != user_id):
                continue
            if token.family_id == family_id or any(entry.record.remembers(digest) for digest in digests):
                return self._reused(token.family_id, now)
        return Replaced(RotationStatus.UNKNOWN)

    def _reused(self, family_id: str, now: int) -> Replaced:
        revoked = self._remove_all(self._table.of_family(family_id), now)
        return Replaced(RotationStatus.REUSED, family_id=family_id, revoked=revoked)

    async def _remove(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> int:
        with self._lock:
            removed = 0
            for digest in digests:
                entry = self._stored(digest, now)
                if entry is None or (user_id is not None and entry.record.token.user_id != user_id):
                    continue
                family = self._table.of_family(entry.record.token.family_id)
                removed += self._remove_all([entry] if entry.used_at is None else family, now)
            return removed

    async def _remove_family(self, family_id: str, user_id: str | None, now: int) -> int:
        with self._lock:
            entries = self._table.of_family(family_id)
            return self._remove_all(
                [entry for entry in entries if user_id is None or entry.record.token.user_id == user_id], now
            )

    async def _remove_user(self, user_id: str, kept: tuple[bytes, ...], now: int) -> int:
        with self._lock:
            entries = self._table.of_user(user_id)
            spared = self._spared(user_id, kept, now)
            return self._remove_all([entry for entry in entries if entry.record.digest not in spared], now)

    def _spared(self, user_id: str, kept: tuple[bytes, ...], now: int) -> set[bytes]:
        """Return what stays with the tokens to keep: who presents what they have replaced is told of them."""
        spared = set()
        for digest in kept:
            entry = self._stored(digest, now)
            if entry is None or entry.record.token.user_id != user_id:
                continue
            while entry.successor is not None and (followed := self._stored(entry.successor, now)) is not None:
                entry = followed
            family = self._table.of_family(entry.record.token.family_id)
            spared |= {entry.record.digest, *(each.record.digest for each in family if each.used_at is not None)}
        return spared

    async def _list(self, user_id: str, now: int) -> list[Record]:
        with self._lock:
            return [entry.record for entry in self._table.of_user(user_id) if entry.is_live(now)]

    async def _touch(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, before: int, now: int) -> bool:
        with self._lock:
            entry = self._live(digests, user_id, now)
            if entry is None:
                return False
            record = entry.record
            if to_microseconds(record.token.last_used_at or record.token.issued_at) <= before:
                token = record.token.replaced(last_used_at=from_microseconds(now))
                entry.record = record = replace(record, token=token)
                self._table.postpone(entry, record.deadline(self._settings))
            return True

    async def _deny(self, digest: bytes, until: int, now: int) -> None:
        with self._lock:
            self._denials.add(digest, until, now)

    async def _is_denied(self, digests: tuple[bytes, ...], now: int) -> bool:
        with self._lock:
            return any(self._denials.holds(digest, now) for digest in digests)

    async def _set_generation(self, user_id: str, fresh: str, until: int, renew: bool, now: int) -> str:
        with self._lock:
            generation, end = self._generations.pop(user_id, (fresh, 0))
            if renew or end <= now:
                generation = fresh
            self._generations[user_id] = (generation, max(until, end))
            if len(self._generations) > self._max_entries:
                # Who asked longest ago has to sign in again, which is the safe side.
                self._generations.popitem(last=False)
            return generation

    async def _current_generation(self, user_id: str, now: int) -> str | None:
        with self._lock:
            generation, until = self._generations.get(user_id, (None, 0))
            return generation if until > now else None

    async def _purge(self, limit: int, now: int) -> int:
        with self._lock:
            dropped = self._table.drop_ended(now, limit)
            return dropped + self._denials.drop_ended(now, limit - dropped)

    async def _sizes(self) -> tuple[int | None, int | None]:
        now = self._now()
        with self._lock:
            self._table.drop_ended(now, len(self._table))
            return len(self._table), len(self._denials)

    async def _ping(self) -> None:
        """There is nothing that could be away."""

    def _add(self, record: Record, issued_at: int, now: int) -> int:
        table = self._table
        evicted = 0
        if len(table) >= self._max_entries and not table.drop_ended(now, 1):
            table.drop_oldest()
            evicted = 1
        table.add(Entry(record, record.deadline(self._settings), issued_at))
        return evicted

    def _stored(self, digest: bytes, now: int) -> Entry | None:
        entry = self._table.entries.get(digest)
        if entry is not None and entry.end <= now:
            self._table.remove(digest)
            return None
        return entry

    def _live(self, digests: tuple[bytes, ...], user_id: str | None, now: int) -> Entry | None:
        entries = self._table.entries
        for digest in digests:
            entry = entries.get(digest)
            if entry is not None and entry.used_at is None and entry.end > now:
                return entry if user_id is None or entry.record.token.user_id == user_id else None
        return None

    def _remove_all(self, entries: list[Entry], now: int) -> int:
        live = sum(entry.is_live(now) for entry in entries)
        for entry in entries:
            self._table.remove(entry.record.digest)
        return live


def open_store(url: str, **options: Any) -> InMemoryTokenStore:
    """Return a store for `memory://`."""
    if url.partition("://")[2]:
        raise ConfigurationError("url must be just 'memory://'; options such as max_entries are given beside it")
    return InMemoryTokenStore(**options)
