"""Adding entries: under the lock of the head row, so that numbers have the order in which entries become visible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_infra.audit.backends.sql.rows import COLUMNS, as_bytes, head_of, rows_of, staged_record
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.proofs.errors import TileError
from asgi_infra.audit.proofs.merkle import HASH_SIZE
from asgi_infra.audit.proofs.tile_edge import TileEdge
from asgi_infra.audit.proofs.tile_nodes import FetchedTiles
from asgi_infra.audit.proofs.tiles import TILE_WIDTH, partial_tiles
from asgi_infra.audit.record import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_infra.audit.backends.sql.database import Database, Link
    from asgi_infra.audit.backends.sql.tables import Tables
    from asgi_infra.audit.record import Record
    from asgi_infra.audit.store import Head

STAGED_CHUNK: Final = 500
"""Staged entries that are moved in one transaction."""


class Appender:
    """Adds batches. One call at a time; its work runs in a transaction that writes.

    It keeps the right edge of the tree as it was after its last batch, and reads it again only if others have added
    entries meanwhile. That a log which it knows has become shorter, or another one, it never overlooks.
    """

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables
        self._edge: TileEdge | None = None
        self._entry_columns = (*database.entry_columns, *COLUMNS, "leaf")

    def append(self, records: Sequence[Record]) -> list[Receipt]:
        """Add records, and return a receipt for each."""

        async def work(link: Link) -> tuple[list[Receipt], TileEdge]:
            edge = await self._locked_edge(link)
            return await self._add(link, edge, records), edge

        receipts, self._edge = self._database.run(work, write=True)
        return receipts

    def move(self, last: int) -> int:
        """Add a part of what is staged up to position `last`, in order, and return how many entries were staged."""

        async def work(link: Link) -> tuple[int, TileEdge]:
            edge = await self._locked_edge(link)
            staged = self._tables.staged
            rows = await link.fetch(
                f"SELECT position, leaf, private FROM {staged} WHERE position <= ? ORDER BY position LIMIT ?",  # noqa: S608
                last,
                STAGED_CHUNK,
            )
            await self._add(link, edge, [staged_record(*row) for row in rows])
            condition, positions = self._database.among("position", [row[0] for row in rows])
            await link.execute(f"DELETE FROM {staged} WHERE {condition}", positions)  # noqa: S608
            return len(rows), edge

        moved, self._edge = self._database.run(work, write=True)
        return moved

    async def _locked_edge(self, link: Link) -> TileEdge:
        """Take the head row's lock, and return the edge, which may be extended."""
        rows = await link.fetch(f"SELECT size, first, edge FROM {self._tables.head}{self._database.lock}")  # noqa: S608
        head = head_of(rows)
        known = self._edge
        if known is not None and known.range.size >= head.size:
            if known.range != head.tree:
                raise AuditIntegrityError(
                    f"the log has {head.size} entries, and is not the one that had {known.range.size} a moment ago"
                )
            return known.copy()
        if known is None:
            await self._check_end(link, head)
        return await self._read_edge(link, head)

    async def _read_edge(self, link: Link, head: Head) -> TileEdge:
        tiles = {}
        for tile in partial_tiles(head.size):
            rows = await link.fetch(
                f"SELECT hashes FROM {self._tables.tiles} WHERE level = ? AND n = ?",  # noqa: S608
                tile.level,
                tile.index,
            )
            tiles[tile] = as_bytes(rows[0][0]) if rows else b""
        try:
            edge = TileEdge.open(FetchedTiles(tiles), head.size)
        except TileError as exc:
            raise AuditIntegrityError("the tiles at the end of the log are damaged") from exc
        if edge.range != head.tree:
            raise AuditIntegrityError("the tiles at the end of the log do not make the tree that it claims")
        return edge

    async def _check_end(self, link: Link, head: Head) -> None:
        """Refuse a log whose end is missing, or that goes on after it."""
        newest = (await link.fetch(f"SELECT max(seq) FROM {self._tables.entries}"))[0][0]  # noqa: S608
        if newest is None and head.first == head.size:
            newest = head.size - 1
        if newest != head.size - 1:
            told = "none" if newest is None else f"the last one {newest}"
            raise AuditIntegrityError(f"the log claims {head.size} entries, but of those that it should have is {told}")
        signed = await link.fetch(f"SELECT size FROM {self._tables.checkpoint}")  # noqa: S608
        if signed and signed[0][0] > head.size:
            raise AuditIntegrityError(f"the log has {head.size} entries, but it has signed {signed[0][0]}")

    async def _add(self, link: Link, edge: TileEdge, records: Sequence[Record]) -> list[Receipt]:
        receipts = await self._known(link, records)
        size = edge.range.size
        fresh: list[Record] = []
        for record in records:
            entry_id = record.entry.id
            if entry_id not in receipts:
                receipts[entry_id] = Receipt(size + len(fresh), record.leaf_hash)
                fresh.append(record)
        if fresh:
            await self._database.make_room(link, [record.entry.timestamp for record in fresh])
            entries, private, ids = rows_of(enumerate(fresh, size), self._database.entry_columns, self._database.time)
            if ids:
                await link.insert(self._tables.ids, ("id", "seq"), ids)
            await link.insert(self._tables.entries, self._entry_columns, entries)
            if private:
                await link.insert(self._tables.private, self._database.private_columns, private)
            tiles = edge.extend([record.leaf_hash for record in fresh])
            await link.put_tiles(
                self._tables.tiles, [(tile.level, tile.index, hashes) for tile, hashes in tiles.items()]
            )
            await link.execute(
                f"UPDATE {self._tables.head} SET size = ?, edge = ?",  # noqa: S608
                edge.range.size,
                b"".join(edge.range.edge),
            )
        return [receipts[record.entry.id] for record in records]

    async def _known(self, link: Link, records: Sequence[Record]) -> dict[str, Receipt]:
        """Return the receipts of those entries that are stored already."""
        condition, ids = self._database.among("id", {record.entry.id for record in records})
        seqs: Mapping[str, int] = dict(
            await link.fetch(f"SELECT id, seq FROM {self._tables.ids} WHERE {condition}", ids)  # noqa: S608
        )
        receipts: dict[str, Receipt] = {}
        tiles: dict[int, bytes] = {}
        for entry_id, seq in seqs.items():
            n, at = divmod(seq, TILE_WIDTH)
            if n not in tiles:
                rows = await link.fetch(
                    f"SELECT hashes FROM {self._tables.tiles} WHERE level = 0 AND n = ?",  # noqa: S608
                    n,
                )
                tiles[n] = as_bytes(rows[0][0]) if rows else b""
            found = tiles[n][at * HASH_SIZE : (at + 1) * HASH_SIZE]
            if len(found) != HASH_SIZE:
                raise AuditIntegrityError(f"the hash of entry {seq} is missing")
            receipts[entry_id] = Receipt(seq, found)
        return receipts
