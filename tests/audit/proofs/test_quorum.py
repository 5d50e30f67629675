"""A quorum is met by different witnesses that have signed, and by nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs import (
    Checkpoint,
    CosignatureSigner,
    CosignatureVerifier,
    Ed25519Signer,
    Quorum,
    QuorumError,
    open_checkpoint,
    sign_checkpoint,
)
from asgi_infra.errors import ConfigurationError

LOG = Ed25519Signer("example.org/log", bytes(range(32)))
SIGNERS = [CosignatureSigner(f"example.org/w{at}", bytes([at]) * 32, clock=lambda: 1_700_000_000) for at in range(6)]
WITNESSES = [each.verifier for each in SIGNERS]
CHECKPOINT = Checkpoint("example.org/log", 7, bytes(32))


@given(st.sets(st.integers(0, 5)), st.integers(1, 6))
def test_a_quorum_is_met_by_as_many_as_it_demands(signed: set[int], threshold: int) -> None:
    quorum = Quorum(threshold, WITNESSES)
    note = sign_checkpoint(CHECKPOINT, LOG, *(SIGNERS[at] for at in signed))
    opened = open_checkpoint(note, LOG.verifier, witnesses=quorum.witnesses()).note
    assert quorum.is_met(opened) == (len(signed) >= threshold)
    if len(signed) < threshold:
        with pytest.raises(QuorumError, match=f"{len(signed)} of 6 members have signed; {threshold} must have"):
            quorum.check(opened)
    else:
        quorum.check(opened)


@given(st.sets(st.integers(0, 5)))
def test_groups_count_as_members(signed: set[int]) -> None:
    quorum = Quorum(2, [Quorum(2, WITNESSES[:3]), Quorum(1, WITNESSES[3:5]), WITNESSES[5]])
    note = sign_checkpoint(CHECKPOINT, LOG, *(SIGNERS[at] for at in signed))
    opened = open_checkpoint(note, LOG.verifier, witnesses=quorum.witnesses()).note
    met = [len(signed & {0, 1, 2}) >= 2, bool(signed & {3, 4}), 5 in signed]
    assert quorum.is_met(opened) == (sum(met) >= 2)
    assert list(quorum.witnesses()) == WITNESSES


def test_a_signature_that_was_not_checked_does_not_count() -> None:
    note = sign_checkpoint(CHECKPOINT, LOG, *SIGNERS)
    assert not Quorum(1, WITNESSES).is_met(open_checkpoint(note, LOG.verifier).note)


@pytest.mark.parametrize("threshold", [-1, 0, 4])
def test_a_quorum_that_all_or_none_meet_is_refused(threshold: int) -> None:
    with pytest.raises(ConfigurationError, match="threshold must be from 1 to the number of members"):
        Quorum(threshold, WITNESSES[:3])
    with pytest.raises(ConfigurationError, match="threshold"):
        Quorum(1, [])


def test_a_witness_can_not_be_counted_twice_even_under_another_name() -> None:
    alias = CosignatureVerifier("example.org/alias", WITNESSES[0].public_key)
    for members in (
        [WITNESSES[0], WITNESSES[0]],
        [WITNESSES[0], alias],
        [WITNESSES[1], Quorum(1, [WITNESSES[0], WITNESSES[1]])],
    ):
        with pytest.raises(ConfigurationError, match="must be different witnesses"):
            Quorum(1, members)


def test_a_quorum_shows_who_is_in_it() -> None:
    assert repr(Quorum(1, WITNESSES[:1])) == f"Quorum(1, [{WITNESSES[0]!r}])"
