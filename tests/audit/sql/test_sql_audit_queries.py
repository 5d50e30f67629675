"""That pages are read through an index, in order, and no further than they go."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra.audit import AuditFilter
from asgi_infra.testing.audit.base import NOON, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.backends.sql import SQLAuditLogger

pytestmark = pytest.mark.anyio

COUNT = 6_000  # in three months

FILTERS = {
    "user_id": AuditFilter(user_id="user-7", result="success", resource_type="order"),
    "resource_id": AuditFilter(resource_type="order", resource_id="order-7"),
    "action": AuditFilter(action="order.7", resource_type="order"),
}


async def fill(logger: SQLAuditLogger) -> None:
    await logger.log_many(
        an_entry(
            number,
            timestamp=NOON + timedelta(minutes=20 * number),
            user_id=f"user-{number % 20}",
            resource_id=f"order-{number % 20}",
            action=f"order.{number % 20}",
        )
        for number in range(COUNT)
    )


def explained(logger: SQLAuditLogger, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> list[str]:
    """Return how the database goes about what a call reads from the entries."""
    database: Any = logger._store._database  # type: ignore[attr-defined]
    plans: list[str] = []
    words = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) "

    def read(statement: str, *values: object) -> list[Any]:
        rows: list[Any] = database.run(lambda link: link.fetch(words + statement, *values))
        plans.extend(str(row[-1]) for row in rows)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(logger._store, "_read", read)
        call()
    return plans


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("name", FILTERS)
async def test_a_page_is_read_through_an_index_in_order(
    make: Callable[..., SQLAuditLogger],
    by_hand: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    newest_first: bool,
) -> None:
    async with make(clock=lambda: NOON) as logger:
        await fill(logger)
        if logger._store._database.dialect == "postgresql":  # type: ignore[attr-defined]
            by_hand("ANALYZE {p}audit_entries")
        wanted = FILTERS[name]
        page = await logger.query(wanted, limit=5, newest_first=newest_first)
        assert [each.seq % 20 for each in page] == [7] * 5
        plan = explained(
            logger,
            monkeypatch,
            lambda: logger._store.select(wanted, 0, COUNT, 6, newest_first=newest_first),
        )
        text = "\n".join(plan)
        if any("SEARCH" in line for line in plan):
            assert f"audit_{name} ({name}=? AND rowid>? AND rowid<?)" in text
            assert not re.search(r"SCAN e\b|TEMP B-TREE", text)
        else:
            read = [line for line in plan if "audit_entries_y" in line]
            assert len(read) == 3
            assert all(re.search(rf"Index Scan (Backward )?using \w+_{name}_seq_idx", line) for line in read), text
            assert sum(int(found) for line in read for found in re.findall(r"rows=(\d+)", line)) <= 9, text
            assert "Sort Method" not in text, "the index has the order already"
