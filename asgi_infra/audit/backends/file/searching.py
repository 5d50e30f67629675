"""Filters as SQL over the index: one condition leads, the others are checked on what it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_infra.audit.mending import utc_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from asgi_infra.audit.filter import AuditFilter

SCHEMA: Final = """
CREATE TABLE state (size INTEGER NOT NULL, leaf_hash BLOB NOT NULL, key BLOB NOT NULL);
CREATE TABLE entry (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, id TEXT NOT NULL, time TEXT NOT NULL, user BLOB,
    action TEXT NOT NULL, resource_type TEXT NOT NULL, resource_id TEXT, result TEXT NOT NULL, tenant TEXT,
    request_id TEXT);
CREATE INDEX by_id ON entry (id);
CREATE INDEX by_user ON entry (user) WHERE user IS NOT NULL;
CREATE INDEX by_request ON entry (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX by_resource ON entry (resource_id) WHERE resource_id IS NOT NULL;
CREATE INDEX by_type ON entry (resource_type);
CREATE INDEX by_action ON entry (action);
CREATE INDEX by_tenant ON entry (tenant) WHERE tenant IS NOT NULL;
CREATE INDEX by_result ON entry (result) WHERE result <> 'success';
CREATE TABLE span (block INTEGER PRIMARY KEY, low TEXT NOT NULL, high TEXT NOT NULL);
"""

_LEADERS: Final = {
    "request_id": "by_request",
    "user": "by_user",
    "resource_id": "by_resource",
    "result": "by_result",
    "action": "by_action",
    "resource_type": "by_type",
    "tenant": "by_tenant",
}
"""What leads if it is given, the most telling first. Each index goes by number within a value."""

_MOST_ACTIONS: Final = 64
_SPAN: Final = 1024


class Search:
    """One filter.

    Args:
        wanted: The filter.
        hashed: Gives what stands for a user in the index.
    """

    def __init__(self, wanted: AuditFilter, hashed: Callable[[str], bytes]) -> None:
        self._equal: dict[str, Any] = dict(wanted.exact)
        if "user_id" in self._equal:
            self._equal["user"] = hashed(self._equal.pop("user_id"))
        self._prefix = wanted.action_prefix
        self._since = None if wanted.since is None else utc_text(wanted.since)
        self._until = None if wanted.until is None else utc_text(wanted.until)
        leaders = [name for name in _LEADERS if name in self._equal]
        if self._equal.get("result") == "success":
            leaders.remove("result")  # nearly all are: that index has the others
        self._leader = leaders[0] if leaders else None

    def select(
        self, connection: sqlite3.Connection, start: int, stop: int, limit: int, *, newest_first: bool
    ) -> list[tuple[int, int]]:
        """Return numbers and places of what is found."""
        start, stop = self._narrow(connection, start, stop)
        order = "DESC" if newest_first else "ASC"
        actions = self._actions(connection)
        if actions is None:
            where, values = self._where(self._leader, start, stop, prefix=True)
            sql = f"SELECT seq, at FROM entry {where} ORDER BY seq {order} LIMIT ?"  # noqa: S608
            return connection.execute(sql, [*values, limit]).fetchall()
        rows: list[tuple[int, int]] = []
        for action in actions:  # each goes by number: the first of all are among the first of each
            self._equal["action"] = action
            where, values = self._where("action", start, stop, prefix=False)
            sql = f"SELECT seq, at FROM entry {where} ORDER BY seq {order} LIMIT ?"  # noqa: S608
            rows += connection.execute(sql, [*values, limit]).fetchall()
        return sorted(rows, reverse=newest_first)[:limit]

    def count(self, connection: sqlite3.Connection, start: int, stop: int) -> int:
        """Return how many are found."""
        start, stop = self._narrow(connection, start, stop)
        where, values = self._where(self._leader, start, stop, prefix=True)
        return int(connection.execute(f"SELECT count(*) FROM entry {where}", values).fetchone()[0])  # noqa: S608

    def _where(self, leader: str | None, start: int, stop: int, *, prefix: bool) -> tuple[str, list[Any]]:
        conditions = ["seq >= ?", "seq < ?"]
        values: list[Any] = [start, stop]
        for name, value in self._equal.items():
            conditions.append(f"{'' if name == leader else '+'}{name} = ?")
            values.append(value)
        if leader == "result":
            conditions.append("result <> 'success'")
        if prefix and self._prefix is not None:
            conditions += ["+action >= ?", "+action < ?"]
            values += self._prefix_ends()
        for sign, time in ((">=", self._since), ("<", self._until)):
            if time is not None:
                conditions.append(f"time {sign} ?")
                values.append(time)
        by = f"INDEXED BY {_LEADERS[leader]}" if leader is not None else "NOT INDEXED"
        return f"{by} WHERE {' AND '.join(conditions)}", values

    def _prefix_ends(self) -> list[str]:
        prefix = self._prefix or ""
        return [prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)]

    def _actions(self, connection: sqlite3.Connection) -> list[str] | None:
        """Return the actions with the prefix, if nothing else leads and they are not many."""
        if self._prefix is None or self._leader is not None:
            return None
        found: list[str] = []
        at, end = self._prefix_ends()
        sql = "SELECT action FROM entry INDEXED BY by_action WHERE action >= ? AND action < ? ORDER BY action LIMIT 1"
        while row := connection.execute(sql, [at, end]).fetchone():
            if len(found) == _MOST_ACTIONS:
                return None
            found.append(row[0])
            at = row[0] + "\x00"  # the next larger text
        return found

    def _narrow(self, connection: sqlite3.Connection, start: int, stop: int) -> tuple[int, int]:
        """Leave out what lies before and behind all entries of the times that are wanted."""
        if self._since is None and self._until is None:
            return start, stop
        low, high = connection.execute(
            "SELECT min(block), max(block) FROM span WHERE high >= ? AND low < ?",
            [self._since or "", self._until or "a"],
        ).fetchone()
        if low is None:
            return 0, 0
        return max(start, low * _SPAN), min(stop, (high + 1) * _SPAN)
