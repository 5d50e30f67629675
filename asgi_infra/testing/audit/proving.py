# ruff: noqa: S101
"""Proving: checkpoints, proofs, and checks of the whole log, before and after erasing and purging."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from asgi_infra.audit.errors import AuditNotFoundError
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.proofs.checkpoint import Checkpoint, open_checkpoint
from asgi_infra.audit.proofs.merkle import CompactRange
from asgi_infra.audit.proofs.proof_file import ProofFile
from asgi_infra.audit.proofs.verifying import verify_consistency, verify_inclusion
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import NOON, ContractBase, a_full_entry, a_signer, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.record import Receipt


async def checkpoint_of(logger: AuditLogger) -> Checkpoint:
    """Return a new checkpoint, with its signature checked."""
    return open_checkpoint(await logger.checkpoint(), a_signer().verifier).checkpoint


async def check_proofs(logger: AuditLogger, receipts: list[Receipt]) -> None:
    """Check the inclusion of entries in a new checkpoint."""
    checkpoint = await checkpoint_of(logger)
    for receipt in receipts:
        proof = await logger.inclusion_proof(receipt.seq, size=checkpoint.size)
        verify_inclusion(receipt.leaf_hash, receipt.seq, checkpoint.size, proof, checkpoint.root)


class ProvingContract(ContractBase):
    """Proving."""

    pytestmark = pytest.mark.anyio

    async def test_the_root_is_that_of_the_receipts(self, make: Callable[..., AuditLogger]) -> None:
        expected = CompactRange()
        async with make(signer=a_signer()) as logger:
            for number in range(9):
                expected.append((await logger.log(an_entry(number))).leaf_hash)
                checkpoint = await checkpoint_of(logger)
                assert (checkpoint.size, checkpoint.root) == (number + 1, expected.root())
                assert Checkpoint.of_note(await logger.last_checkpoint() or "") == checkpoint

    async def test_every_entry_is_proved_in_every_later_checkpoint(self, make: Callable[..., AuditLogger]) -> None:
        async with make(signer=a_signer()) as logger:
            receipts = await logger.log_many(an_entry(number) for number in range(300))
            await check_proofs(logger, [receipts[seq] for seq in (0, 1, 127, 128, 255, 256, 298, 299)])
            ProofFile.parse(await logger.prove(7)).verify_leaf(receipts[7].leaf_hash, a_signer().verifier)

    async def test_later_checkpoints_begin_with_earlier_ones(self, make: Callable[..., AuditLogger]) -> None:
        checkpoints: list[Checkpoint] = []
        async with make(signer=a_signer()) as logger:
            for size in (1, 2, 7, 8, 255, 257, 300):
                done = checkpoints[-1].size if checkpoints else 0
                await logger.log_many(an_entry(number) for number in range(done, size))
                checkpoints.append(await checkpoint_of(logger))
            for older in checkpoints:
                for newer in checkpoints:
                    if older.size <= newer.size:
                        proof = await logger.consistency_proof(older.size, size=newer.size)
                        verify_consistency(older.size, newer.size, older.root, newer.root, proof)

    async def test_what_is_not_there_is_not_proved(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            await logger.log_many(an_entry(number) for number in range(3))
            for call in (
                logger.inclusion_proof(3),
                logger.inclusion_proof(2, size=2),
                logger.inclusion_proof(0, size=4),
                logger.consistency_proof(4),
                logger.consistency_proof(1, size=4),
            ):
                with pytest.raises(AuditNotFoundError):
                    await call
            with pytest.raises(ConfigurationError, match="seq must be"):
                await logger.inclusion_proof(-1)

    async def test_a_log_that_nobody_touched_is_found_to_be_right(self, make: Callable[..., AuditLogger]) -> None:
        told: list[tuple[int, int]] = []
        async with make(signer=a_signer()) as logger:
            await logger.log_many(a_full_entry(number) for number in range(20))
            await logger.checkpoint()
            await logger.log(an_entry(20))
            report = await logger.verify(progress=lambda done, total: told.append((done, total)))
            assert report
            assert (report.ok, report.size, report.first, report.checked) == (True, 21, 0, 21)
            assert (report.bad_seq, report.problem, report.erased) == (None, "", 0)
            assert told[-1] == (21, 21)

    async def test_erasing_keeps_every_proof(self, make: Callable[..., AuditLogger]) -> None:
        async with make(signer=a_signer()) as logger:
            hers = await logger.log_many(a_full_entry(number, user_id="alice") for number in range(4))
            his = await logger.log_many(a_full_entry(number, user_id="bob") for number in range(4, 8))
            before = await checkpoint_of(logger)
            assert await logger.erase(AuditFilter(user_id="alice"), reason="ticket 17") == 4
            for receipt in hers:
                found = await logger.get(receipt.seq)
                assert found is not None
                assert found.erased
                assert (found.entry.details, found.entry.ip_address, found.entry.user_agent) == (None, None, None)
                assert (found.entry.user_id, found.receipt) == ("alice", receipt)
            untouched = await logger.query(AuditFilter(user_id="bob"))
            assert untouched.entries == tuple(a_full_entry(number, user_id="bob") for number in range(4, 8))
            await check_proofs(logger, [*hers, *his])
            after = await checkpoint_of(logger)
            proof = await logger.consistency_proof(before.size, size=after.size)
            verify_consistency(before.size, after.size, before.root, after.root, proof)
            report = await logger.verify()
            assert (report.ok, report.erased) == (True, 4)
            assert await logger.erase(AuditFilter(user_id="alice"), reason="again") == 0

    async def test_erasing_is_itself_an_entry_that_names_no_user(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            await logger.log_many(a_full_entry(number, user_id="alice") for number in range(3))
            await logger.erase(AuditFilter(user_id="alice", tenant="acme"), reason="ticket 17")
            page = await logger.query(AuditFilter(action="audit.erase"))
            assert [entry.result for entry in page.entries] == ["attempt", "success"]
            details = page.entries[1].details
            assert details is not None
            assert (details["reason"], details["entries"], details["seqs"]) == ("ticket 17", 3, ["0-2"])
            assert "alice" not in str(details)

    async def test_a_private_user_is_forgotten_with_the_rest(self, make: Callable[..., AuditLogger]) -> None:
        async with make(private_fields=["user_id"]) as logger:
            await logger.log_many(a_full_entry(number, user_id="alice") for number in range(3))
            assert await logger.count(AuditFilter(user_id="alice")) == 3
            assert await logger.erase(AuditFilter(user_id="alice"), reason="ticket 17") == 3
            assert await logger.count(AuditFilter(user_id="alice")) == 0
            found = await logger.get(0)
            assert found is not None
            assert found.entry.user_id is None
            assert (await logger.verify()).ok

    async def test_erasing_without_a_condition_or_a_reason_is_refused(self, make: Callable[..., AuditLogger]) -> None:
        async with make() as logger:
            with pytest.raises(ConfigurationError, match="wanted must"):
                await logger.erase(AuditFilter(), reason="ticket 17")
            with pytest.raises(ConfigurationError, match="reason must"):
                await logger.erase(AuditFilter(user_id="alice"), reason=" ")
            assert await logger.count() == 0

    async def test_purging_keeps_what_is_newer_and_its_proofs(self, make: Callable[..., AuditLogger]) -> None:
        async with make(signer=a_signer()) as logger:
            receipts = await logger.log_many(a_full_entry(number) for number in range(20))
            before = await checkpoint_of(logger)
            purged = await logger.purge(before=NOON + timedelta(seconds=11))
            assert purged <= 11
            kept = await logger.query(AuditFilter(action="order.*"))
            assert kept.entries == tuple(a_full_entry(number) for number in range(purged, 20))
            for number in range(purged):
                assert await logger.get(number) is None
                assert await logger.get(f"entry-{number}") is None
            await check_proofs(logger, receipts[purged:])
            after = await checkpoint_of(logger)
            proof = await logger.consistency_proof(before.size, size=after.size)
            verify_consistency(before.size, after.size, before.root, after.root, proof)
            report = await logger.verify()
            assert (report.ok, report.first, report.size) == (True, purged, 22)
            assert (await logger.log(an_entry(99))).seq == 22

    async def test_purging_stops_at_the_first_entry_that_is_to_stay(self, make: Callable[..., AuditLogger]) -> None:
        moments = [0, 1, 50, 2, 3]
        async with make() as logger:
            await logger.log_many(
                an_entry(number, timestamp=NOON + timedelta(seconds=second)) for number, second in enumerate(moments)
            )
            assert await logger.purge(before=NOON + timedelta(seconds=10)) <= 2
            assert {"entry-2", "entry-3", "entry-4"} <= {entry.id for entry in (await logger.query()).entries}
            with pytest.raises(ConfigurationError, match="before must be an aware datetime"):
                await logger.purge(before=NOON.replace(tzinfo=None))
