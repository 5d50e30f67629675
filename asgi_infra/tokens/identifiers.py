"""Identifiers: how they are made, and in which form they are stored.

Nothing that would let a reader of the store act as a user is written down. A `jti` is stored as a digest, keyed where
the operator gives a key. An identifier that this package makes consists of three parts:

```text
9f3c2a6b1d804e57.mJ4v0QxkZtY2sRb1nWc8Aw.Vt0aJf3m1xQ9LwzE5uKc7g
route            lineage                random
```

The route is a digest of the user's name, so a store finds the user's place without asking. The lineage is a secret that
the tokens of one family share. The family's public name is its digest, with the route behind it: so a store that has
long forgotten a used token still knows, when it is presented again, which family to revoke.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b, shake_256
from secrets import token_bytes
from typing import TYPE_CHECKING, TypeAlias

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

DIGEST_BYTES = 16
_MIN_KEY_BYTES = 16
_MAX_KEY_BYTES = 64  # what BLAKE2b takes, RFC 7693, section 2.5

_MADE = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{22})\.[A-Za-z0-9_-]{22}")
_FAMILY = re.compile(r"[A-Za-z0-9_-]{22}\.([0-9a-f]{16})")
_HANDLE = re.compile(r"~([A-Za-z0-9_-]{22})(?:\.([0-9a-f]{16}))?")

Keys: TypeAlias = "bytes | str | Sequence[bytes | str] | None"
"""Secrets of 16 to 64 bytes, the first for writing, the others for what was written before."""


def route_of(user_id: str) -> str:
    """Return the 16 hexadecimal digits that stand for a user in names of keys and in identifiers."""
    return blake2b(_bytes(user_id), digest_size=8, person=b"asgi_infra.route").hexdigest()


def new_jti(user_id: str, *, lineage: str | None = None) -> str:
    """Make an identifier with 128 random bits.

    Args:
        user_id: Whose token it is.
        lineage: That of the family, from `lineage_of`; a new one by default.
    """
    return f"{route_of(user_id)}.{lineage or _text(token_bytes(16))}.{_text(token_bytes(16))}"


def new_family_id(user_id: str) -> str:
    """Make a name for a family whose identifiers are not made here."""
    return f"{_text(token_bytes(16))}.{route_of(user_id)}"


def lineage_of(jti: str) -> str | None:
    """Return the secret that the family's identifiers share, or `None` for an identifier made elsewhere."""
    match = _MADE.fullmatch(jti)
    return match[2] if match else None


def named_route(jti: str) -> str | None:
    """Return the route that an identifier or a handle names, or `None`. Whether it is true is not known."""
    match = _MADE.fullmatch(jti)
    if match is None and jti.startswith("~"):
        handle = _HANDLE.fullmatch(jti)
        return handle[2] if handle else None
    return match[1] if match else None


def family_route(family_id: str) -> str | None:
    """Return the route that a family's name ends with, or `None` for a name that was given. It may not be true."""
    match = _FAMILY.fullmatch(family_id)
    return match[1] if match else None


def family_of(jti: str) -> str | None:
    """Return the public name of the family that an identifier belongs to, or `None` for one made elsewhere."""
    match = _MADE.fullmatch(jti)
    if match is None:
        return None
    digest = blake2b(match[2].encode(), digest_size=DIGEST_BYTES, person=b"asgi_infra.fam").digest()
    return f"{_text(digest)}.{match[1]}"


def handle_of(digest: bytes, route: str | None = None) -> str:
    """Return the form in which a store names a token whose `jti` it does not know: `~` and the digest.

    Args:
        digest: What the token is stored under.
        route: Its user's, for stores that could not find it otherwise; `.` and the route are appended.
    """
    return f"~{_text(digest)}" if route is None else f"~{_text(digest)}.{route}"


def digest_in(handle: str) -> bytes | None:
    """Return the digest in a handle, or `None` for anything else."""
    match = _HANDLE.fullmatch(handle)
    return urlsafe_b64decode(f"{match[1]}==") if match else None


@dataclass(frozen=True, slots=True, repr=False)
class Hashing:
    """Turns identifiers into what is stored.

    Attributes:
        keys: The secrets; the first is for writing. Empty for digests without a key.
    """

    keys: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, keys: Keys) -> Hashing:
        """Check the keys.

        Raises:
            ConfigurationError: A key is no bytes or str, or shorter than 16 or longer than 64 bytes; there is none, or
                one twice.
        """
        if keys is None:
            return cls()
        given = keys if isinstance(keys, (list, tuple)) else [keys]
        if not given:
            raise ConfigurationError("key must hold at least one secret; leave it out for digests without a key")
        checked = []
        for key in given:
            if not isinstance(key, (bytes, str)):
                raise ConfigurationError(f"key must be bytes, a str or a list of them, not {type(key).__name__}")
            raw = key.encode() if isinstance(key, str) else key
            if not _MIN_KEY_BYTES <= len(raw) <= _MAX_KEY_BYTES:
                raise ConfigurationError(
                    f"key must have 16 to 64 bytes, not {len(raw)}; make one with secrets.token_bytes(32)"
                )
            checked.append(raw)
        if len(set(checked)) < len(checked):
            raise ConfigurationError("key must hold each secret once: the one for writing first, then the older ones")
        return cls(tuple(checked))

    def digest(self, identifier: str) -> bytes:
        """Return the 16 bytes under which an identifier is stored."""
        key = self.keys[0] if self.keys else b""
        return blake2b(_bytes(identifier), digest_size=DIGEST_BYTES, key=key).digest()

    def digests(self, identifier: str) -> tuple[bytes, ...]:
        """Return what an identifier may be stored under: with the key in use first, then with the older ones."""
        data = identifier.encode("utf-8", "surrogatepass")
        if not self.keys:
            return (blake2b(data, digest_size=DIGEST_BYTES).digest(),)
        return tuple(blake2b(data, digest_size=DIGEST_BYTES, key=key).digest() for key in self.keys)

    def conceal(self, jti: str) -> bytes | None:
        """Return a `jti` in a form that only the holder of the key can read, or `None` without a key."""
        if not self.keys:
            return None
        return _mixed(_bytes(jti), b"conceal", self.keys[0], self.digest(jti))

    def reveal(self, concealed: bytes, digest: bytes) -> str | None:
        """Return the `jti` that `conceal` made unreadable, or `None` when none of the keys fits.

        Args:
            concealed: What `conceal` returned.
            digest: What the identifier is stored under; only the true `jti` has it.
        """
        for key in self.keys:
            jti = _decoded(_mixed(concealed, b"conceal", key, digest))
            if jti is not None and blake2b(_bytes(jti), digest_size=DIGEST_BYTES, key=key).digest() == digest:
                return jti
        return None


def seal(successor: str, *, by: str) -> bytes:
    """Return the `jti` of a successor in a form that only who presents the predecessor's can read.

    A store keeps it for the grace period, so that a caller who lost the answer gets the same successor again, and
    a reader of the store does not get it.

    Args:
        successor: The identifier to keep.
        by: The predecessor's identifier; each may seal one successor.
    """
    return _mixed(_bytes(successor), b"succeed", _bytes(by), b"")


def unseal(sealed: bytes, *, by: str) -> str | None:
    """Return what `seal` made unreadable, or `None` when it is damaged."""
    return _decoded(_mixed(sealed, b"succeed", _bytes(by), b""))


def _mixed(data: bytes, purpose: bytes, key: bytes, nonce: bytes) -> bytes:
    # A one-time pad: the stream depends on a secret that seals once, or on a digest that only one text has.
    stream = shake_256(b"\0".join((purpose, len(key).to_bytes(4, "big"), key, nonce))).digest(len(data))
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    # What a request presents may hold lone surrogates; it then names nothing that is stored.
    return text.encode("utf-8", "surrogatepass")
