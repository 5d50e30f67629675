"""Taking out what may go: private parts, and the oldest entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_infra.audit.backends.sql.rows import head_of, tells_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.audit.backends.sql.database import Database, Link
    from asgi_infra.audit.backends.sql.tables import Tables

_CHUNK: Final = 5_000


class Remover:
    """Erases and prunes, a transaction a piece. The tree and its tiles stay as they are."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    def erase(self, seqs: Sequence[int]) -> int:
        """Remove private parts, and return how many there were."""

        async def work(link: Link) -> int:
            condition, values = self._database.among("e.seq", seqs)
            rows = await link.fetch(
                f"SELECT e.seq, e.leaf FROM {self._tables.entries} e "  # noqa: S608
                f"JOIN {self._tables.private} p ON {self._database.same_entry} WHERE {condition}",
                values,
            )
            if not rows:
                return 0
            await self._database.permit(link)
            condition, values = self._database.among("seq", [seq for seq, _ in rows])
            await link.execute(f"DELETE FROM {self._tables.private} WHERE {condition}", values)  # noqa: S608
            condition, values = self._database.among("seq", [seq for seq, leaf in rows if not tells_user(leaf)])
            await link.execute(
                f"UPDATE {self._tables.entries} SET user_id = NULL WHERE user_id IS NOT NULL AND {condition}",  # noqa: S608
                values,
            )
            await self._database.forbid(link)
            return len(rows)

        erased = self._database.run(work, write=True)
        self._database.scrub()  # also if there was nothing: an earlier call may have failed just here
        return erased

    def prune(self, before: int) -> int:
        """Remove entries with lower numbers, and return the number of the first one that is kept."""
        first = self._database.run(lambda link: self._advance(link, before), write=True)
        while (low := self._oldest()) is not None and low < first:
            self._remove(min(low + _CHUNK, first))
        self._database.scrub()
        return first

    async def _advance(self, link: Link, before: int) -> int:
        """Declare the entries gone, and remove what goes at once; what is left of them nobody sees any more."""
        rows = await link.fetch(f"SELECT size, first, edge FROM {self._tables.head}{self._database.lock}")  # noqa: S608
        head = head_of(rows)
        first = max(head.first, min(before, head.size))
        if first > head.first:
            await link.execute(f"UPDATE {self._tables.head} SET first = ?", first)  # noqa: S608
            await self._database.drop_before(link, first)
        return first

    def _oldest(self) -> int | None:
        async def work(link: Link) -> int | None:
            rows = await link.fetch(f"SELECT min(seq) FROM {self._tables.ids}")  # noqa: S608
            return None if rows[0][0] is None else int(rows[0][0])

        return self._database.run(work)

    def _remove(self, before: int) -> None:
        async def work(link: Link) -> None:
            await self._database.permit(link)
            for table in dict.fromkeys((self._tables.private, self._tables.entries, self._tables.ids)):
                await link.execute(f"DELETE FROM {table} WHERE seq < ?", before)  # noqa: S608
            await self._database.forbid(link)

        self._database.run(work, write=True)
