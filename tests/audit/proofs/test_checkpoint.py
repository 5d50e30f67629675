"""Checkpoints: one way to write them, and nothing is believed that the log has not signed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from asgi_infra.audit.proofs.cosignature import CosignatureSigner
from asgi_infra.audit.proofs.ed25519 import Ed25519Signer
from asgi_infra.audit.proofs.errors import MalformedProofError, ProofError, SignatureError
from asgi_infra.audit.proofs.merkle import EMPTY_ROOT
from asgi_infra.audit.proofs.notes import Note, sign_note
from asgi_infra.errors import ConfigurationError

LOG = Ed25519Signer("example.org/log", bytes(range(32)))
WITNESS = CosignatureSigner("example.org/witness", bytes(range(1, 33)), clock=lambda: 1_700_000_000)
# The body of the example of the specification, c2sp.org/tlog-checkpoint.
TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
ROOT = bytes(range(32))
CHECKPOINT = Checkpoint("example.org/log", 7, ROOT)
NOTE = sign_checkpoint(CHECKPOINT, LOG)

lines = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32), min_size=1, max_size=20)
checkpoints = st.builds(
    Checkpoint, lines, st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32), st.lists(lines).map(tuple)
) | st.builds(Checkpoint, lines, st.just(0), st.just(EMPTY_ROOT))


def test_the_example_of_the_specification_is_read() -> None:
    checkpoint = Checkpoint.parse(TEXT)
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20_852_163
    assert checkpoint.root.hex().startswith("0ac5186a91863e8e")
    assert str(checkpoint) == TEXT


@given(checkpoints)
def test_a_checkpoint_survives_its_text_and_its_note(checkpoint: Checkpoint) -> None:
    assert Checkpoint.parse(str(checkpoint)) == checkpoint
    note = sign_checkpoint(checkpoint, LOG)
    assert Checkpoint.of_note(note) == checkpoint
    assert open_checkpoint(note, LOG.verifier, origin=checkpoint.origin).checkpoint == checkpoint


@given(st.text(max_size=100) | st.text("a\n019AB+/=", max_size=80))
def test_any_text_is_that_of_a_checkpoint_or_refused(text: str) -> None:
    try:
        checkpoint = Checkpoint.parse(text)
    except MalformedProofError:
        return
    assert str(checkpoint) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        TEXT[:-1],
        TEXT + "\n",
        "\n" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("20852163", "020852163"),
        TEXT.replace("20852163", "+20852163"),
        TEXT.replace("20852163", "-1"),
        TEXT.replace("20852163", "20_852_163"),
        TEXT.replace("20852163", "20852163 "),
        TEXT.replace("20852163", "٢٠"),
        TEXT.replace("20852163", "1e3"),
        TEXT.replace("20852163", ""),
        TEXT.replace("20852163", "0"),
        TEXT.replace("20852163", "00"),
        TEXT.replace("20852163", str(2**63)),
        TEXT.replace("20852163", "9" * 10_000),
        TEXT.replace("q2I=", "q2J="),
        TEXT.replace("q2I=", "q2I"),
        TEXT.replace("CsUY", ""),
        TEXT.replace("CsUY", "CsUYCsUY"),
        TEXT.replace("CsUY", "Cs-_"),
        TEXT.replace("CsUY", " CsUY"),
        TEXT + "extension\n\n",
        TEXT + "\nextension\n",
        TEXT + "tab\there\n",
    ],
)
def test_a_checkpoint_has_only_one_form(text: str) -> None:
    with pytest.raises(MalformedProofError):
        Checkpoint.parse(text)


def test_extension_lines_are_kept_and_signed() -> None:
    extended = Checkpoint("example.org/log", 7, ROOT, ("one", "two"))
    note = sign_checkpoint(extended, LOG)
    assert open_checkpoint(note, LOG.verifier).checkpoint.extensions == ("one", "two")
    with pytest.raises(SignatureError):
        open_checkpoint(note.replace("two", "three"), LOG.verifier)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    other = sign_checkpoint(Checkpoint("example.org/other", 7, ROOT), LOG)
    with pytest.raises(ProofError, match=r"that of 'example\.org/other', not of 'example\.org/log'"):
        open_checkpoint(other, LOG.verifier)
    assert open_checkpoint(other, LOG.verifier, origin="example.org/other").checkpoint.size == 7


def test_a_witness_can_not_speak_for_the_log() -> None:
    only_witnessed = sign_checkpoint(CHECKPOINT, WITNESS)
    with pytest.raises(SignatureError, match="not signed by its log"):
        open_checkpoint(only_witnessed, LOG.verifier, witnesses=[WITNESS.verifier])


def test_witnesses_sign_what_the_log_has_signed() -> None:
    note = sign_checkpoint(CHECKPOINT, WITNESS, signatures=Note.parse(NOTE).signatures)
    opened = open_checkpoint(note, LOG.verifier, witnesses=[WITNESS.verifier])
    assert opened.checkpoint == CHECKPOINT
    assert opened.note.is_signed_by(WITNESS.verifier)
    assert not open_checkpoint(note, LOG.verifier).note.is_signed_by(WITNESS.verifier)


def test_a_signed_text_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(MalformedProofError, match="an origin, a size and a root"):
        open_checkpoint(sign_note("just a text\n", LOG), LOG.verifier)


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        (("", 7, ROOT), "origin"),
        (("a\nb", 7, ROOT), "origin"),
        (("a\r", 7, ROOT), "origin"),
        (("a", -1, ROOT), "size"),
        (("a", 2**63, ROOT), "size"),
        (("a", 7, b""), "root"),
        (("a", 0, ROOT), "root"),
        (("a", 7, ROOT, ("",)), "extensions"),
        (("a", 7, ROOT, ("x\n",)), "extensions"),
    ],
)
def test_what_can_not_stand_in_a_checkpoint_is_refused(arguments, parameter: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{parameter} must"):
        Checkpoint(*arguments)
