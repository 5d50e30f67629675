"""The tables of an audit log, and the triggers that let them only grow.

Times are microseconds of Unix time on SQLite, and `timestamptz` on PostgreSQL, where entries and private parts lie in
partitions of a month each. The triggers keep mistakes out, not somebody who owns the database: what that one changes,
`verify` and the checkpoints show.
"""

from __future__ import annotations

from typing import Final

from asgi_infra.database.migrations import Migrations, Step

CHANGE: Final = "asgi_infra.audit_change"
"""PostgreSQL: the setting that lets a transaction erase and prune; SQLite has the table `audit_permit` for that."""

_INDEXED: Final = ("user_id", "resource_id", "action", "resource_type")

_REFUSED: Final = "audit entries are only ever added"
_GROWS: Final = "the audit log only ever grows"

_SQLITE_TABLES: Final = (
    """\
CREATE TABLE {prefix}audit_entries (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    time INTEGER NOT NULL,
    user_id TEXT,
    action TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT,
    result TEXT NOT NULL,
    tenant TEXT,
    request_id TEXT,
    leaf BLOB NOT NULL
)""",
    # every index of SQLite ends with the rowid, which is the number
    *(
        f"CREATE INDEX {{prefix}}audit_{name} ON {{prefix}}audit_entries ({name})"
        + (f" WHERE {name} IS NOT NULL" if name.endswith("_id") else "")
        for name in _INDEXED
    ),
    "CREATE TABLE {prefix}audit_private (seq INTEGER PRIMARY KEY, private BLOB NOT NULL)",
    """\
CREATE TABLE {prefix}audit_tiles (
    level INTEGER NOT NULL,
    n INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, n)
)""",
    """\
CREATE TABLE {prefix}audit_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    first INTEGER NOT NULL CHECK (first BETWEEN 0 AND size),
    edge BLOB NOT NULL
)""",
    "INSERT INTO {prefix}audit_head (id, size, first, edge) VALUES (1, 0, 0, x'')",
    """\
CREATE TABLE {prefix}audit_checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    note BLOB NOT NULL
)""",
    """\
CREATE TABLE {prefix}audit_staged (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    leaf BLOB NOT NULL,
    private BLOB
)""",
    "CREATE TABLE {prefix}audit_permit (id INTEGER PRIMARY KEY CHECK (id = 1))",
)


def _sqlite_trigger(table: str, event: str, condition: str, message: str) -> str:
    return (
        f"CREATE TRIGGER {{prefix}}audit_{table}_{event.lower()} BEFORE {event} ON {{prefix}}audit_{table} "
        f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


_UNLESS_PERMITTED: Final = "NOT EXISTS (SELECT 1 FROM {prefix}audit_permit)"
_SQLITE_TRIGGERS: Final = (
    *(
        _sqlite_trigger(table, event, _UNLESS_PERMITTED, _REFUSED)
        for table in ("entries", "private")
        for event in ("UPDATE", "DELETE")
    ),
    _sqlite_trigger("tiles", "DELETE", "1", _GROWS),
    _sqlite_trigger(
        "tiles",
        "UPDATE",
        "OLD.level <> NEW.level OR OLD.n <> NEW.n OR substr(NEW.hashes, 1, length(OLD.hashes)) <> OLD.hashes",
        _GROWS,
    ),
    _sqlite_trigger("head", "DELETE", "1", _GROWS),
    _sqlite_trigger("head", "UPDATE", "NEW.size < OLD.size OR NEW.first < OLD.first", _GROWS),
    _sqlite_trigger("checkpoint", "DELETE", "1", _GROWS),
    _sqlite_trigger("checkpoint", "UPDATE", "NEW.size < OLD.size", _GROWS),
    _sqlite_trigger("staged", "UPDATE", "1", _REFUSED),
)

_TEXT: Final = 'text COLLATE "C"'
_POSTGRESQL_TABLES: Final = (
    f"""\
CREATE TABLE {{prefix}}audit_entries (
    seq bigint NOT NULL,
    time timestamptz NOT NULL,
    user_id {_TEXT},
    action {_TEXT} NOT NULL,
    resource_type {_TEXT} NOT NULL,
    resource_id {_TEXT},
    result {_TEXT} NOT NULL,
    tenant {_TEXT},
    request_id {_TEXT},
    leaf bytea NOT NULL,
    PRIMARY KEY (seq, time)
) PARTITION BY RANGE (time)""",
    *(
        f"CREATE INDEX {{prefix}}audit_{name} ON {{prefix}}audit_entries ({name}, seq)"
        + (f" WHERE {name} IS NOT NULL" if name.endswith("_id") else "")
        for name in _INDEXED
    ),
    "CREATE INDEX {prefix}audit_time ON {prefix}audit_entries USING brin (time)",
    """\
CREATE TABLE {prefix}audit_private (
    seq bigint NOT NULL,
    time timestamptz NOT NULL,
    private bytea NOT NULL,
    PRIMARY KEY (seq, time)
) PARTITION BY RANGE (time)""",
    # what is unique in a partitioned table must hold the time, so ids and numbers are unique here
    f"CREATE TABLE {{prefix}}audit_ids (id {_TEXT} PRIMARY KEY, seq bigint NOT NULL UNIQUE)",
    """\
CREATE TABLE {prefix}audit_tiles (
    level integer NOT NULL,
    n bigint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (level, n)
)""",
    "ALTER TABLE {prefix}audit_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL",
    """\
CREATE TABLE {prefix}audit_head (
    id integer PRIMARY KEY CHECK (id = 1),
    size bigint NOT NULL,
    first bigint NOT NULL CHECK (first BETWEEN 0 AND size),
    edge bytea NOT NULL
) WITH (fillfactor = 10)""",
    "INSERT INTO {prefix}audit_head (id, size, first, edge) VALUES (1, 0, 0, '')",
    """\
CREATE TABLE {prefix}audit_checkpoint (
    id integer PRIMARY KEY CHECK (id = 1),
    size bigint NOT NULL,
    note bytea NOT NULL
)""",
    """\
CREATE TABLE {prefix}audit_staged (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    leaf bytea NOT NULL,
    private bytea
)""",
)


def _function(name: str, body: str) -> str:
    return (
        f"CREATE FUNCTION {{prefix}}audit_{name}() RETURNS trigger LANGUAGE plpgsql AS $body$\nBEGIN\n{body}\n"
        "END $body$"
    )


def _postgresql_trigger(table: str, name: str, events: str, level: str, function: str) -> str:
    return (
        f"CREATE TRIGGER {{prefix}}audit_{table}_{name} BEFORE {events} ON {{prefix}}audit_{table} "
        f"FOR EACH {level} EXECUTE FUNCTION {{prefix}}audit_{function}()"
    )


def _refuse(condition: str, message: str) -> str:
    return f"    IF {condition} THEN RAISE EXCEPTION '{message}'; END IF;"


_RETURN: Final = "    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n    RETURN NEW;"
_POSTGRESQL_TRIGGERS: Final = (
    _function(
        "refuse_change",
        _refuse(f"current_setting('{CHANGE}', true) IS DISTINCT FROM 'on'", _REFUSED) + f"\n{_RETURN}",
    ),
    _function("refuse", f"    RAISE EXCEPTION '{_REFUSED}';"),
    _function(
        "tiles_grow",
        _refuse(
            "(OLD.level, OLD.n) <> (NEW.level, NEW.n) OR substr(NEW.hashes, 1, length(OLD.hashes)) <> OLD.hashes",
            _GROWS,
        )
        + "\n    RETURN NEW;",
    ),
    _function("head_grows", _refuse("NEW.size < OLD.size OR NEW.first < OLD.first", _GROWS) + "\n    RETURN NEW;"),
    _function("checkpoint_grows", _refuse("NEW.size < OLD.size", _GROWS) + "\n    RETURN NEW;"),
    *(
        _postgresql_trigger(table, "change", "UPDATE OR DELETE", "ROW", "refuse_change")
        for table in ("entries", "private", "ids")
    ),
    *(
        _postgresql_trigger(table, "truncate", "TRUNCATE", "STATEMENT", "refuse")
        for table in ("entries", "private", "ids", "tiles", "head", "checkpoint")
    ),
    *(_postgresql_trigger(table, "delete", "DELETE", "ROW", "refuse") for table in ("tiles", "head", "checkpoint")),
    _postgresql_trigger("tiles", "update", "UPDATE", "ROW", "tiles_grow"),
    _postgresql_trigger("head", "update", "UPDATE", "ROW", "head_grows"),
    _postgresql_trigger("checkpoint", "update", "UPDATE", "ROW", "checkpoint_grows"),
    _postgresql_trigger("staged", "update", "UPDATE", "ROW", "refuse"),
)

MIGRATIONS: Final = Migrations(
    "audit",
    [
        Step(
            "entries, private parts, tiles, head, checkpoint and staged entries",
            sqlite=(*_SQLITE_TABLES, *_SQLITE_TRIGGERS),
            postgresql=(*_POSTGRESQL_TABLES, *_POSTGRESQL_TRIGGERS),
        )
    ],
)
