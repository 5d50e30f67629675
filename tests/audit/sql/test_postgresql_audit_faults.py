"""PostgreSQL when the connection, the server or somebody else fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from asgi_infra.audit import AuditFilter
from asgi_infra.audit.errors import (
    AuditFullError,
    AuditIntegrityError,
    AuditOutcomeUnknownError,
    AuditUnavailableError,
)
from asgi_infra.testing.audit.base import a_full_entry, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.backends.sql import SQLAuditLogger

    Make = Callable[..., SQLAuditLogger]

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres: Any) -> str:
    return str(postgres.url())


class Fault:
    """Raises an exception instead of a statement's answer.

    Args:
        statement: How the statement begins.
        error: What is raised.
        done: Whether the server gets the statement first.
        times: How often.
    """

    def __init__(self, statement: str, error: BaseException, *, done: bool, times: int = 1) -> None:
        self.statement, self.error, self.done, self.times = statement, error, done, times
        self.execute = asyncpg.Connection.execute

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fault = self

        async def execute(connection: Any, statement: str, *values: Any, **options: Any) -> Any:
            if not statement.startswith(fault.statement) or fault.times == 0:
                return await fault.execute(connection, statement, *values, **options)
            fault.times -= 1
            if fault.done:
                await fault.execute(connection, statement, *values, **options)
            raise fault.error

        monkeypatch.setattr(asyncpg.Connection, "execute", execute)


@pytest.mark.parametrize("done", [True, False])
async def test_a_commit_whose_answer_was_lost_is_asked_for_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    async with make() as logger:
        await logger.log(an_entry(0))
        Fault("COMMIT", ConnectionResetError(), done=done).install(monkeypatch)
        receipts = await logger.log_many(a_full_entry(number) for number in range(1, 5))
        assert [receipt.seq for receipt in receipts] == [1, 2, 3, 4]
        assert await logger.count() == 5
        assert (await logger.stats())["repeated"] == 1
        assert (await logger.verify()).ok


@pytest.mark.parametrize("done", [True, False])
async def test_a_commit_whose_answer_stays_unknown_is_told_as_such(
    make: Make, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    async with make() as logger:
        await logger.log(an_entry(0))
        Fault("COMMIT", ConnectionResetError(), done=done, times=2).install(monkeypatch)
        with pytest.raises(AuditOutcomeUnknownError, match="may have committed or not"):
            await logger.log(an_entry(1))
        assert (await logger.log(an_entry(1))).seq == 1
        assert (await logger.verify()).ok


async def test_an_unknown_outcome_stays_one_if_the_server_is_gone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async with make() as logger:
        await logger.log(an_entry(0))

        async def refuse(*args: Any, **options: Any) -> Any:
            raise ConnectionRefusedError

        Fault("COMMIT", ConnectionResetError(), done=True).install(monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(asyncpg, "connect", refuse)
            with pytest.raises(AuditOutcomeUnknownError):
                await logger.log(an_entry(1))
            with pytest.raises(AuditUnavailableError, match=r"could not connect to postgresql://.*ConnectionRefused"):
                await logger.log(an_entry(2))
        assert (await logger.log(an_entry(1))).seq == 1


async def test_a_connection_that_is_lost_in_mid_batch_is_replaced(
    make: Make, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    async with make() as logger:
        await logger.log(an_entry(0))
        Fault(f"UPDATE {prefix}audit_head", ConnectionResetError(), done=True).install(monkeypatch)
        assert (await logger.log(an_entry(1))).seq == 1
        assert (await logger.verify()).ok


async def test_a_full_disk_is_told_as_such(make: Make, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    async with make() as logger:
        await logger.log(an_entry(0))
        Fault(f"UPDATE {prefix}audit_head", asyncpg.DiskFullError("x"), done=False).install(monkeypatch)
        with pytest.raises(AuditFullError, match="no room left"):
            await logger.log(an_entry(1))
        assert (await logger.log(an_entry(2))).seq == 1


async def test_damaged_pages_are_a_matter_of_integrity(
    make: Make, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    async with make() as logger:
        await logger.log(an_entry(0))
        Fault(f"UPDATE {prefix}audit_head", asyncpg.DataCorruptedError("x"), done=False).install(monkeypatch)
        with pytest.raises(AuditIntegrityError, match="SQLSTATE XX001"):
            await logger.log(an_entry(1))


async def test_whoever_holds_the_lock_too_long_is_not_waited_for(make: Make, url: str, prefix: str) -> None:
    async with make(timeout=0.2) as logger:
        await logger.log(an_entry(0))
        other = await asyncpg.connect(url)
        try:
            async with other.transaction():
                await other.execute(f"SELECT 1 FROM {prefix}audit_head FOR UPDATE")
                with pytest.raises(AuditUnavailableError, match=r"SQLSTATE 55P03|did not answer in time"):
                    await logger.log(an_entry(1))
        finally:
            await other.close()
        assert (await logger.log(an_entry(1))).seq == 1


async def test_a_server_that_is_not_there_is_told_without_the_password(make: Make) -> None:
    logger = make(url="postgresql://app:s3cret@127.0.0.1:1/shop")
    with pytest.raises(AuditUnavailableError, match=r"could not connect to postgresql://127\.0\.0\.1:1/shop") as caught:
        await logger.log(an_entry(0))
    assert "s3cret" not in str(caught.value)
    await logger.aclose()


async def test_acknowledged_is_durable_whatever_the_server_prefers(make: Make, by_hand: Callable[..., Any]) -> None:
    """The tests' server has `synchronous_commit` off."""
    async with make() as logger:
        await logger.log(an_entry(0))
        database: Any = logger._store._database  # type: ignore[attr-defined]
        found = database.run(lambda link: link.fetch("SELECT current_setting('synchronous_commit')"))
        assert found == [("on",)]
        assert by_hand("SELECT current_setting('synchronous_commit')") == [("off",)]


async def test_what_was_erased_is_in_no_table(make: Make, by_hand: Callable[..., Any]) -> None:
    async with make(private_fields=["user_id"]) as logger:
        await logger.log_many(a_full_entry(number, user_id=f"user-{number % 3}") for number in range(30))
        assert await logger.erase(AuditFilter(user_id="user-1"), reason="ticket 17") == 10
        assert by_hand("SELECT count(*) FROM {p}audit_private WHERE convert_from(private, 'UTF8') LIKE '%user-1%'") == [
            (0,)
        ]
        assert by_hand("SELECT count(*) FROM {p}audit_entries WHERE user_id = 'user-1'") == [(0,)]
