"""The statements that a store runs, for its dialect, its tables and the number of its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import TextClause

FIELDS = (
    "digest",
    "user_id",
    "family_id",
    "client_id",
    "issued_at",
    "expires_at",
    "started_at",
    "last_used_at",
    "concealed",
    "metadata",
    "ancestors",
    "kept_until",
)
"""The columns of a live token."""

USE = ("used_at", "successor", "sealed")
"""The columns of a used one beside them."""

_LIVE = "used_at IS NULL AND kept_until > :now"
_THEIRS = "(CAST(:user_id AS {text}) IS NULL OR user_id = :user_id)"


class Statements:
    """Everything that is sent, made once.

    Args:
        dialect: `"sqlite"` or `"postgresql"`.
        prefix: The beginning of every table's name.
        keys: Under how many digests an identifier may be stored: `:digest_0` and so on.
    """

    def __init__(self, dialect: str, prefix: str, keys: int) -> None:
        postgres = dialect == "postgresql"
        self._names = {
            "tokens": f"{prefix}tokens",
            "denied": f"{prefix}denied",
            "generations": f"{prefix}generations",
            "fields": ", ".join(FIELDS),
            "all": ", ".join((*FIELDS, *USE)),
            "digests": ", ".join(f":digest_{number}" for number in range(keys)),
            "values": _typed(postgres),
            "following": _typed(postgres, **_FOLLOWING),
            "excluded": ", ".join(f"{name} = excluded.{name}" for name in FIELDS[1:]),
            "live": _LIVE,
            "outdated": "used_at IS NOT NULL AND kept_until <= :now",
            "theirs": _THEIRS.format(text="text" if postgres else "TEXT"),
            "greatest": "greatest" if postgres else "max",
            "least": "least" if postgres else "min",
            # rows are locked in one order, so that two revocations wait for each other and never in a circle
            "in_order": "ORDER BY digest FOR UPDATE" if postgres else "",
            "unlocked": "FOR UPDATE SKIP LOCKED" if postgres else "",
            "has_ancestor": " OR ".join(
                f"position(substr(CAST(:digest_{number} AS bytea), 1, 8) in ancestors) > 0"
                if postgres
                else f"instr(ancestors, substr(:digest_{number}, 1, 8)) > 0"
                for number in range(keys)
            ),
        }
        made = self._made

        self.find = made("SELECT {all} FROM {tokens} WHERE digest IN ({digests}) AND kept_until > :now")
        self.listed = made("SELECT {all} FROM {tokens} WHERE user_id = :user_id AND {live}")
        # A dead row of the same digest is overwritten: for everybody else it is not there.
        self.insert = made(
            "INSERT INTO {tokens} AS stored ({fields}) SELECT {values}"
            " WHERE NOT EXISTS (SELECT 1 FROM {tokens} WHERE digest IN ({digests}) AND kept_until > :now)"
            " ON CONFLICT (digest) DO UPDATE SET {excluded}, used_at = NULL, successor = NULL, sealed = NULL"
            " WHERE stored.kept_until <= :now RETURNING 1"
        )
        self.lock_user = made("SELECT pg_advisory_xact_lock(:user_lock)") if postgres else None
        self.surplus = made(
            "SELECT digest FROM {tokens} WHERE user_id = :user_id AND digest <> :digest AND {live}"
            " ORDER BY issued_at DESC, digest LIMIT 1000000 OFFSET :others"
        )
        self.evict = made("DELETE FROM {tokens} WHERE digest = :digest AND used_at IS NULL RETURNING 1")

        use = (
            "UPDATE {tokens} SET used_at = :now, successor = :digest, sealed = :sealed, kept_until = :used_until"
            " WHERE digest IN ({digests}) AND user_id = :user_id AND {live}"
            " RETURNING digest, family_id, started_at, ancestors"
        )
        if postgres:
            self.rotate = made(
                f"WITH old AS ({use}), outdated AS (DELETE FROM {{tokens}} WHERE digest IN ("  # noqa: S608 - constants
                "SELECT digest FROM {tokens} WHERE family_id IN (SELECT family_id FROM old) AND {outdated} {unlocked}))"
                " INSERT INTO {tokens} ({fields}) SELECT {following} FROM old"
                " RETURNING family_id, started_at, ancestors, expires_at"
            )
        else:
            self.rotate = made(use)
            self.drop_outdated = made("DELETE FROM {tokens} WHERE family_id = :family_id AND {outdated}")
        self.make_room = made("DELETE FROM {tokens} WHERE digest = :digest AND kept_until <= :now RETURNING 1")

        self.descendants = made(
            "SELECT {all} FROM {tokens} WHERE user_id = :user_id AND {live}"
            " AND (family_id = :family_id OR {has_ancestor})"
        )
        self.relatives = made("SELECT family_id FROM {tokens} WHERE family_id = :family_id AND {live} LIMIT 1")

        remove = "DELETE FROM {tokens} WHERE digest IN (SELECT digest FROM {tokens} WHERE %s {in_order}) RETURNING %s"
        self.remove_live = made("DELETE FROM {tokens} WHERE digest IN ({digests}) AND {theirs} AND {live} RETURNING 1")
        self.remove = made(remove % ("digest IN ({digests}) AND {theirs}", "family_id, used_at, kept_until"))
        self.remove_family = made(remove % ("family_id = :family_id AND {theirs}", "used_at, kept_until"))
        self.kept = made(
            "SELECT digest, successor, family_id FROM {tokens}"
            " WHERE digest IN ({digests}) AND user_id = :user_id AND kept_until > :now {in_order}"
        )
        spared = "digest = :spared OR (used_at IS NOT NULL AND family_id = :spared_family)"
        self.remove_user = made(remove % (f"user_id = :user_id AND NOT ({spared})", "used_at, kept_until"))

        self.touch = made(
            "UPDATE {tokens} SET last_used_at = :now, kept_until = {least}(expires_at, CAST(:idle_until AS bigint))"
            " WHERE digest IN ({digests}) AND {theirs} AND {live}"
            " AND coalesce(last_used_at, issued_at) <= :before RETURNING 1"
        )

        self.deny = made(
            "INSERT INTO {denied} AS stored (digest, kept_until) VALUES (:digest, :until)"
            " ON CONFLICT (digest) DO UPDATE SET kept_until = excluded.kept_until"
            " WHERE stored.kept_until < excluded.kept_until"
        )
        self.is_denied = made("SELECT 1 FROM {denied} WHERE digest IN ({digests}) AND kept_until > :now")
        self.set_generation = made(
            "INSERT INTO {generations} AS stored (user_id, generation, kept_until) VALUES (:user_id, :fresh, :until)"
            " ON CONFLICT (user_id) DO UPDATE SET generation = CASE WHEN :renew OR stored.kept_until <= :now"
            " THEN excluded.generation ELSE stored.generation END,"
            " kept_until = {greatest}(stored.kept_until, excluded.kept_until) RETURNING generation"
        )
        self.generation = made("SELECT generation FROM {generations} WHERE user_id = :user_id AND kept_until > :now")

        purge = (
            "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE kept_until <= :now"
            " ORDER BY kept_until LIMIT :limit {unlocked}) RETURNING 1"
        )
        self.purges = tuple(
            made(purge.replace("{table}", table).replace("{key}", key))
            for table, key in (("{tokens}", "digest"), ("{denied}", "digest"), ("{generations}", "user_id"))
        )
        self.sizes = made(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM {tokens} LIMIT :most) AS t),"
            " (SELECT count(*) FROM (SELECT 1 FROM {denied} LIMIT :most) AS d)"
        )
        self.ping = made("SELECT 1")

    def _made(self, template: str) -> TextClause:
        return text(template.format(**self._names))


_EXPIRES_AT = "least(CAST(:expires_at AS bigint), started_at + CAST(:lifetime AS bigint))"
_FOLLOWING = {  # `Record.followed_by`, as the server does it
    "family_id": "family_id",
    "started_at": "started_at",
    "expires_at": _EXPIRES_AT,
    "ancestors": "substr(substr(digest, 1, 8) || ancestors, 1, 128)",
    "kept_until": f"least({_EXPIRES_AT}, CAST(:idle_until AS bigint))",
}
_POSTGRES_TYPES = dict.fromkeys(FIELDS, "bigint") | dict.fromkeys(("user_id", "family_id", "client_id"), "text")
_POSTGRES_TYPES |= dict.fromkeys(("digest", "concealed", "metadata", "ancestors"), "bytea")


def _typed(postgres: bool, **instead: str) -> str:
    """Return the parameters of a live token's columns, with their types, or what stands in place of some of them."""
    given = {name: f"CAST(:{name} AS {_POSTGRES_TYPES[name]})" if postgres else f":{name}" for name in FIELDS}
    return ", ".join((given | instead).values())
