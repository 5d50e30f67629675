"""Tables that come and change with the program: numbered steps of plain SQL, each applied once.

Every SQL backend of this package has a list of steps. What was applied is recorded in a table that they share. Steps
run in one transaction, under a lock that the other processes wait for: a cluster may start all at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from typing import TYPE_CHECKING

from asgi_infra.errors import ConfigurationError, DatabaseError
from asgi_infra.options import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

DIALECTS = ("sqlite", "postgresql")
DEFAULT_PREFIX = "asgi_infra_"

_COMPONENTS = {
    "tokens": "asgi_infra.tokens.backends.sql.schema:MIGRATIONS",
    "audit": "asgi_infra.audit.backends.sql.schema:MIGRATIONS",
}
_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_TYPES = {"sqlite": ("INTEGER", "TEXT"), "postgresql": ("bigint", "text")}
_HISTORY = """\
CREATE TABLE IF NOT EXISTS {prefix}migrations (
    component {text} NOT NULL,
    number {integer} NOT NULL,
    name {text} NOT NULL,
    checksum {text} NOT NULL,
    PRIMARY KEY (component, number)
)"""


class MigrationError(DatabaseError):
    """The tables are not those that this program needs, and it may not or can't make them so."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the tables; once released, it is never edited.

    Attributes:
        name: What it does, in a few words.
        sqlite: Its statements for SQLite; `{prefix}` stands for the beginning of every table's name.
        postgresql: The same for PostgreSQL.
    """

    name: str
    sqlite: Sequence[str]
    postgresql: Sequence[str]

    def statements(self, dialect: str, prefix: str) -> list[str]:
        """Return the statements as they are run."""
        return [each.replace("{prefix}", prefix) for each in getattr(self, dialect)]

    def checksum(self, dialect: str) -> str:
        """Return what is recorded of the step, to notice one that was edited."""
        text = "\n".join(getattr(self, dialect))
        return blake2b(text.encode(), digest_size=16).hexdigest()


class Migrations:
    """The steps of one component.

    Args:
        component: Its name, such as `"tokens"`.
        steps: From the first release on, in order.
    """

    def __init__(self, component: str, steps: Sequence[Step]) -> None:
        self.component = component
        self.steps = tuple(steps)

    def missing(self, connection: Connection, *, prefix: str = DEFAULT_PREFIX) -> tuple[Step, ...]:
        """Return the steps that the database does not have yet.

        Args:
            connection: Only read from.
            prefix: The beginning of every table's name.

        Raises:
            MigrationError: The database is newer than the program, or has a step in another form.
        """
        dialect = connection.dialect.name
        applied = self._applied(connection, prefix)
        for step, (name, checksum) in zip(self.steps, applied, strict=False):
            if checksum != step.checksum(dialect):
                raise MigrationError(
                    f"the step {name!r} of {self.component!r} was applied to the database in another form than this "
                    "program has; it was changed by hand, or belongs to another program"
                )
        if len(applied) > len(self.steps):
            raise MigrationError(
                f"the database has step {len(applied)} of {self.component!r}, {applied[-1][0]!r}, "
                f"and this program knows {len(self.steps)}; it is older than the database: update it"
            )
        return self.steps[len(applied) :]

    def check(self, connection: Connection, *, prefix: str = DEFAULT_PREFIX) -> None:
        """Raise `MigrationError` unless the database has every step."""
        missing = self.missing(connection, prefix=prefix)
        if missing:
            names = ", ".join(repr(step.name) for step in missing)
            raise MigrationError(
                f"the database lacks steps of {self.component!r}: {names}; apply them, or allow migrate=True"
            )

    def apply(self, connection: Connection, *, prefix: str = DEFAULT_PREFIX) -> int:
        """Apply the steps that are missing, and return how many they were.

        Any number of processes may do so at once: the first one works, the others wait for it.

        Args:
            connection: In a transaction, on SQLite one that has begun with `BEGIN IMMEDIATE`; the caller commits it.
            prefix: The beginning of every table's name.

        Raises:
            MigrationError: See `missing`.
        """
        dialect = connection.dialect.name
        if dialect == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_lock_of(prefix)})")
        missing = self.missing(connection, prefix=prefix)
        if missing:
            connection.exec_driver_sql(_history(dialect, prefix))
        for number, step in enumerate(missing, len(self.steps) - len(missing) + 1):
            for statement in step.statements(dialect, prefix):
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(self._record(number, step, dialect, prefix))
        return len(missing)

    def sql(self, dialect: str, *, prefix: str = DEFAULT_PREFIX) -> str:
        """Return everything as one script, for those who review and apply it themselves; it need not be applied then.

        Args:
            dialect: `"sqlite"` or `"postgresql"`.
            prefix: The beginning of every table's name.

        Raises:
            ConfigurationError: There is no such dialect, or the prefix can't begin a name.
        """
        if dialect not in DIALECTS:
            raise ConfigurationError(f"dialect must be one of {', '.join(DIALECTS)}, not {shown(dialect)}")
        require_prefix("prefix", prefix)
        parts = ["BEGIN", _history(dialect, prefix)]
        for number, step in enumerate(self.steps, 1):
            parts.append(f"-- {self.component} {number}: {step.name}\n" + ";\n".join(step.statements(dialect, prefix)))
            parts.append(self._record(number, step, dialect, prefix))
        return ";\n\n".join([*parts, "COMMIT"]) + ";\n"

    def _applied(self, connection: Connection, prefix: str) -> list[tuple[str, str]]:
        found = connection.exec_driver_sql(
            # to_regclass would answer from a cache that has not heard of what was committed while the lock was awaited
            f"SELECT count(*) FROM pg_class WHERE relname = '{prefix}migrations' AND pg_table_is_visible(oid)"  # noqa: S608
            if connection.dialect.name == "postgresql"
            else f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{prefix}migrations'"  # noqa: S608
        )
        if not found.scalar():
            return []
        rows = connection.exec_driver_sql(
            f"SELECT name, checksum FROM {prefix}migrations "  # noqa: S608 - names that were checked
            f"WHERE component = '{self.component}' ORDER BY number"
        )
        return [(str(name), str(checksum)) for name, checksum in rows]

    def _record(self, number: int, step: Step, dialect: str, prefix: str) -> str:
        name = step.name.replace("'", "''")
        return (
            f"INSERT INTO {prefix}migrations (component, number, name, checksum) "  # noqa: S608 - constants
            f"VALUES ('{self.component}', {number}, '{name}', '{step.checksum(dialect)}')"
        )


def sql_of(component: str, dialect: str, *, prefix: str = DEFAULT_PREFIX) -> str:
    """Return the tables of a component as a script of plain SQL.

    Args:
        component: Which one, for example `"tokens"`.
        dialect: `"sqlite"` or `"postgresql"`.
        prefix: The beginning of every table's name.

    Raises:
        ConfigurationError: There is no such component or dialect, or the prefix can't begin a name.

    Example:
        >>> print(sql_of("tokens", "postgresql"))
    """
    if component not in _COMPONENTS:
        raise ConfigurationError(f"component must be one of {', '.join(_COMPONENTS)}, not {shown(component)}")
    module, _, name = _COMPONENTS[component].partition(":")
    migrations: Migrations = getattr(import_module(module), name)
    return migrations.sql(dialect, prefix=prefix)


def require_prefix(name: str, value: object) -> None:
    """Refuse what can't begin the name of a table without being quoted."""
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ConfigurationError(
            f"{name} must be 1 to 32 small letters, digits and underscores that begin with no digit, not {shown(value)}"
        )


def _history(dialect: str, prefix: str) -> str:
    integer, text = _TYPES[dialect]
    return _HISTORY.format(prefix=prefix, integer=integer, text=text)


def _lock_of(prefix: str) -> int:
    digest = blake2b(prefix.encode(), digest_size=8, person=b"asgi_infra.migr").digest()
    return int.from_bytes(digest, "big", signed=True)
