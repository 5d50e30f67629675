"""The index beside the log: an SQLite file that can be removed at any time, and is made again from the log.

It holds no private value, and no user in the clear: of `user_id` it has a keyed hash. It is written behind the log, so
everything that reads it says up to which entry it must know the log (`catch_up` of the follower).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections import deque
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import blake2b, sha256
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.backends.file.searching import SCHEMA, Search
from asgi_infra.audit.errors import AuditFullError, AuditUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from asgi_infra.audit.backends.file.frames import Frame
    from asgi_infra.audit.filter import AuditFilter

VERSION: Final = 1
SPAN: Final = 1024
"""Entries whose earliest and latest time are kept together."""

_COLUMNS: Final = 11
_BULK: Final = (256, 32, 1)
_CONNECTIONS: Final = 4
_INSERTS: Final = {
    rows: f"INSERT INTO entry VALUES {','.join(['(' + ','.join('?' * _COLUMNS) + ')'] * rows)}"  # noqa: S608
    for rows in _BULK
}
_CORRUPT: Final = ("malformed", "not a database", "no such", "corrupt")


class _Leaf(msgspec.Struct):
    id: str
    timestamp: str
    action: str
    resource_type: str
    result: str
    user_id: str | None = None
    resource_id: str | None = None
    tenant: str | None = None
    request_id: str | None = None


class _Private(msgspec.Struct):
    user_id: tuple[str, str] | None = None


_leaf = msgspec.json.Decoder(_Leaf).decode
_private = msgspec.json.Decoder(_Private).decode


class IndexLostError(Exception):
    """The index is gone or damaged, and has to be made again."""


class Index:
    """The index of one log, for any thread; what writes to it needs the lock of the followers.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._idle: deque[sqlite3.Connection] = deque()
        self._inode = -1
        self._hash: Callable[[str], bytes] = str.encode

    def open(self) -> bool:
        """Open the file, or make it, and return whether it is new. Needs the lock.

        Raises:
            IndexLostError: What is there is no index of ours.
        """
        os.close(files.open_file(self.path, os.O_RDWR | os.O_CREAT))  # with its mode; SQLite would ask the umask
        self._inode = self.path.stat().st_ino
        with self._writing() as connection:
            new = bool(connection.execute("PRAGMA user_version").fetchone()[0] == 0)
            if new:
                for statement in SCHEMA.split(";\n"):
                    connection.execute(statement)
                connection.execute("INSERT INTO state VALUES (0, x'', ?)", [secrets.token_bytes(32)])
                connection.execute(f"PRAGMA user_version = {VERSION}")
            if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                raise IndexLostError("the index has another layout")
            self._hash = _hasher(connection.execute("SELECT key FROM state").fetchone()[0])
        return new

    def remove(self) -> None:
        """Remove the file; `open` makes a new one. Needs the lock."""
        self.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            files.remove(self.path.with_name(self.path.name + suffix))

    def size(self) -> tuple[int, bytes]:
        """Return how many entries are in the index, and the leaf hash of the last one.

        Raises:
            IndexLostError: It is gone or damaged.
        """
        with self._reading() as connection:
            size, value = connection.execute("SELECT size, leaf_hash FROM state").fetchone()
            return int(size), bytes(value)

    def add(self, frames: Sequence[Frame]) -> None:
        """Add the next entries; all or none."""
        rows: list[tuple[Any, ...]] = []
        spans: dict[int, tuple[str, str]] = {}
        for frame in frames:
            leaf = _leaf(frame.leaf)
            user = leaf.user_id
            if user is None and frame.private is not None and b'"user_id"' in frame.private:
                found = _private(frame.private).user_id
                user = None if found is None else found[1]
            time = leaf.timestamp
            low, high = spans.get(frame.seq // SPAN, (time, time))
            spans[frame.seq // SPAN] = (min(low, time), max(high, time))
            rows.append(
                (
                    frame.seq,
                    frame.at,
                    leaf.id,
                    time,
                    None if user is None else self._hash(user),
                    leaf.action,
                    leaf.resource_type,
                    leaf.resource_id,
                    leaf.result,
                    leaf.tenant,
                    leaf.request_id,
                )
            )
        with self._writing() as connection:
            at = 0
            for bulk in _BULK:
                while len(rows) - at >= bulk:
                    values = [value for row in rows[at : at + bulk] for value in row]
                    connection.execute(_INSERTS[bulk], values)  # one call, in which other threads go on
                    at += bulk
            connection.executemany(
                "INSERT INTO span VALUES (?1, ?2, ?3) ON CONFLICT (block) "
                "DO UPDATE SET low = min(low, excluded.low), high = max(high, excluded.high)",
                [(block, *times) for block, times in spans.items()],
            )
            last = sha256(b"\x00" + frames[-1].leaf).digest()
            connection.execute("UPDATE state SET size = ?, leaf_hash = ?", [frames[-1].seq + 1, last])

    def forget_users(self, frames: Iterable[Frame]) -> None:
        """Remove the users of entries whose leaf does not tell them."""
        seqs = [(frame.seq,) for frame in frames if _leaf(frame.leaf).user_id is None]
        with self._writing() as connection:
            connection.executemany("UPDATE entry SET user = NULL WHERE seq = ?", seqs)
        with self._reading() as connection, suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # old pages are there, too

    def drop(self, before: int) -> None:
        """Remove entries that were purged."""
        with self._writing() as connection:
            connection.execute("DELETE FROM entry WHERE seq < ?", [before])
            connection.execute("DELETE FROM span WHERE block < ?", [before // SPAN])

    def find(self, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return number and place of the entries with these ids."""
        found: dict[str, tuple[int, int]] = {}
        with self._reading() as connection:
            for at in range(0, len(ids), 500):
                part = ids[at : at + 500]
                query = f"SELECT id, seq, at FROM entry WHERE id IN ({','.join('?' * len(part))})"  # noqa: S608
                found.update({name: (seq, place) for name, seq, place in connection.execute(query, part)})
        return found

    def place(self, seq: int) -> int | None:
        """Return where in its segment an entry begins."""
        with self._reading() as connection:
            row = connection.execute("SELECT at FROM entry WHERE seq = ?", [seq]).fetchone()
            return None if row is None else row[0]

    def places(self, seqs: Sequence[int]) -> list[tuple[int, int]]:
        """Return numbers and places of entries, by number; what is not there is left out."""
        with self._reading() as connection:
            rows = [connection.execute("SELECT seq, at FROM entry WHERE seq = ?", [seq]).fetchone() for seq in seqs]
        return sorted(row for row in rows if row is not None)

    def select(
        self, wanted: AuditFilter, start: int, stop: int, limit: int, *, newest_first: bool
    ) -> list[tuple[int, int]]:
        """Return numbers and places of the first entries that are wanted, or the last ones downwards."""
        search = Search(wanted, self._hash)
        with self._reading() as connection:
            return search.select(connection, start, stop, limit, newest_first=newest_first)

    def count(self, wanted: AuditFilter, start: int, stop: int) -> int:
        """Return how many entries are wanted."""
        search = Search(wanted, self._hash)
        with self._reading() as connection:
            return search.count(connection, start, stop)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            while self._idle:
                self._idle.popleft().close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            if self.path.stat().st_ino != self._inode:
                raise IndexLostError("another process has made the index again")
            with self._lock:
                connection = self._idle.popleft() if self._idle else None
            if connection is None:
                connection = self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            with self._lock:
                if len(self._idle) < _CONNECTIONS:
                    self._idle.append(connection)
                    connection = None
            if connection is not None:
                connection.close()
        except FileNotFoundError as exc:
            raise IndexLostError("the index was removed") from exc
        except sqlite3.DatabaseError as exc:
            text = str(exc)
            if "full" in text:
                raise AuditFullError("there is no room for the index of the audit log") from exc
            if any(word in text for word in _CORRUPT):
                raise IndexLostError(f"the index is damaged: {text}") from exc
            raise AuditUnavailableError("the index of the audit log can't be read or written to") from exc

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # after a crash it may be behind, but is whole
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA cache_size = -16000")
        return connection


def _hasher(key: bytes) -> Callable[[str], bytes]:
    return lru_cache(4096)(lambda user: blake2b(user.encode(), key=key, digest_size=16).digest())
