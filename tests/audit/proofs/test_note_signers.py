"""Keys of notes: their text form, their two signature types, and what they never show."""

from __future__ import annotations

import pickle
import sys
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs import ed25519
from asgi_infra.audit.proofs.cosignature import CosignatureSigner, CosignatureVerifier, cosigned_at
from asgi_infra.audit.proofs.ed25519 import Ed25519Signer, Ed25519Verifier
from asgi_infra.audit.proofs.encoding import encode_base64
from asgi_infra.audit.proofs.errors import MalformedProofError, SignatureError
from asgi_infra.audit.proofs.notes import open_note, sign_note
from asgi_infra.audit.proofs.signing import is_key_name, key_id
from asgi_infra.audit.proofs.vkeys import SIGNATURE_TYPES, parse_vkey
from asgi_infra.errors import ConfigurationError, MissingExtraError

SEED = bytes(range(100, 132))
SIGNER = Ed25519Signer("example.org/log", SEED)
WITNESS = CosignatureSigner("example.org/witness", SEED, clock=lambda: 1_679_315_147.9)
VKEY = SIGNER.verifier.vkey
TEXT = b"example.org/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"


@pytest.mark.parametrize("verifier", [SIGNER.verifier, WITNESS.verifier])
def test_a_key_survives_its_text_form(verifier: Ed25519Verifier) -> None:
    again = parse_vkey(verifier.vkey)
    assert again == verifier
    assert hash(again) == hash(verifier)
    assert type(again) is type(verifier)
    assert verifier.vkey in repr(again)


def test_keys_of_different_types_are_different_keys() -> None:
    as_log = Ed25519Verifier(WITNESS.name, WITNESS.verifier.public_key)
    assert as_log != WITNESS.verifier
    assert as_log.key_id != WITNESS.key_id


def test_the_identifier_is_that_of_the_specification() -> None:
    public = SIGNER.verifier.public_key
    assert SIGNER.key_id == sha256(b"example.org/log\n\x01" + public).digest()[:4] == key_id(SIGNER.name, 1, public)
    assert WITNESS.key_id == sha256(b"example.org/witness\n\x04" + public).digest()[:4]


def _vkey(name: str, kind: int, public: bytes) -> str:
    return f"{name}+{key_id(name, kind, public).hex()}+{encode_base64(bytes([kind]) + public)}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org/log",
        "example.org/log+",
        "example.org/log+35b5c6f8",
        "++",
        VKEY + " ",
        VKEY + "\n",
        VKEY[:-1],
        VKEY.replace("example.org", "example.com"),
        VKEY.replace(SIGNER.key_id.hex(), SIGNER.key_id.hex().upper() if SIGNER.key_id.hex().islower() else "x"),
        VKEY.replace(SIGNER.key_id.hex(), "0" + SIGNER.key_id.hex()),
        VKEY.replace(SIGNER.key_id.hex(), "00000000"),
        VKEY.replace("example.org", " example.org"),
        "example.org/log+00000000+",
        _vkey("example.org/log", 1, bytes(31)),
        _vkey("example.org/log", 1, bytes(33)),
        _vkey("example.org/log", 2, bytes(32)),
        _vkey("example.org/log", 6, bytes(1312)),
        _vkey("x" * 256, 1, bytes(32)),
        "a+00000000+" + "A" * 10_000,
    ],
)
def test_a_faulty_key_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedProofError):
        parse_vkey(text)


@given(st.text(max_size=60))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    with pytest.raises(MalformedProofError):
        parse_vkey(text)


class Reversed:
    """An algorithm of somebody else's: the signature is the text backwards."""

    def __init__(self, name: str, public_key: bytes = b"backwards") -> None:
        self.name = name
        self.public_key = public_key
        self.key_id = key_id(name, 0xFF, public_key)

    def sign(self, text: bytes) -> bytes:
        return text[::-1]

    def verify(self, text: bytes, signature: bytes) -> None:
        if signature != text[::-1]:
            raise SignatureError("not backwards")


def test_other_signature_types_can_be_plugged_in() -> None:
    verifier = parse_vkey(_vkey("example.org/other", 0xFF, b"backwards"), {**SIGNATURE_TYPES, 0xFF: Reversed})
    note = sign_note("text\n", SIGNER, Reversed("example.org/other"))
    assert len(open_note(note, [verifier, SIGNER.verifier]).verified) == 2
    assert len(open_note(note, [SIGNER.verifier]).unknown) == 1


# Cosignatures


def test_a_cosignature_holds_the_time_and_the_text() -> None:
    made = WITNESS.sign(TEXT)
    assert cosigned_at(made) == 1_679_315_147
    WITNESS.verifier.verify(TEXT, made)
    # Word for word as the specification writes the message.
    message = b"cosignature/v1\ntime 1679315147\n" + TEXT
    Ed25519Verifier("x", WITNESS.verifier.public_key).verify(message, made[8:])


@pytest.mark.parametrize("change", [0, 7, 8, 71])
def test_a_changed_cosignature_is_wrong(change: int) -> None:
    made = bytearray(WITNESS.sign(TEXT))
    made[change] ^= 1
    with pytest.raises(SignatureError):
        WITNESS.verifier.verify(TEXT, bytes(made))
    with pytest.raises(SignatureError):
        WITNESS.verifier.verify(TEXT + b"x\n", WITNESS.sign(TEXT))


@pytest.mark.parametrize("made", [b"", bytes(64), bytes(71), bytes(73), b"\x80" + bytes(71), b"\xff" * 72])
def test_what_is_no_cosignature_is_refused(made: bytes) -> None:
    with pytest.raises(SignatureError, match=r"the cosignature by example\.org/witness"):
        WITNESS.verifier.verify(TEXT, made)
    with pytest.raises(MalformedProofError):
        cosigned_at(made)


def test_a_plain_signature_is_no_cosignature_and_the_reverse() -> None:
    with pytest.raises(SignatureError):
        WITNESS.verifier.verify(TEXT, SIGNER.sign(TEXT))
    with pytest.raises(SignatureError):
        SIGNER.verifier.verify(TEXT, WITNESS.sign(TEXT))


def test_a_clock_before_1970_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="clock"):
        CosignatureSigner("example.org/witness", SEED, clock=lambda: -5.0).sign(TEXT)


# What keys are made of, and what they show


@pytest.mark.parametrize("name", ["", " ", "a b", "a+b", "a\nb", "a\tb", "a\u2003b", "\x00", "x" * 256, "\ud800"])
def test_a_name_that_a_note_can_not_have_is_refused(name: str) -> None:
    for make in (Ed25519Signer, CosignatureSigner, Ed25519Verifier, CosignatureVerifier):
        with pytest.raises(ConfigurationError, match="name must be a key name"):
            make(name, SIGNER.verifier.public_key)


@pytest.mark.parametrize("name", ["例え.example/ログ", "क्‍ष.example", "x" * 255])
def test_names_may_have_any_letters(name: str) -> None:
    assert is_key_name(name)
    signer = Ed25519Signer(name, SEED)
    assert parse_vkey(signer.verifier.vkey).name == name
    assert open_note(sign_note("text\n", signer), [signer.verifier]).is_signed_by(signer.verifier)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_have_32_bytes(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"seed must be 32 bytes, not {size}"):
        Ed25519Signer("example.org/log", bytes(size))
    with pytest.raises(ConfigurationError, match=f"public_key must be 32 bytes, not {size}"):
        Ed25519Verifier("example.org/log", bytes(size))


@pytest.mark.parametrize("signer", [SIGNER, WITNESS])
def test_a_private_key_is_neither_shown_nor_pickled(signer: Ed25519Signer) -> None:
    for text in (repr(signer), str(signer), repr([signer])):
        assert SEED.hex() not in text
        assert encode_base64(SEED) not in text
        assert signer.key_id.hex() in text
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(signer)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(MissingExtraError, match=r"asgi-infra\[audit\]") as caught:
        ed25519.Ed25519Verifier("example.org/log", bytes(32))
    assert isinstance(caught.value.__cause__, ImportError)
