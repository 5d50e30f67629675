"""Signed notes (C2SP signed-note): a text, a blank line, and a line for each signature.

```text
This is the text.

— example.org/key base64(4 bytes key identifier, then the signature)
```

Nothing of a note may be believed before `open_note` has checked a signature of a key that you know. Signatures of other
keys are kept and ignored, which lets logs change keys and witnesses add theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.proofs.encoding import decode_base64, encode_base64
from asgi_infra.audit.proofs.errors import MalformedProofError, SignatureError
from asgi_infra.audit.proofs.signing import KEY_ID_SIZE, is_key_name
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgi_infra.audit.proofs.signing import Signer, Verifier

MAX_NOTE: Final = 1_000_000
"""The most bytes of a note."""

MAX_SIGNATURES: Final = 100
"""The most signatures of a note; the specification demands room for 16."""

_DASH: Final = "\N{EM DASH} "
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line.

    Attributes:
        name: The key's name.
        key_id: The key's identifier, 4 bytes.
        signature: What the key's algorithm made.
    """

    name: str
    key_id: bytes
    signature: bytes

    @property
    def key(self) -> tuple[str, bytes]:
        """Name and identifier: which key signed, or claims to have."""
        return self.name, self.key_id

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it is written. Its signatures are claims: nobody has checked them.

    `str(note)` is the note again, byte for byte.

    Attributes:
        text: What is signed, with its last newline.
        signatures: In the order of their lines.
    """

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: str | bytes) -> Note:
        """Return what a note says, unchecked.

        Raises:
            MalformedProofError: It is no note, or larger than the bounds.
        """
        whole = _decode(data)
        text, separator, lines = whole.rpartition("\n\n")
        if not separator or not text or not lines:
            raise MalformedProofError("the note must be a text, a blank line and at least one signature")
        return cls(text + "\n", parse_signatures(lines))

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


@dataclass(frozen=True, slots=True)
class VerifiedNote:
    """A note that known keys have signed.

    Attributes:
        text: What was signed, with its last newline.
        verified: The signatures that hold, one for each key.
        unknown: The signatures of keys that were not among the verifiers. They prove nothing.
    """

    text: str
    verified: tuple[Signature, ...]
    unknown: tuple[Signature, ...]

    def is_signed_by(self, verifier: Verifier) -> bool:
        """Tell whether a signature of this key was among those that hold."""
        return any(each.key == (verifier.name, verifier.key_id) for each in self.verified)


def open_note(data: str | bytes, verifiers: Iterable[Verifier]) -> VerifiedNote:
    """Return a note after checking every signature of a known key.

    Args:
        data: The note.
        verifiers: The keys that you know. Signatures of others are ignored.

    Raises:
        MalformedProofError: It is no note.
        SignatureError: No known key has signed it, or a signature of a known key is wrong.
        ConfigurationError: Two verifiers have the same name and identifier.
    """
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) is not verifier:
            raise ConfigurationError(f"verifiers must have different keys; {verifier.name} is there twice")
    note = Note.parse(data)
    text = note.text.encode()
    verified: dict[tuple[str, bytes], Signature] = {}
    unknown: list[Signature] = []
    for signature in note.signatures:
        signer = known.get(signature.key)
        if signer is None:
            unknown.append(signature)
        else:
            signer.verify(text, signature.signature)
            verified.setdefault(signature.key, signature)
    if not verified:
        raise SignatureError("no known key has signed the note")
    return VerifiedNote(note.text, tuple(verified.values()), tuple(unknown))


def sign_note(text: str, *signers: Signer, signatures: Sequence[Signature] = ()) -> str:
    """Return a signed note.

    Args:
        text: What to sign; it must end in a newline.
        signers: Who signs.
        signatures: What others have signed already; those of the same keys as the signers' are replaced.

    Raises:
        ConfigurationError: The text can't be that of a note, or there would be no signature or too many.
    """
    if not text.endswith("\n") or text == "\n":
        raise ConfigurationError("text must be at least one line and end in a newline")
    try:
        data = _decode(text).encode()
    except MalformedProofError as exc:
        raise ConfigurationError(f"text can't be signed: {exc}") from exc
    made = [Signature(each.name, each.key_id, each.sign(data)) for each in signers]
    keys = {each.key for each in made}
    note = str(Note(text, (*made, *(each for each in signatures if each.key not in keys))))
    if len(keys) != len(made):
        raise ConfigurationError("signers must be different keys")
    try:
        Note.parse(note)
    except MalformedProofError as exc:
        raise ConfigurationError(f"signatures don't make a note: {exc}") from exc
    return note


def add_signatures(note: str | bytes, signatures: Iterable[Signature]) -> str:
    """Return a note with further signatures; those of keys that have signed it already replace the old ones.

    Raises:
        MalformedProofError: It is no note.
        ConfigurationError: There would be too many.
    """
    parsed = Note.parse(note)
    merged = {each.key: each for each in (*parsed.signatures, *signatures)}
    return sign_note(parsed.text, signatures=tuple(merged.values()))


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Return what signature lines say.

    Raises:
        MalformedProofError: One is no signature line, or there are too many.
    """
    *parts, rest = lines.split("\n", MAX_SIGNATURES)
    if rest or not parts:
        raise MalformedProofError(f"signature lines must each end in a newline, and be at most {MAX_SIGNATURES}")
    return tuple(_parse_signature(line) for line in parts)


def _parse_signature(line: str) -> Signature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not is_key_name(name):
        raise MalformedProofError("a signature line must be an em dash, the key's name and the signature in Base64")
    data = decode_base64(encoded, "a signature")
    if len(data) <= KEY_ID_SIZE:
        raise MalformedProofError("a signature must be longer than the key's identifier")
    return Signature(name, data[:KEY_ID_SIZE], data[KEY_ID_SIZE:])


def _decode(data: str | bytes) -> str:
    try:
        raw = data.encode() if isinstance(data, str) else data
        if len(raw) > MAX_NOTE:
            raise MalformedProofError(f"the note must have at most {MAX_NOTE} bytes, not {len(raw)}")
        whole = raw.decode()
    except UnicodeError as exc:
        raise MalformedProofError("the note must be UTF-8") from exc
    if _CONTROL.search(whole):
        raise MalformedProofError("the note must have no control characters but newlines")
    return whole
