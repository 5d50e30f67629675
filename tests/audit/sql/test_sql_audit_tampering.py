"""What somebody with the database's password may do, and how it is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra.audit import AuditFilter
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.testing.audit.base import a_full_entry, a_signer, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.backends.sql import SQLAuditLogger

    ByHand = Callable[..., Any]
    Make = Callable[..., SQLAuditLogger]

pytestmark = pytest.mark.anyio


@pytest.fixture
def unlocked(by_hand: ByHand, url: str, prefix: str) -> ByHand:
    """Run statements as somebody would who has taken away the triggers first."""

    def run(*statements: str) -> Any:
        if url.startswith("sqlite"):
            named = by_hand("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            return by_hand(*(f"DROP TRIGGER {name}" for (name,) in named), *statements)
        return by_hand("SET LOCAL session_replication_role = replica", *statements)

    return run


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE {p}audit_entries SET result = 'success'", "only ever added"),
        ("DELETE FROM {p}audit_entries WHERE seq = 1", "only ever added"),
        ("DELETE FROM {p}audit_private", "only ever added"),
        ("UPDATE {p}audit_private SET private = leaf FROM {p}audit_entries", "only ever added"),
        ("DELETE FROM {p}audit_tiles", "only ever"),
        ("UPDATE {p}audit_tiles SET n = n + 1", "only ever grows"),
        ("UPDATE {p}audit_head SET size = size - 1", "only ever grows"),
        ("DELETE FROM {p}audit_head", "only ever"),
        ("DELETE FROM {p}audit_checkpoint", "only ever"),
        ("UPDATE {p}audit_checkpoint SET size = size - 1", "only ever grows"),
    ],
)
async def test_nothing_is_changed_by_mistake(make: Make, by_hand: ByHand, statement: str, message: str) -> None:
    async with make(signer=a_signer()) as logger:
        await logger.log_many(a_full_entry(number) for number in range(3))
        await logger.checkpoint()
        with pytest.raises(Exception, match=message):
            by_hand(statement)
        assert (await logger.verify()).ok


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("table", ["entries", "private", "ids", "tiles", "head", "checkpoint", "entries_y2026m05"])
async def test_no_table_is_emptied_by_mistake(make: Make, by_hand: ByHand, table: str) -> None:
    async with make() as logger:
        await logger.log(an_entry(1))
        with pytest.raises(Exception, match="only ever added"):
            by_hand(f"TRUNCATE {{p}}audit_{table}")


@pytest.mark.parametrize(
    ("statement", "bad", "problem"),
    [
        (
            "UPDATE {p}audit_entries SET leaf = (SELECT leaf FROM {p}audit_entries WHERE seq = 6) WHERE seq = 5",
            5,
            "not",
        ),
        ("DELETE FROM {p}audit_entries WHERE seq = 4", 4, "missing"),
        ("DELETE FROM {p}audit_entries WHERE seq = 9", 9, "missing"),
        ("UPDATE {p}audit_entries SET seq = 100 WHERE seq = 3", 3, "missing"),
        (
            "UPDATE {p}audit_private SET private = (SELECT private FROM {p}audit_private WHERE seq = 6) WHERE seq = 2",
            2,
            "not what the leaf commits to",
        ),
        ("DELETE FROM {p}audit_tiles", 0, "missing"),
    ],
)
async def test_the_first_entry_that_was_changed_by_hand_is_named(
    make: Make, unlocked: ByHand, statement: str, bad: int, problem: str
) -> None:
    async with make(signer=a_signer()) as logger:
        await logger.log_many(a_full_entry(number) for number in range(10))
        await logger.checkpoint()
        unlocked(statement)
        report = await logger.verify()
        assert not report.ok
        assert report.bad_seq == bad
        assert problem in report.problem


async def test_a_user_that_was_changed_in_the_index_alone_is_not_believed_to_be_proved(
    make: Make, unlocked: ByHand
) -> None:
    async with make() as logger:
        await logger.log_many(a_full_entry(number, user_id="alice") for number in range(3))
        unlocked("UPDATE {p}audit_entries SET user_id = 'bob' WHERE seq = 1")
        (found,) = await logger.query(AuditFilter(user_id="bob"))
        assert found.entry.user_id == "alice", "what is proved is what is shown"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {p}audit_head SET size = 11",
        "UPDATE {p}audit_head SET size = 9, edge = substr(edge, 1, 64)",
        "UPDATE {p}audit_head SET edge = substr(edge, 33, 32) || substr(edge, 1, 32)",
        "UPDATE {p}audit_head SET edge = substr(edge, 1, 33)",
        "UPDATE {p}audit_tiles SET hashes = substr(hashes, 1, 9 * 32)",
        "UPDATE {p}audit_tiles SET hashes = substr(hashes, 33) || substr(hashes, 1, 32)",
        "DELETE FROM {p}audit_tiles",
        "DELETE FROM {p}audit_head",
        "DELETE FROM {p}audit_entries WHERE seq = 9",
        "DELETE FROM {p}audit_entries",
        "UPDATE {p}audit_checkpoint SET size = 11",
    ],
)
async def test_nothing_is_added_to_a_log_that_was_tampered_with(make: Make, unlocked: ByHand, statement: str) -> None:
    async with make(signer=a_signer()) as logger:
        await logger.log_many(an_entry(number) for number in range(10))
        await logger.checkpoint()
    unlocked(statement)
    logger = make()
    for _ in range(2):
        with pytest.raises(AuditIntegrityError):
            await logger.log(an_entry(10))
    await logger.aclose()


async def test_a_log_that_becomes_shorter_meanwhile_is_noticed(make: Make, unlocked: ByHand) -> None:
    async with make(signer=a_signer()) as logger:
        await logger.log_many(an_entry(number) for number in range(4))
        kept = unlocked("SELECT edge FROM {p}audit_head")[0][0]
        await logger.log_many(an_entry(number) for number in range(4, 6))
        unlocked(
            f"UPDATE {{p}}audit_head SET size = 4, edge = substr(edge, 1, {len(kept)})",
            "DELETE FROM {p}audit_entries WHERE seq > 3",
        )
        with pytest.raises(AuditIntegrityError, match="has 4 entries, and is not the one that had 6"):
            await logger.log(an_entry(6))


async def test_a_number_that_somebody_else_has_taken_is_never_given_again(
    make: Make, unlocked: ByHand, url: str
) -> None:
    async with make() as logger:
        await logger.log_many(an_entry(number) for number in range(3))
        if url.startswith("postgresql"):
            unlocked("INSERT INTO {p}audit_ids (id, seq) VALUES ('forged', 3)")
        else:
            columns = "time, action, resource_type, result, leaf"
            unlocked(
                f"INSERT INTO {{p}}audit_entries (seq, id, {columns}) "
                f"SELECT 3, 'forged', {columns} FROM {{p}}audit_entries WHERE seq = 2"
            )
        with pytest.raises(AuditIntegrityError):
            await logger.log(an_entry(4))
        assert await logger.count() <= 4
