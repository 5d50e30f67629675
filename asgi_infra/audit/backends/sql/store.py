"""The audit log in tables: a head row whose lock puts all writers in a row, entries, private parts, and tiles."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.backends.sql.appending import STAGED_CHUNK, Appender
from asgi_infra.audit.backends.sql.filtering import conditions
from asgi_infra.audit.backends.sql.removing import Remover
from asgi_infra.audit.backends.sql.rows import as_bytes, head_of
from asgi_infra.audit.backends.sql.schema import MIGRATIONS
from asgi_infra.audit.backends.sql.searchable import check_columns
from asgi_infra.audit.backends.sql.tables import Tables
from asgi_infra.audit.errors import AuditUnavailableError
from asgi_infra.audit.proofs.errors import TileError
from asgi_infra.audit.proofs.tile_nodes import TileNodes
from asgi_infra.audit.proofs.tiles import Tile
from asgi_infra.audit.record import Stored
from asgi_infra.audit.store import AuditStore, Head
from asgi_infra.database.migrations import MigrationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgi_infra.audit.backends.sql.database import Database, Row
    from asgi_infra.audit.filter import AuditFilter
    from asgi_infra.audit.proofs.proving import Nodes
    from asgi_infra.audit.record import Receipt, Record
    from asgi_infra.audit.verification import VerificationReport

_LARGEST: Final = 2**63 - 1


class SQLStore(AuditStore):
    """Keeps entries in SQLite or PostgreSQL.

    Args:
        database: Which one.
        migrate: Whether tables are made and changed, or only checked.
    """

    def __init__(self, database: Database, *, migrate: bool = True) -> None:
        self._database = database
        self._migrate = migrate
        self.tables = Tables.of(database.prefix, database.ids)
        self._appender = Appender(database, self.tables)
        self._remover = Remover(database, self.tables)
        self._appending = Lock()
        self._sequenced = 0

    def open(self) -> None:
        prefix = self._database.prefix
        self._database.open()
        try:
            missing = self._database.inspect(lambda connection: MIGRATIONS.missing(connection, prefix=prefix))
            if missing:
                change = MIGRATIONS.apply if self._migrate else MIGRATIONS.check
                self._database.change(lambda connection: change(connection, prefix=prefix))
        except MigrationError as exc:
            raise AuditUnavailableError(f"the audit log can't use this database: {exc}") from exc
        self._database.prepare()

    def append(self, records: Sequence[Record]) -> list[Receipt]:
        with self._appending:
            return self._appender.append(records)

    def sequence(self) -> int:
        """Move into the log what is staged and committed, and return how many entries that were."""
        with self._appending:
            last = self._read(f"SELECT max(position) FROM {self.tables.staged}")[0][0]  # noqa: S608
            if last is None:
                return 0
            total = moved = self._appender.move(int(last))
            while moved == STAGED_CHUNK:
                moved = self._appender.move(int(last))
                total += moved
            self._sequenced += total
            return total

    def head(self) -> Head:
        staged = f"EXISTS (SELECT 1 FROM {self.tables.staged})"  # noqa: S608
        rows = self._read(f"SELECT size, first, edge, {staged} FROM {self.tables.head}")  # noqa: S608
        if rows and rows[0][3] and self.sequence():
            rows = self._read(f"SELECT size, first, edge FROM {self.tables.head}")  # noqa: S608
        return head_of(rows)

    def select(
        self, wanted: AuditFilter, start: int, stop: int, limit: int, *, newest_first: bool = False
    ) -> list[Stored]:
        where, values = self._where(wanted, start, stop)
        rows = self._read(
            f"SELECT e.seq, e.leaf, p.private FROM {self.tables.entries} e "  # noqa: S608
            f"LEFT JOIN {self.tables.private} p ON {self._database.same_entry} "
            f"WHERE {where} ORDER BY e.seq{' DESC' if newest_first else ''} LIMIT ?",
            *values,
            limit,
        )
        return [
            Stored(seq, as_bytes(leaf), None if private is None else as_bytes(private)) for seq, leaf, private in rows
        ]

    def count(self, wanted: AuditFilter, start: int, stop: int) -> int:
        where, values = self._where(wanted, start, stop)
        rows = self._read(f"SELECT count(*) FROM {self.tables.entries} e WHERE {where}", *values)  # noqa: S608
        return int(rows[0][0])

    def find(self, entry_id: str) -> int | None:
        rows = self._read(
            f"SELECT seq FROM {self.tables.ids} WHERE id = ? AND seq >= (SELECT first FROM {self.tables.head})",  # noqa: S608
            entry_id,
        )
        return int(rows[0][0]) if rows else None

    def nodes(self, size: int) -> Nodes:
        return TileNodes(self, size)

    def read_tile(self, level: int, index: int, width: int, /) -> bytes:
        """Return a tile, or what there is of it.

        Raises:
            TileError: It isn't there.
        """
        rows = self._read(f"SELECT hashes FROM {self.tables.tiles} WHERE level = ? AND n = ?", level, index)  # noqa: S608
        if not rows:
            raise TileError(f"{Tile(level, index, width).path} is missing")
        return as_bytes(rows[0][0])

    def erase(self, seqs: Iterable[int]) -> int:
        return self._remover.erase(list(seqs))

    def prune(self, before: int) -> int:
        return self._remover.prune(before)

    def load_checkpoint(self) -> bytes | None:
        rows = self._read(f"SELECT note FROM {self.tables.checkpoint}")  # noqa: S608
        return as_bytes(rows[0][0]) if rows else None

    def save_checkpoint(self, note: bytes, size: int) -> None:
        statement = (
            f"INSERT INTO {self.tables.checkpoint} AS c (id, size, note) VALUES (1, ?, ?) "  # noqa: S608
            "ON CONFLICT (id) DO UPDATE SET size = excluded.size, note = excluded.note WHERE excluded.size >= c.size"
        )
        self._database.run(lambda link: link.execute(statement, size, note), write=True)

    def check_columns(self, report: VerificationReport) -> VerificationReport:
        """Return what checking the log found, after a look at the columns that entries are found by."""
        return check_columns(self._database, self.tables, report)

    def stats(self) -> dict[str, int]:
        staged = self._read(f"SELECT count(*) FROM {self.tables.staged}")[0][0]  # noqa: S608
        return {"staged": int(staged), "sequenced": self._sequenced, **self._database.stats()}

    def close(self) -> None:
        self._database.close()

    def _where(self, wanted: AuditFilter, start: int, stop: int) -> tuple[str, list[object]]:
        texts, values = conditions(wanted, self._database.time, choose=self._database.dialect == "sqlite")
        first = f"(SELECT first FROM {self.tables.head})"  # noqa: S608
        texts = [f"e.seq >= {self._database.greatest}(?, {first})", "e.seq < ?", *texts]
        return " AND ".join(texts), [min(start, _LARGEST), min(stop, _LARGEST), *values]

    def _read(self, statement: str, *values: object) -> list[Row]:
        return self._database.run(lambda link: link.fetch(statement, *values))
