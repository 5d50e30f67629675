"""The tables of tokens; all times are microseconds of Unix time."""

from __future__ import annotations

from asgi_infra.database.migrations import Migrations, Step

# Live tokens and used ones. `kept_until` is the end of a live token's life (expiry, or idle lifetime if that comes
# first) and of a used one's memory; a row is dead from then on, whether it has been removed or not.
_COLUMNS = """\
    user_id {text} NOT NULL,
    family_id {text} NOT NULL,
    client_id {text},
    issued_at {integer} NOT NULL,
    expires_at {integer} NOT NULL,
    started_at {integer} NOT NULL,
    last_used_at {integer},
    concealed {bytes},
    metadata {bytes} NOT NULL,
    ancestors {bytes} NOT NULL,
    used_at {integer},
    successor {bytes},
    sealed {bytes}"""


def _statements(text: str, integer: str, blob: str, options: str, token_options: str) -> tuple[str, ...]:
    digest, user = f"    digest {blob} PRIMARY KEY NOT NULL", f"    user_id {text} PRIMARY KEY NOT NULL"
    end = f"    kept_until {integer} NOT NULL"
    columns = _COLUMNS.replace("{text}", text).replace("{integer}", integer).replace("{bytes}", blob)
    return (
        f"CREATE TABLE {{prefix}}tokens (\n{digest},\n{columns},\n{end}\n){token_options}",
        "CREATE INDEX {prefix}tokens_user ON {prefix}tokens (user_id)",
        "CREATE INDEX {prefix}tokens_family ON {prefix}tokens (family_id)",
        "CREATE INDEX {prefix}tokens_end ON {prefix}tokens (kept_until)",
        f"CREATE TABLE {{prefix}}denied (\n{digest},\n{end}\n){options}",
        "CREATE INDEX {prefix}denied_end ON {prefix}denied (kept_until)",
        f"CREATE TABLE {{prefix}}generations (\n{user},\n    generation {text} NOT NULL,\n{end}\n){options}",
        "CREATE INDEX {prefix}generations_end ON {prefix}generations (kept_until)",
    )


MIGRATIONS = Migrations(
    "tokens",
    [
        Step(
            "tokens, denied and generations",
            sqlite=_statements("TEXT", "INTEGER", "BLOB", " WITHOUT ROWID", " WITHOUT ROWID"),
            # room on each page for `touch`, which then changes no index
            postgresql=_statements('text COLLATE "C"', "bigint", "bytea", "", " WITH (fillfactor = 85)"),
        )
    ],
)
