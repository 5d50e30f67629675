# ruff: noqa: S101
"""Many tasks, threads and event loops at once."""

from __future__ import annotations

from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from asgi_infra.testing.audit.base import ContractBase, a_signer, an_entry
from asgi_infra.testing.audit.proving import check_proofs

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.record import Receipt

TASKS = 16
THREADS = 4
EACH = 5


class ConcurrencyContract(ContractBase):
    """Many at once."""

    def test_tasks_in_threads_make_one_log_without_forks_and_gaps(
        self, make: Callable[..., AuditLogger], anyio_backend_name: str
    ) -> None:
        receipts: dict[str, Receipt] = {}
        errors: list[BaseException] = []
        logger = make(signer=a_signer())

        async def write(name: str) -> None:
            for number in range(EACH):
                entry = an_entry(number, id=f"{name}-{number}")
                receipts[entry.id] = await logger.log(entry)

        async def many(thread: int) -> None:
            async with anyio.create_task_group() as group:
                for task in range(TASKS):
                    group.start_soon(write, f"{thread}-{task}")

        def run(thread: int) -> None:
            try:
                anyio.run(many, thread, backend=anyio_backend_name)
            except BaseException as exc:  # noqa: BLE001 - a thread would only print it
                errors.append(exc)

        threads = [Thread(target=run, args=[thread]) for thread in range(THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert errors == []

        async def check() -> None:
            total = THREADS * TASKS * EACH
            page = await logger.query(limit=1000)
            assert [each.seq for each in page] == list(range(total))
            assert {each.entry.id: each.receipt for each in page} == receipts
            for thread in range(THREADS):
                for task in range(TASKS):
                    own = [receipts[f"{thread}-{task}-{number}"].seq for number in range(EACH)]
                    assert own == sorted(own), "what one task logs one after the other stays in order"
            assert (await logger.verify()).ok
            await check_proofs(logger, list(receipts.values())[::17])
            await logger.aclose()

        anyio.run(check, backend=anyio_backend_name)

    @pytest.mark.anyio
    async def test_cancelling_writers_loses_and_reorders_nothing(self, make: Callable[..., AuditLogger]) -> None:
        kept: list[Receipt] = []

        async def write(number: int) -> None:
            kept.append(await logger.log(an_entry(number)))

        async def write_and_give_up(number: int) -> None:
            with anyio.move_on_after(0):
                await logger.log(an_entry(number))

        async with make(max_batch=4, max_queue=8) as logger:
            async with anyio.create_task_group() as group:
                for number in range(60):
                    group.start_soon(write_and_give_up if number % 3 == 0 else write, number)
            page = await logger.query(limit=100)
            stored = {each.seq: each.receipt for each in page}
            assert len(kept) == 40
            assert all(stored[receipt.seq] == receipt for receipt in kept)
            assert sorted(stored) == list(range(len(stored)))
            assert (await logger.verify()).ok

    @pytest.mark.anyio
    async def test_readers_see_whole_prefixes_while_others_write(self, make: Callable[..., AuditLogger]) -> None:
        async with make(max_batch=8) as logger:

            async def read() -> None:
                for _ in range(20):
                    page = await logger.query(limit=1000)
                    assert [each.seq for each in page] == list(range(len(page)))
                    await anyio.lowlevel.checkpoint()

            async with anyio.create_task_group() as group:
                group.start_soon(read)
                for number in range(100):
                    group.start_soon(partial(logger.log, an_entry(number)))
            assert await logger.count() == 100
