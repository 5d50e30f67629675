"""Partitions of a month each: made ahead, made as they are needed, and dropped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra.audit import AuditFilter
from asgi_infra.audit.backends.sql.partitions import partition_of
from asgi_infra.audit.errors import AuditUnavailableError
from asgi_infra.audit.proofs.checkpoint import Checkpoint
from asgi_infra.audit.proofs.verifying import verify_consistency, verify_inclusion
from asgi_infra.testing.audit.base import a_full_entry, a_signer, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.backends.sql import SQLAuditLogger

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres: Any) -> str:
    return str(postgres.url())


@pytest.fixture
def suffixes(by_hand: Callable[..., Any], prefix: str) -> Callable[[str], list[str]]:
    """Return how the names of a table's partitions end."""

    def find(table: str = "entries") -> list[str]:
        parent = f"{prefix}audit_{table}"
        rows = by_hand(f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{parent}'::regclass")
        return sorted(name.removeprefix(f"{parent}_") for (name,) in rows)

    return find


def at(year: int, month: int, day: int = 1) -> datetime:
    return datetime(year, month, day, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "ahead", "expected"),
    [
        (at(2026, 5), 0, ("y2026m05", "'2026-05-01 00:00+00'", "'2026-06-01 00:00+00'")),
        (at(2026, 11), 2, ("y2027m01", "'2027-01-01 00:00+00'", "'2027-02-01 00:00+00'")),
        (at(1999, 12, 31), 0, ("early", "MINVALUE", "'2000-01-01 00:00+00'")),
        (at(1, 1), 0, ("early", "MINVALUE", "'2000-01-01 00:00+00'")),
        (at(2099, 12), 0, ("y2099m12", "'2099-12-01 00:00+00'", "'2100-01-01 00:00+00'")),
        (at(9999, 12), 2, ("late", "'2100-01-01 00:00+00'", "MAXVALUE")),
    ],
)
def test_every_time_has_one_partition(moment: datetime, ahead: int, expected: tuple[str, str, str]) -> None:
    assert partition_of(moment, ahead) == expected


async def test_this_month_and_the_next_two_are_there_ahead(
    make: Callable[..., SQLAuditLogger], suffixes: Callable[..., list[str]]
) -> None:
    now = [at(2026, 11, 30)]
    async with make(clock=lambda: now[0]) as logger:
        expected = ["y2026m11", "y2026m12", "y2027m01"]
        assert suffixes("entries") == suffixes("private") == expected
        await logger.log_action("order.refund", "order")
        assert suffixes() == expected
        now[0] = at(2026, 12)
        await logger.log_action("order.refund", "order")
        assert suffixes("entries") == suffixes("private") == [*expected, "y2027m02"]
        assert (await logger.stats())["partitions_made"] == 4


async def test_an_entry_of_any_time_finds_its_partition(
    make: Callable[..., SQLAuditLogger], suffixes: Callable[..., list[str]]
) -> None:
    moments = [at(1, 1), at(1970, 1), at(2020, 2, 29), at(2099, 12, 31), at(9999, 12, 31)]
    async with make(clock=lambda: at(2026, 5)) as logger:
        await logger.log_many(a_full_entry(number, timestamp=moment) for number, moment in enumerate(moments))
        page = await logger.query()
        assert [entry.timestamp for entry in page.entries] == moments
        assert {"early", "late", "y2020m02", "y2099m12"} < set(suffixes())
        assert await logger.count(AuditFilter(since=at(2000, 1), until=at(2100, 1))) == 2


async def test_purging_drops_whole_partitions_and_proofs_stay(
    make: Callable[..., SQLAuditLogger], suffixes: Callable[..., list[str]], by_hand: Callable[..., Any]
) -> None:
    async with make(signer=a_signer(), clock=lambda: at(2026, 5)) as logger:
        moments = [at(2026, month, day) for month in (1, 2, 3) for day in range(1, 21)]
        receipts = await logger.log_many(a_full_entry(number, timestamp=each) for number, each in enumerate(moments))
        before = Checkpoint.of_note(await logger.checkpoint())
        assert await logger.purge(before=at(2026, 3, 5)) == 44
        assert "y2026m01" not in suffixes("entries") + suffixes("private")
        assert "y2026m02" not in suffixes("entries") + suffixes("private")
        for table in ("entries", "private", "ids"):
            assert by_hand(f"SELECT min(seq) FROM {{p}}audit_{table}") == [(44,)]
        after = Checkpoint.of_note(await logger.checkpoint())
        proof = await logger.consistency_proof(before.size, size=after.size)
        verify_consistency(before.size, after.size, before.root, after.root, proof)
        for receipt in (receipts[0], receipts[43], receipts[44], receipts[59]):
            path = await logger.inclusion_proof(receipt.seq, size=after.size)
            verify_inclusion(receipt.leaf_hash, receipt.seq, after.size, path, after.root)
        report = await logger.verify()
        assert (report.ok, report.first) == (True, 44)
        assert (await logger.stats())["partitions_dropped"] == 2
        again = await logger.log(a_full_entry(99, timestamp=at(2026, 1)))
        assert again.seq == after.size, "the partition is made again"


async def test_a_late_entry_does_not_keep_others_from_being_purged(
    make: Callable[..., SQLAuditLogger], suffixes: Callable[..., list[str]]
) -> None:
    moments = [at(2026, 1), at(2026, 2), at(2026, 1, 2), at(2026, 3), at(2026, 1, 3)]
    async with make(clock=lambda: at(2026, 5)) as logger:
        await logger.log_many(an_entry(number, timestamp=moment) for number, moment in enumerate(moments))
        assert await logger.purge(before=at(2026, 3)) == 3
        assert "y2026m01" in suffixes(), "its last entry stays"
        assert "y2026m02" not in suffixes()
        page = await logger.query(AuditFilter(resource_type="order"))
        assert [entry.id for entry in page.entries] == ["entry-3", "entry-4"]
        assert (await logger.verify()).ok


async def test_a_partition_that_another_process_dropped_is_made_again(make: Callable[..., SQLAuditLogger]) -> None:
    async with make() as logger, make() as other:
        await logger.log(a_full_entry(0, timestamp=at(2026, 1)))
        await logger.log(a_full_entry(1, timestamp=at(2026, 2)))
        assert await other.purge(before=at(2026, 2)) == 1
        receipt = await logger.log(a_full_entry(2, timestamp=at(2026, 1)))
        assert receipt.seq == 4
        assert (await logger.stats())["repeated"] == 1
        assert (await logger.verify()).ok


async def test_a_user_that_may_make_no_tables_is_told_which_one_is_missing(
    make: Callable[..., SQLAuditLogger], by_hand: Callable[..., Any], url: str, prefix: str
) -> None:
    async with make(clock=lambda: at(2026, 5)) as owner:
        await owner.log(an_entry(0, timestamp=at(2026, 5)))
    by_hand(
        f"CREATE ROLE {prefix}app LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {prefix}app",
    )
    async with make(url=url.replace("postgres@", f"{prefix}app@"), clock=lambda: at(2026, 6)) as logger:
        assert (await logger.log(an_entry(1, timestamp=at(2026, 6)))).seq == 1
        with pytest.raises(AuditUnavailableError, match=r"y2020m01 is missing, and can't be made \(SQLSTATE 42501\)"):
            await logger.log(an_entry(2, timestamp=at(2020, 1)))
        assert (await logger.log(an_entry(3, timestamp=at(2026, 7)))).seq == 2
        assert (await logger.stats())["partitions_refused"] >= 1
    by_hand(f"DROP OWNED BY {prefix}app", f"DROP ROLE {prefix}app")
