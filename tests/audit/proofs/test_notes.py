"""Signed notes: published ones open, ours come back the same, and whatever is written otherwise is refused."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs.ed25519 import Ed25519Signer, Ed25519Verifier
from asgi_infra.audit.proofs.errors import MalformedProofError, ProofError, SignatureError
from asgi_infra.audit.proofs.notes import (
    MAX_NOTE,
    MAX_SIGNATURES,
    Note,
    Signature,
    open_note,
    parse_signatures,
    sign_note,
)
from asgi_infra.audit.proofs.vkeys import parse_vkey
from asgi_infra.errors import ConfigurationError

# From the documentation of golang.org/x/mod/sumdb/note, whose format the specification took over.
NEUMANN = parse_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
NEUMANN_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of the specification, c2sp.org/signed-note.
FOO = parse_vkey("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
FOO_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

ALICE = Ed25519Signer("example.org/alice", bytes(range(32)))
BOB = Ed25519Signer("example.org/bob", bytes(32))
TEXT = "first line\n\nlast line\n"
NOTE = sign_note(TEXT, ALICE)
LINE = NOTE.removeprefix(TEXT + "\n")

texts = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32) | st.just("\n"), max_size=50).map(
    lambda text: f"{text}.\n"
)


@pytest.mark.parametrize(("note", "verifier"), [(NEUMANN_NOTE, NEUMANN), (FOO_NOTE, FOO)])
def test_published_notes_open(note: str, verifier: Any) -> None:
    opened = open_note(note, [verifier])
    assert opened.text == note.partition("\n\n")[0] + "\n"
    assert opened.is_signed_by(verifier)
    assert str(Note.parse(note)) == note


def test_the_published_key_makes_the_published_signature() -> None:
    seed = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    assert sign_note(NEUMANN_NOTE.partition("\n\n")[0] + "\n", Ed25519Signer("PeterNeumann", seed)) == NEUMANN_NOTE


@given(texts)
def test_what_was_signed_opens_and_is_written_the_same_again(text: str) -> None:
    note = sign_note(text, ALICE, BOB)
    opened = open_note(note.encode(), [ALICE.verifier, BOB.verifier])
    assert opened.text == text
    assert [each.name for each in opened.verified] == ["example.org/alice", "example.org/bob"]
    assert opened.unknown == ()
    assert str(Note.parse(note)) == note


def test_signatures_of_unknown_keys_are_ignored_even_with_a_known_name_or_identifier() -> None:
    same_name = Ed25519Signer(ALICE.name, b"x" * 32)
    same_id = Signature("example.org/eve", ALICE.key_id, bytes(64))
    note = sign_note(TEXT, same_name, BOB, ALICE, signatures=[same_id])
    opened = open_note(note, [ALICE.verifier])
    assert opened.is_signed_by(ALICE.verifier)
    assert not opened.is_signed_by(BOB.verifier)
    assert [each.name for each in opened.unknown] == [ALICE.name, BOB.name, "example.org/eve"]


def test_a_note_without_a_known_key_is_refused() -> None:
    for verifiers in ([], [BOB.verifier]):
        with pytest.raises(SignatureError, match="no known key has signed the note"):
            open_note(NOTE, verifiers)


def test_a_wrong_signature_of_a_known_key_refuses_the_note_whoever_else_signed_it() -> None:
    forged = Signature(ALICE.name, ALICE.key_id, bytes(64))
    note = sign_note(TEXT, BOB, signatures=[forged])
    with pytest.raises(SignatureError, match=r"the signature by example\.org/alice \([0-9a-f]{8}\) is wrong"):
        open_note(note, [BOB.verifier, ALICE.verifier])
    with pytest.raises(SignatureError):
        open_note(NOTE + str(forged), [ALICE.verifier])


def test_a_repeated_signature_counts_once() -> None:
    opened = open_note(NOTE + LINE * 3, [ALICE.verifier])
    assert len(opened.verified) == 1
    assert opened.unknown == ()


def test_signing_again_replaces_only_the_own_signature() -> None:
    old = Note.parse(sign_note("an older text\n", ALICE, BOB))
    again = Note.parse(sign_note(TEXT, ALICE, signatures=old.signatures))
    assert [each.name for each in again.signatures] == [ALICE.name, BOB.name]
    assert str(Note(again.text, again.signatures[:1])) == NOTE


@given(st.data())
def test_no_byte_of_a_signed_note_can_be_changed(data: st.DataObject) -> None:
    raw = bytearray(sign_note("some text\nmore text\n", ALICE).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProofError):
        open_note(bytes(raw), [ALICE.verifier])


@given(st.binary(max_size=200) | st.text(max_size=200) | st.text("— \n+=AB/x", max_size=60))
def test_anything_is_parsed_to_itself_or_refused(data: str | bytes) -> None:
    try:
        note = Note.parse(data)
    except MalformedProofError:
        return
    assert str(note) == (data if isinstance(data, str) else data.decode())


BASE = LINE.rpartition(" ")[2].strip()


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        LINE,
        "\n\n" + LINE,
        TEXT + LINE,
        TEXT + "\n" + LINE[:-1],
        NOTE + "\n",
        NOTE + "x",
        NOTE + "\n\n",
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("first", "fi\trst"),
        NOTE.replace("first", "fi\x00rst"),
        NOTE.replace("— ", "- "),
        NOTE.replace("— ", "—"),
        NOTE.replace("— ", "—  "),
        NOTE.replace("alice", "alice+"),
        NOTE.replace("alice", "ali\xa0ce"),
        NOTE.replace("alice", "ali\u2028ce"),
        NOTE.replace(" example.org/alice", ""),
        NOTE.replace(BASE, ""),
        NOTE.replace(BASE, BASE.rstrip("=")),
        NOTE.replace(BASE, BASE + "="),
        NOTE.replace(BASE, BASE + "\n" + BASE),
        NOTE.replace(BASE, BASE[:8] + " " + BASE[8:]),
        NOTE.replace(BASE, BASE[:8] + "!" + BASE[9:]),
        NOTE.replace(BASE, BASE[:8] + "é" + BASE[9:]),
        NOTE.replace(BASE, BASE[:8] + "-_" + BASE[10:]),
        NOTE.replace(BASE, "AAAAAA=="),
        NOTE.replace(BASE, "AAAAAAB="),
        NOTE.encode()[:5] + b"\xff" + NOTE.encode()[5:],
        NOTE.encode("utf-16"),
        "\ud800" + NOTE,
    ],
)
def test_what_is_written_otherwise_is_refused(note: str | bytes) -> None:
    with pytest.raises(MalformedProofError):
        open_note(note, [ALICE.verifier])


def test_size_and_number_of_signatures_are_bounded() -> None:
    assert open_note(NOTE + LINE * (MAX_SIGNATURES - 1), [ALICE.verifier]).verified
    with pytest.raises(MalformedProofError, match="at most 100"):
        open_note(NOTE + LINE * MAX_SIGNATURES, [ALICE.verifier])
    fits = "x" * (MAX_NOTE - len(LINE.encode()) - 2) + "\n"
    assert open_note(sign_note(fits, ALICE), [ALICE.verifier]).text == fits
    with pytest.raises(MalformedProofError, match="at most 1000000 bytes, not 1000001"):
        open_note("x" + sign_note(fits, ALICE), [ALICE.verifier])


def test_the_last_blank_line_ends_the_text() -> None:
    inner = sign_note("text\n", BOB)
    outer = sign_note(inner, ALICE)
    assert open_note(outer, [ALICE.verifier, BOB.verifier]).text == inner


@pytest.mark.parametrize(
    "text", ["", "\n", "no newline", "tab\t\n", "null\x00\n", "\r\n", "\ud800\n", "x" * MAX_NOTE + "\n"]
)
def test_only_a_text_that_a_note_can_have_is_signed(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^text"):
        sign_note(text, ALICE)


def test_a_note_needs_signers_and_different_ones() -> None:
    with pytest.raises(ConfigurationError, match="signatures don't make a note"):
        sign_note(TEXT)
    with pytest.raises(ConfigurationError, match="signers must be different keys"):
        sign_note(TEXT, ALICE, ALICE)
    with pytest.raises(ConfigurationError, match="signatures don't make a note"):
        sign_note(TEXT, ALICE, signatures=[Signature("no name", b"1234", b"x")])


def test_two_verifiers_of_one_key_are_a_mistake() -> None:
    twin = Ed25519Verifier(ALICE.name, ALICE.verifier.public_key)
    with pytest.raises(ConfigurationError, match="there twice"):
        open_note(NOTE, [ALICE.verifier, twin])


def test_signature_lines_stand_alone_too() -> None:
    assert [each.name for each in parse_signatures(LINE)] == [ALICE.name]
    for lines in ("", "\n", LINE[:-1], LINE + "\n"):
        with pytest.raises(MalformedProofError):
            parse_signatures(lines)
