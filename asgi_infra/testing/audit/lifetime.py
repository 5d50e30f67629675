# ruff: noqa: S101
"""From opening to closing, and opening again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from asgi_infra.audit.errors import AuditClosedError
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.testing.audit.base import ContractBase, a_full_entry, a_signer, an_entry
from asgi_infra.testing.audit.proving import check_proofs

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.record import Receipt


class LifetimeContract(ContractBase):
    """From opening to closing."""

    pytestmark = pytest.mark.anyio

    async def test_a_logger_works_without_async_with(self, make: Callable[..., AuditLogger]) -> None:
        logger = make()
        assert (await logger.log(an_entry())).seq == 0
        await logger.ping()
        await logger.aclose()

    async def test_closing_one_that_was_never_used_is_no_error(self, make: Callable[..., AuditLogger]) -> None:
        logger = make()
        await logger.aclose()
        await logger.aclose()
        with pytest.raises(AuditClosedError):
            await logger.log(an_entry())

    async def test_closing_waits_for_what_was_accepted(self, make: Callable[..., AuditLogger]) -> None:
        receipts: list[Receipt] = []
        refused: list[int] = []
        logger = make(max_batch=8)

        async def log(number: int) -> None:
            try:
                receipts.append(await logger.log(an_entry(number)))
            except AuditClosedError:
                refused.append(number)

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(log, number)
            await anyio.lowlevel.checkpoint()
            await logger.aclose()
        assert len(receipts) + len(refused) == 100
        assert sorted(receipt.seq for receipt in receipts) == list(range(len(receipts)))

    async def test_counters_tell_what_was_done(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            await logger.log_many(an_entry(number) for number in range(3))
            stats = await logger.stats()
            assert (stats["logged"], stats["failed"], stats["size"], stats["first"]) == (3, 0, 3, 0)
            assert all(isinstance(value, int) for value in stats.values())

    async def test_a_log_goes_on_where_it_was(self, make: Callable[..., AuditLogger]) -> None:
        if not self.persistent:
            pytest.skip("this log ends with its logger")
        async with make(signer=a_signer()) as logger:
            receipts = await logger.log_many(a_full_entry(number) for number in range(10))
            await logger.erase(AuditFilter(request_id="request-1"), reason="ticket 17")
            first = await logger.checkpoint()
        async with make(signer=a_signer()) as logger:
            assert await logger.log(a_full_entry(3)) == receipts[3]
            assert (await logger.log(a_full_entry(10))).seq == 12
            assert await logger.last_checkpoint() == first
            await check_proofs(logger, receipts)
            report = await logger.verify()
            assert (report.ok, report.size, report.erased) == (True, 13, 10)
