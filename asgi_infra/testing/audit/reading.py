# ruff: noqa: S101
"""Reading: filters, pages, exports and what comes in."""

from __future__ import annotations

import csv
import io
import json
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.filter import AuditFilter
from asgi_infra.errors import ConfigurationError
from asgi_infra.ids import uuid7
from asgi_infra.testing.audit.base import NOON, ContractBase, a_full_entry, an_entry, property_settings
from asgi_infra.testing.audit.strategies import filters, related_entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.entry import AuditEntry


async def read_all(
    logger: AuditLogger, wanted: AuditFilter | None = None, *, limit: int = 7, newest_first: bool = False
) -> list[AuditEntry]:
    """Return all entries of a query, page by page."""
    page = await logger.query(wanted, limit=limit, newest_first=newest_first)
    found = list(page.entries)
    while page.next is not None:
        page = await logger.query(wanted, limit=limit, after=page.next, newest_first=newest_first)
        assert page.entries, "a cursor leads to at least one entry"
        found += page.entries
    return found


class ReadingContract(ContractBase):
    """Reading."""

    pytestmark = pytest.mark.anyio

    async def test_an_empty_log_is_no_error(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            page = await logger.query()
            assert (page.logged, page.next) == ((), None)
            assert await logger.count(AuditFilter(user_id="alice")) == 0
            assert await logger.get("entry-1") is None
            assert await logger.get(0) is None
            assert (await logger.verify()).ok
            assert b"".join([piece async for piece in logger.export()]) == b""

    @property_settings
    @given(many=st.lists(related_entries, max_size=12, unique_by=lambda entry: entry.id), wanted=filters)
    def test_property_10_a_query_finds_what_matches_and_nothing_else(
        self, tmp_path: Path, many: list[AuditEntry], wanted: AuditFilter
    ) -> None:
        place = tmp_path / uuid7()
        expected = [entry for entry in many if wanted.matches(entry)]

        async def compare() -> None:
            async with self.make_logger(place, audit_reads=False) as logger:
                await logger.log_many(many)
                assert await read_all(logger, wanted, limit=3) == expected
                assert await read_all(logger, wanted, limit=2, newest_first=True) == expected[::-1]
                assert await logger.count(wanted) == len(expected)

        anyio.run(compare)

    async def test_time_ranges_are_half_open_to_the_microsecond(self, make: Callable[..., AuditLogger]) -> None:
        step = timedelta(microseconds=1)
        async with make() as logger:
            await logger.log_many(an_entry(number, timestamp=NOON + number * step) for number in range(-2, 3))
            found = await logger.query(AuditFilter(since=NOON, until=NOON + step))
            assert [entry.id for entry in found.entries] == ["entry-0"]
            assert await logger.count(AuditFilter(until=NOON)) == 2
            assert await logger.count(AuditFilter(since=NOON)) == 3
            assert await logger.count(AuditFilter(since=NOON, until=NOON)) == 0

    @pytest.mark.parametrize("newest_first", [False, True])
    @pytest.mark.parametrize("limit", [1, 3, 10, 11])
    async def test_pages_of_equal_times_hold_each_entry_once(
        self, make: Callable[..., AuditLogger], limit: int, newest_first: bool
    ) -> None:
        many = [an_entry(number, timestamp=NOON) for number in range(10)]
        async with make() as logger:
            await logger.log_many(many)
            found = await read_all(logger, limit=limit, newest_first=newest_first)
            assert found == (many[::-1] if newest_first else many)

    @pytest.mark.parametrize("newest_first", [False, True])
    async def test_pages_neither_skip_nor_repeat_while_others_write(
        self, make: Callable[..., AuditLogger], newest_first: bool
    ) -> None:
        before = [an_entry(number, timestamp=NOON) for number in range(40)]
        async with make() as logger:
            await logger.log_many(before)
            done = anyio.Event()

            async def write() -> None:
                number = 40
                while not done.is_set() and number < 2000:
                    await logger.log(an_entry(number, timestamp=NOON))
                    await anyio.lowlevel.checkpoint()
                    number += 1

            found: list[AuditEntry] = []
            async with anyio.create_task_group() as group:
                group.start_soon(write)
                found += await read_all(logger, limit=3, newest_first=newest_first)
                done.set()
            assert len(found) == len(set(found))
            assert [entry for entry in found if entry in before] == (before[::-1] if newest_first else before)

    async def test_a_cursor_serves_the_query_it_came_from_alone(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            await logger.log_many(an_entry(number) for number in range(5))
            cursor = (await logger.query(AuditFilter(result="success"), limit=2)).next
            assert cursor is not None
            tampered = ("A" if cursor[0] != "A" else "B") + cursor[1:]
            for wanted, text, newest_first in (
                (AuditFilter(result="denied"), cursor, False),
                (None, cursor, False),
                (AuditFilter(result="success"), cursor, True),
                (AuditFilter(result="success"), tampered, False),
                (AuditFilter(result="success"), cursor[:-1], False),
                (AuditFilter(result="success"), "", False),
                (AuditFilter(result="success"), "é", False),
            ):
                with pytest.raises(ConfigurationError, match="after must be"):
                    await logger.query(wanted, after=text, newest_first=newest_first)

    @pytest.mark.parametrize("limit", [0, -1, 10_001, True, "10"])
    async def test_a_page_has_bounds(self, make: Callable[..., AuditLogger], limit: Any) -> None:
        async with make() as logger:
            with pytest.raises(ConfigurationError, match="limit must be"):
                await logger.query(limit=limit)

    async def test_reads_are_entries_too(self, make: Callable[..., AuditLogger]) -> None:
        async with make(audit_reads=True) as logger:
            await logger.log(an_entry())
            await logger.query(AuditFilter(result="success"))
            await logger.count()
            await logger.get("entry-0")
            async for _ in logger.export():
                pass
            found = await logger.query(AuditFilter(resource_type="audit_log"))
            assert [entry.action for entry in found.entries] == ["audit.read"] * 3 + ["audit.export"]

    async def test_reading_page_by_page_ends_though_each_page_is_an_entry(
        self, make: Callable[..., AuditLogger]
    ) -> None:
        async with make(audit_reads=True) as logger:
            await logger.log_many(an_entry(number) for number in range(4))
            assert len(await read_all(logger, limit=1)) == 4
            found = await logger.query(AuditFilter(action="audit.*"))
            assert [entry.details and entry.details["entries"] for entry in found.entries] == [1, 1, 1, 1]

    async def test_an_export_holds_every_entry(self, make: Callable[..., AuditLogger]) -> None:
        many = [a_full_entry(number) for number in range(5)]
        told: list[tuple[int, int]] = []
        async with make() as logger:
            await logger.log_many(many)
            lines = b"".join(
                [piece async for piece in logger.export(progress=lambda done, total: told.append((done, total)))]
            )
            rows = b"".join([piece async for piece in logger.export("csv", AuditFilter(action="order.*"))])
            events = b"".join([piece async for piece in logger.export("ocsf", AuditFilter(action="order.*"))])
        read = [json.loads(line) for line in lines.splitlines()]
        assert [line["seq"] for line in read] == list(range(5))
        assert [{name: line[name] for name in many[0].to_dict()} for line in read] == [each.to_dict() for each in many]
        assert told == [(5, 5)]
        table = list(csv.DictReader(io.StringIO(rows.decode(), newline="")))
        assert [row["id"] for row in table] == [entry.id for entry in many]
        assert json.loads(table[0]["details"]) == many[0].details
        assert [json.loads(line)["metadata"]["uid"] for line in events.splitlines()] == [entry.id for entry in many]

    async def test_a_tail_brings_what_comes_in_in_order(self, make: Callable[..., AuditLogger]) -> None:
        found: list[str] = []
        async with make() as logger:
            await logger.log(an_entry(0))

            async def follow() -> None:
                tail = logger.tail(AuditFilter(action="order.refund"), start=0, every=0.01)
                async with aclosing(tail):
                    async for logged in tail:
                        found.append(logged.entry.id)
                        if len(found) == 6:
                            return

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    group.start_soon(follow)
                    for number in range(1, 6):
                        await logger.log(an_entry(number))
                        await logger.log(an_entry(number + 100, action="order.list"))
        assert found == [f"entry-{number}" for number in range(6)]
