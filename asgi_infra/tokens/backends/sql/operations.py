"""What a store does inside of one transaction: plain functions on SQLAlchemy's synchronous connection."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import IntegrityError

from asgi_infra.tokens.backends.sql.rows import NEVER, record_of, row_of
from asgi_infra.tokens.backends.sql.statements import Statements
from asgi_infra.tokens.clock import from_microseconds, to_microseconds
from asgi_infra.tokens.errors import DuplicateTokenError
from asgi_infra.tokens.identifiers import family_of
from asgi_infra.tokens.records import Record, Replaced
from asgi_infra.tokens.rotation import RotationStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, TextClause

    from asgi_infra.tokens.options import Settings
    from asgi_infra.tokens.records import RecordCodec

_COUNTED = 100_000
_UNKNOWN = Replaced(RotationStatus.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Rotating:
    """What a rotation was asked for; see `TokenBackend._replace`."""

    digests: tuple[bytes, ...]
    jti: str
    successor: Record | None
    sealed: bytes
    user_id: str | None
    now: int


class Operations:
    """The primitives of `TokenBackend`, each for a connection whose transaction somebody else begins and ends.

    Args:
        dialect: `"sqlite"` or `"postgresql"`.
        prefix: The beginning of every table's name.
        keys: Under how many digests an identifier may be stored.
        settings: The store's.
        codec: The store's.
    """

    def __init__(self, dialect: str, prefix: str, keys: int, settings: Settings, codec: RecordCodec) -> None:
        self.sql = Statements(dialect, prefix, keys)
        self.rotates_alone = dialect == "postgresql"
        """Whether `rotate` is one statement, which needs no transaction around it."""
        self._prefix = prefix
        self._keys = keys
        self._settings = settings
        self._codec = codec
        self._grace = round(settings.grace * 1_000_000)
        self._kept_used = round(settings.kept_used * 1_000_000)
        self._lifetime = _microseconds(settings.absolute_lifetime)
        self._idle = _microseconds(settings.idle_lifetime)

    # Tokens

    def insert(self, connection: Connection, record: Record, others: tuple[bytes, ...], now: int) -> int:
        sql, user_id, most = self.sql, record.token.user_id, self._settings.max_sessions
        if most is not None and sql.lock_user is not None:
            connection.execute(sql.lock_user, {"user_lock": self._lock_of(user_id)})
        self._store(connection, record, (record.digest, *others), now)
        if most is None:
            return 0
        evicted = 0
        surplus = {"user_id": user_id, "digest": record.digest, "others": most - 1, "now": now}
        # A rotation may put another token in the place of one that is found here; then it is looked for again.
        while found := connection.execute(sql.surplus, surplus).scalars().all():
            for digest in sorted(map(bytes, found)):
                evicted += len(connection.execute(sql.evict, {"digest": digest}).all())
        return evicted

    def find(self, connection: Connection, digests: tuple[bytes, ...], now: int) -> Row[Any] | None:
        return connection.execute(self.sql.find, self._under(digests) | {"now": now}).first()

    def listed(self, connection: Connection, user_id: str, now: int) -> list[Record]:
        rows = connection.execute(self.sql.listed, {"user_id": user_id, "now": now}).all()
        return [record_of(row, self._codec) for row in rows]

    def touch(
        self, connection: Connection, digests: tuple[bytes, ...], user_id: str | None, before: int, now: int
    ) -> bool:
        values = {"user_id": user_id, "before": before, "now": now, "idle_until": now + self._idle}
        return connection.execute(self.sql.touch, self._under(digests) | values).first() is not None

    # Rotation

    def rotate(self, connection: Connection, asked: Rotating) -> Record | None:
        """Replace a live token, and return the successor as it is stored; `None` when the token can't be replaced."""
        sql, new, now = self.sql, asked.successor, asked.now
        if new is None:
            return None
        used = {"sealed": asked.sealed, "used_until": now + self._kept_used, "user_id": asked.user_id, "now": now}
        used |= self._under(asked.digests)
        if self.rotates_alone:
            idle_until = to_microseconds(new.token.last_used_at or new.token.issued_at) + self._idle
            used |= {"lifetime": self._lifetime, "idle_until": idle_until}
            try:
                row = connection.execute(sql.rotate, row_of(new, self._codec, self._settings) | used).first()
            except IntegrityError as exc:
                raise DuplicateTokenError("the successor's jti is stored already, for another token") from exc
            if row is None:
                return None
            token = new.token.replaced(family_id=row.family_id, expires_at=from_microseconds(row.expires_at))
            return Record(new.digest, token, row.started_at, bytes(row.ancestors))
        row = connection.execute(sql.rotate, used | {"digest": new.digest}).first()
        if row is None:
            return None
        # only what its successor inherits
        token = new.token.replaced(family_id=row.family_id)
        record = Record(bytes(row.digest), token, row.started_at, bytes(row.ancestors)).followed_by(new, self._settings)
        self._store(connection, record, (new.digest,), now)
        connection.execute(sql.drop_outdated, {"family_id": row.family_id, "now": now})
        return record

    def rotate_or_tell(self, connection: Connection, asked: Rotating) -> Replaced:
        """Replace a token, or tell why that can't be done; what follows from that is done too."""
        if asked.successor is not None and self.rotates_alone:
            # that statement does not overwrite a dead row of the same digest, as `_store` does
            connection.execute(self.sql.make_room, {"digest": asked.successor.digest, "now": asked.now})
        record = self.rotate(connection, asked)
        if record is not None:
            return Replaced(RotationStatus.ROTATED, record)
        row = self.find(connection, asked.digests, asked.now)
        if row is None:
            family_id = self._family_of_descendants(connection, asked)
            return _UNKNOWN if family_id is None else self._reused(connection, family_id, asked.now)
        if row.used_at is None or (asked.user_id is not None and row.user_id != asked.user_id):
            return _UNKNOWN
        winner = bytes(row.successor)
        same = asked.successor is not None and asked.successor.digest == winner
        if not same and asked.now >= row.used_at + self._grace:
            return self._reused(connection, row.family_id, asked.now)
        followed = self.find(connection, (winner,), asked.now)
        if followed is None:
            return _UNKNOWN
        status = RotationStatus.ROTATED if same else RotationStatus.SUPERSEDED
        return Replaced(status, record_of(followed, self._codec), bytes(row.sealed))

    def _family_of_descendants(self, connection: Connection, asked: Rotating) -> str | None:
        named = family_of(asked.jti)
        if asked.user_id is None:
            if named is None:
                return None
            return connection.execute(self.sql.relatives, {"family_id": named, "now": asked.now}).scalar()
        values = self._under(asked.digests) | {"user_id": asked.user_id, "family_id": named, "now": asked.now}
        for row in connection.execute(self.sql.descendants, values):
            heir = record_of(row, self._codec)
            if row.family_id == named or any(heir.remembers(digest) for digest in asked.digests):
                return heir.token.family_id
        return None

    def _reused(self, connection: Connection, family_id: str, now: int) -> Replaced:
        revoked = self.remove_family(connection, family_id, None, now)
        return Replaced(RotationStatus.REUSED, family_id=family_id, revoked=revoked)

    # Revocation

    def remove_live(self, connection: Connection, digests: tuple[bytes, ...], user_id: str | None, now: int) -> int:
        """Remove a live token; a used one stays."""
        values = self._under(digests) | {"user_id": user_id, "now": now}
        return len(connection.execute(self.sql.remove_live, values).all())

    def remove(self, connection: Connection, digests: tuple[bytes, ...], user_id: str | None, now: int) -> int:
        """Remove a token, or the family of a used one."""
        rows = connection.execute(self.sql.remove, self._under(digests) | {"user_id": user_id}).all()
        families = {row.family_id for row in rows if row.used_at is not None and row.kept_until > now}
        return _live(rows, now) + sum(self.remove_family(connection, family, None, now) for family in sorted(families))

    def remove_family(self, connection: Connection, family_id: str, user_id: str | None, now: int) -> int:
        return self._remove_all(connection, self.sql.remove_family, {"family_id": family_id, "user_id": user_id}, now)

    def remove_user(self, connection: Connection, user_id: str, kept: tuple[bytes, ...], now: int) -> int:
        values = {"user_id": user_id, "spared": b"", "spared_family": ""}
        while kept:  # from a used token to what replaced it; each is locked, so that no rotation takes it away
            row = connection.execute(self.sql.kept, self._under(kept) | {"user_id": user_id, "now": now}).first()
            if row is None:
                break
            values |= {"spared": row.digest, "spared_family": row.family_id}
            kept = () if row.successor is None else (bytes(row.successor),)
        return self._remove_all(connection, self.sql.remove_user, values, now)

    def _remove_all(self, connection: Connection, statement: TextClause, values: dict[str, Any], now: int) -> int:
        # A rotation that was under way when the statement began may have stored a successor that it did not see, and
        # then a token was used that it did see. It is over when there is nothing to be seen.
        removed = 0
        while rows := connection.execute(statement, values).all():
            removed += _live(rows, now)
        return removed

    # Tokens that are not stored

    def deny(self, connection: Connection, digest: bytes, until: int) -> None:
        connection.execute(self.sql.deny, {"digest": digest, "until": until})

    def is_denied(self, connection: Connection, digests: tuple[bytes, ...], now: int) -> bool:
        return connection.execute(self.sql.is_denied, self._under(digests) | {"now": now}).first() is not None

    def set_generation(
        self, connection: Connection, user_id: str, fresh: str, until: int, renew: bool, now: int
    ) -> str:
        values = {"user_id": user_id, "fresh": fresh, "until": until, "renew": renew, "now": now}
        return str(connection.execute(self.sql.set_generation, values).scalar_one())

    def generation(self, connection: Connection, user_id: str, now: int) -> str | None:
        return connection.execute(self.sql.generation, {"user_id": user_id, "now": now}).scalar()

    # Upkeep

    def purge(self, connection: Connection, limit: int, now: int) -> int:
        purged = 0
        for statement in self.sql.purges:
            if purged < limit:
                purged += len(connection.execute(statement, {"limit": limit - purged, "now": now}).all())
        return purged

    def sizes(self, connection: Connection) -> tuple[int | None, int | None]:
        tokens, denied = connection.execute(self.sql.sizes, {"most": _COUNTED + 1}).one()
        return (None if tokens > _COUNTED else tokens, None if denied > _COUNTED else denied)

    def ping(self, connection: Connection) -> None:
        connection.execute(self.sql.ping)

    # How they do it

    def _store(self, connection: Connection, record: Record, digests: tuple[bytes, ...], now: int) -> None:
        values = row_of(record, self._codec, self._settings) | self._under(digests) | {"now": now}
        if connection.execute(self.sql.insert, values).first() is None:
            raise DuplicateTokenError("a token with this jti is stored already")

    def _under(self, digests: tuple[bytes, ...]) -> dict[str, bytes]:
        """Return the parameters of the digests; those that are left over repeat one, or are no digest."""
        rest = digests[-1] if digests else b""
        return {f"digest_{at}": digests[at] if at < len(digests) else rest for at in range(self._keys)}

    def _lock_of(self, user_id: str) -> int:
        name = f"{self._prefix}{user_id}".encode()
        return int.from_bytes(blake2b(name, digest_size=8, person=b"asgi_infra.user").digest(), "big", signed=True)


def _live(rows: list[Row[Any]] | Any, now: int) -> int:
    return sum(row.used_at is None and row.kept_until > now for row in rows)


def _microseconds(seconds: float | None) -> int:
    return NEVER if seconds is None else round(seconds * 1_000_000)
