# ruff: noqa: S101
"""Writing: what is acknowledged is stored, once, in order, and as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.errors import AuditClosedError
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.proofs.merkle import leaf_hash
from asgi_infra.errors import ConfigurationError
from asgi_infra.ids import uuid7
from asgi_infra.testing.audit.base import ContractBase, a_full_entry, an_entry, property_settings
from asgi_infra.testing.audit.strategies import entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.entry import AuditEntry


class _Hostile:
    """Raises whatever is done with it."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


HOSTILE_DETAILS: list[dict[Any, Any]] = [
    {"value": float("nan"), "more": [float("inf"), -0.0]},
    {"surrogate": "\ud800", "\udfff": 1, "nul": "\x00"},
    {"cycle": _cycle()},
    {"object": _Hostile(), "type": _Hostile, "exception": ValueError("wrong")},
    {"huge": "x" * 10_000_000},
    {"wide": list(range(100_000)), "bytes": b"\xff" * 100_000},
    {"integer": 10**5000, "small": -(2**63)},
    {1: "a", "1": "b", None: "c", (1, 2): "d"},
    {"🎉": "ﬀ", "deep": [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]},
]


class WritingContract(ContractBase):
    """Writing."""

    pytestmark = pytest.mark.anyio

    async def test_an_entry_is_read_as_it_was_logged(self, make: Callable[..., AuditLogger]) -> None:
        entry = a_full_entry()
        async with make() as logger:
            receipt = await logger.log(entry)
            found = await logger.get(entry.id)
            assert found is not None
            assert (found.entry, found.seq, found.erased) == (entry, 0, False)
            assert found.receipt == receipt
            assert await logger.get(receipt.seq) == found

    async def test_numbers_begin_at_zero_and_have_no_gaps(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            one_by_one = [await logger.log(an_entry(number)) for number in range(5)]
            together = await logger.log_many(an_entry(number) for number in range(5, 20))
            assert [receipt.seq for receipt in [*one_by_one, *together]] == list(range(20))
            page = await logger.query(limit=20)
            assert page.entries == tuple(an_entry(number) for number in range(20))
            assert [each.receipt for each in page] == [*one_by_one, *together]

    async def test_log_many_of_nothing_is_nothing(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            assert await logger.log_many([]) == []
            assert await logger.count() == 0

    async def test_many_more_entries_than_a_batch_keep_their_order(self, make: Callable[..., AuditLogger]) -> None:
        many = [an_entry(number) for number in range(150)]
        async with make(max_batch=16, max_queue=32) as logger:
            receipts = await logger.log_many(many)
            assert [receipt.seq for receipt in receipts] == list(range(150))
            assert (await logger.query(limit=200)).entries == tuple(many)

    async def test_the_same_id_is_one_entry_with_one_receipt(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            first = await logger.log(an_entry(1, details={"try": 1}))
            again = await logger.log(an_entry(1, details={"try": 2}))
            among_others = await logger.log_many([an_entry(2), an_entry(1), an_entry(2), an_entry(3)])
            assert again == first
            assert [receipt.seq for receipt in among_others] == [1, 0, 1, 2]
            assert among_others[0] == among_others[2]
            assert await logger.count() == 3
            found = await logger.get("entry-1")
            assert found is not None
            assert found.entry.details == {"try": 1}
            assert (await logger.verify()).ok

    async def test_the_same_id_at_once_is_one_entry(self, make: Callable[..., AuditLogger]) -> None:
        receipts = []

        async def log(number: int) -> None:
            receipts.append(await logger.log(an_entry(number % 3)))

        async with make() as logger:
            async with anyio.create_task_group() as group:
                for number in range(30):
                    group.start_soon(log, number)
            assert len(set(receipts)) == 3
            assert await logger.count() == 3

    async def test_the_leaf_hash_of_a_receipt_is_that_of_the_stored_leaf(
        self, make: Callable[..., AuditLogger]
    ) -> None:
        async with make() as logger:
            receipt = await logger.log(a_full_entry())
            (stored,) = await logger._calls.call(logger._store.select, AuditFilter(), 0, 1, 10)
            assert leaf_hash(stored.leaf) == receipt.leaf_hash

    @pytest.mark.parametrize("details", HOSTILE_DETAILS, ids=lambda details: "-".join(map(ascii, details))[:30])
    async def test_hostile_details_are_stored_in_some_form(
        self, make: Callable[..., AuditLogger], details: dict[Any, Any]
    ) -> None:
        async with make() as logger:
            first = await logger.log_action("order.refund", "order", id="hostile", details=details)
            entry = an_entry(1, details=details)
            second = await logger.log(entry)
            assert (first.seq, second.seq) == (0, 1)
            found = await logger.get(1)
            assert found is not None
            assert found.entry.id == entry.id
            assert isinstance(found.entry.details, dict)
            assert (await logger.verify()).ok

    async def test_what_is_no_entry_is_refused_before_anything_is_logged(
        self, make: Callable[..., AuditLogger]
    ) -> None:
        wrong: Any = {"id": "entry-2"}
        async with make() as logger:
            with pytest.raises(ConfigurationError, match="AuditEntry"):
                await logger.log(wrong)
            with pytest.raises(ConfigurationError, match="AuditEntry"):
                await logger.log_many([an_entry(1), wrong])
            with pytest.raises(ConfigurationError, match="action must not be blank"):
                await logger.log_action(" ", "order")
            assert await logger.count() == 0

    async def test_a_closed_logger_refuses_everything(self, make: Callable[..., AuditLogger]) -> None:
        logger = make()
        async with logger:
            await logger.log(an_entry())
        await logger.aclose()
        for call in (
            lambda: logger.log(an_entry(1)),
            lambda: logger.log_many([an_entry(1)]),
            lambda: logger.log_action("order.refund", "order"),
            logger.query,
            logger.count,
            lambda: logger.get(0),
            logger.verify,
            logger.ping,
            logger.checkpoint,
            lambda: logger.inclusion_proof(0),
        ):
            with pytest.raises(AuditClosedError):
                await call()

    @property_settings
    @given(many=st.lists(entries, min_size=1, max_size=5, unique_by=lambda entry: entry.id))
    def test_entries_of_any_kind_come_back_equal(self, tmp_path: Path, many: list[AuditEntry]) -> None:
        place = tmp_path / uuid7()

        async def log_and_read() -> None:
            async with self.make_logger(place, audit_reads=False) as logger:
                await logger.log_many(many)
                assert (await logger.query()).entries == tuple(many)
                assert (await logger.verify()).ok

        anyio.run(log_and_read)
