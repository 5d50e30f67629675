# ruff: noqa: S101
"""Any sequence of calls, compared with a list that does the same."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.proofs.merkle import CompactRange
from asgi_infra.ids import uuid7
from asgi_infra.testing.audit.base import NOON, ContractBase, a_full_entry, property_settings
from asgi_infra.testing.audit.reading import read_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.entry import AuditEntry
    from asgi_infra.audit.record import Receipt

_USERS = ("alice", "bob", "carol")

_steps = st.one_of(
    st.tuples(st.just("log"), st.integers(0, 40)),
    st.tuples(st.just("log"), st.integers(0, 40)),
    st.tuples(st.just("log_many"), st.lists(st.integers(0, 60), max_size=8)),
    st.tuples(st.just("erase"), st.sampled_from(_USERS)),
    st.tuples(st.just("purge"), st.integers(0, 30)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("check"), st.none()),
)


class _Model:
    """What a log should hold: of entries about the log itself no more than that they are there."""

    def __init__(self) -> None:
        self.leaves = CompactRange()
        self.receipts: dict[str, Receipt] = {}
        self.entries: dict[int, AuditEntry] = {}
        self.first = 0

    def logged(self, entries: Sequence[AuditEntry], receipts: Sequence[Receipt]) -> None:
        for entry, receipt in zip(entries, receipts, strict=True):
            known = self.receipts.get(entry.id)
            if known is not None:
                assert receipt == known
                continue
            assert receipt.seq == self.leaves.size
            self.leaves.append(receipt.leaf_hash)
            self.receipts[entry.id] = receipt
            self.entries[receipt.seq] = entry

    def erased(self, user_id: str) -> int:
        hers = {seq: entry for seq, entry in self.entries.items() if entry.user_id == user_id}
        for seq, entry in hers.items():
            public = {**entry.to_dict(), "details": None, "ip_address": None, "user_agent": None}
            self.entries[seq] = type(entry).from_dict(public)
        return sum(entry.details is not None for entry in hers.values())

    def purged(self, first: int) -> None:
        self.first = first
        for seq in [seq for seq in self.entries if seq < first]:
            del self.receipts[self.entries.pop(seq).id]


def _entry(number: int) -> AuditEntry:
    return a_full_entry(number, user_id=_USERS[number % len(_USERS)])


class ModelContract(ContractBase):
    """Any sequence of calls."""

    @property_settings
    @given(steps=st.lists(_steps, max_size=25))
    def test_any_sequence_of_calls_does_what_a_list_would_do(
        self, tmp_path: Path, steps: list[tuple[str, Any]]
    ) -> None:
        anyio.run(self._play, tmp_path / uuid7(), steps)

    async def _play(self, place: Path, steps: list[tuple[str, Any]]) -> None:
        model = _Model()
        logger = self.make_logger(place, audit_reads=False)
        try:
            for name, value in steps:
                if name == "log":
                    model.logged([_entry(value)], [await logger.log(_entry(value))])
                elif name == "log_many":
                    many = [_entry(number) for number in value]
                    model.logged(many, await logger.log_many(many))
                elif name == "erase":
                    erased = await logger.erase(AuditFilter(user_id=value), reason="ticket 17")
                    assert erased == model.erased(value)
                    await self._catch_up(logger, model)
                elif name == "purge":
                    before = model.first
                    purged = await logger.purge(before=NOON + timedelta(seconds=value))
                    await self._catch_up(logger, model)
                    self._purge(model, before, purged, value)
                elif name == "reopen" and self.persistent:
                    await logger.aclose()
                    logger = self.make_logger(place, audit_reads=False)
                else:
                    await self._compare(logger, model)
            await self._compare(logger, model)
        finally:
            await logger.aclose()

    @staticmethod
    def _purge(model: _Model, first: int, purged: int, second: int) -> None:
        until = NOON + timedelta(seconds=second)
        assert all(model.entries[seq].timestamp < until for seq in range(first, first + purged))
        model.purged(first + purged)

    @staticmethod
    async def _catch_up(logger: AuditLogger, model: _Model) -> None:
        """Take over the entries that the logger has made about itself."""
        for logged in await logger.query(AuditFilter(resource_type="audit_log"), limit=1000):
            if logged.seq >= model.leaves.size:
                model.logged([logged.entry], [logged.receipt])

    @staticmethod
    async def _compare(logger: AuditLogger, model: _Model) -> None:
        expected = list(model.entries.values())
        assert await read_all(logger, limit=9) == expected
        for user_id in _USERS:
            wanted = AuditFilter(user_id=user_id, since=NOON + timedelta(seconds=5))
            found = await read_all(logger, wanted, limit=4, newest_first=True)
            assert found == [entry for entry in reversed(expected) if wanted.matches(entry)]
        report = await logger.verify()
        assert (report.ok, report.problem) == (True, "")
        assert (report.size, report.root, report.first) == (model.leaves.size, model.leaves.root(), model.first)
