"""The columns that entries are found by, changed by somebody with the database's password."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra.audit import AuditFilter
from asgi_infra.testing.audit.base import a_full_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.backends.sql import SQLAuditLogger

    ByHand = Callable[..., Any]
    Make = Callable[..., SQLAuditLogger]

pytestmark = pytest.mark.anyio


def change(by_hand: ByHand, url: str, statement: str) -> None:
    if url.startswith("sqlite"):
        named = by_hand("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        by_hand(*(f"DROP TRIGGER {name}" for (name,) in named), statement)
    else:
        by_hand("SET LOCAL session_replication_role = replica", statement)


@pytest.mark.parametrize(
    "column", ["user_id", "action", "resource_type", "resource_id", "result", "tenant", "request_id", "id"]
)
async def test_an_entry_that_was_hidden_from_those_who_look_for_it_is_named(
    make: Make, by_hand: ByHand, url: str, column: str
) -> None:
    table = "ids" if column == "id" and url.startswith("postgresql") else "entries"
    async with make() as logger:
        await logger.log_many(a_full_entry(number) for number in range(5))
        assert (await logger.verify()).ok
        change(by_hand, url, f"UPDATE {{p}}audit_{table} SET {column} = 'forged' WHERE seq = 3")
        report = await logger.verify()
    assert (report.ok, report.bad_seq, report.checked) == (False, 3, 3)
    assert report.problem == "entry 3: the columns that it is found by are not those of the entry"


async def test_users_that_were_erased_are_missed_by_nobody(make: Make) -> None:
    async with make(private_fields=["user_id"]) as logger:
        await logger.log_many(a_full_entry(number, user_id=f"user-{number % 2}") for number in range(1_200))
        await logger.erase(AuditFilter(user_id="user-1"), reason="asked for")
        report = await logger.verify()
    assert (report.problem, report.erased) == ("", 600)


@pytest.mark.parametrize("key", [2**63, 2**64, 10**30])
async def test_a_number_that_no_entry_can_have_is_that_of_none(make: Make, key: int) -> None:
    async with make() as logger:
        await logger.log(a_full_entry(1))
        assert await logger.get(key) is None


async def test_the_ends_of_the_calendar_are_times_like_all_others(make: Make) -> None:
    async with make() as logger:
        await logger.log_many(
            a_full_entry(number, timestamp=moment.replace(tzinfo=UTC))
            for number, moment in enumerate([datetime.min, datetime.max])
        )
        report = await logger.verify()
    assert (report.problem, report.checked) == ("", 2)
