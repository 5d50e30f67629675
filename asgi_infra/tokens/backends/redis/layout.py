"""What is stored, and under which keys.

| key | type | what |
|---|---|---|
| `{prefix}:u:{route}` | hash | a user's tokens, used ones included: field = digest, value = see below |
| `{prefix}:i:{route}` | sorted set | when they end; only where the server can't expire fields |
| `{prefix}:p:...` | hash, or string | where a family, or an identifier made elsewhere, has its user |
| `{prefix}:c:{route}:...` | string | a claim to an identifier made elsewhere, while a token is being stored under it |
| `{prefix}:d:...` | string | a deny entry: until when |
| `{prefix}:g:...` | string | a user's generation: until when, and its name |

The braces are those of cluster slots: all that belongs to a user changes in one step. A value is a `L`, four times as
signed 8-byte integers (start of the family, issue, expiry, last use), the lengths of user, family and ancestors, these
three, and the rest in MessagePack. A used token's begins with `U`, when it was used, the digest of its successor, and
its sealed identifier with its length; the live value follows. Numbers are big-endian, times microseconds of Unix time.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import TYPE_CHECKING

import msgspec

from asgi_infra.tokens.clock import from_microseconds, to_microseconds
from asgi_infra.tokens.errors import CorruptRecordError
from asgi_infra.tokens.frozen import frozen
from asgi_infra.tokens.model import StoredToken
from asgi_infra.tokens.records import Record

if TYPE_CHECKING:
    from asgi_infra.tokens.records import RecordCodec

_HEAD = Struct(">cqqqqHHB")
_MOMENT = Struct(">q")
_NEVER = -(2**63)
_USED = b"U"
_LIVE = b"L"
_BUCKETS = 1024
_LONGEST = 3_200_000_000_000
POINTER_BYTES = 8

_FIELDS = ("jti", "user_id", "expires_at", "issued_at", "family_id", "client_id", "last_used_at", "metadata")
_set = object.__setattr__

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str | None, bytes, bytes | None]).decode


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of keys."""

    prefix: str

    def user(self, route: str) -> str:
        """Return the key of a user's tokens."""
        return f"{self.prefix}:u:{{{route}}}"

    def index(self, route: str) -> str:
        """Return the key that tells when they end."""
        return f"{self.prefix}:i:{{{route}}}"

    def claim(self, route: str, name: bytes) -> str:
        """Return the key of a claim to an identifier."""
        return f"{self.prefix}:c:{{{route}}}:{_text(name)}"

    def denied(self, digest: bytes) -> str:
        """Return the key of a deny entry."""
        return f"{self.prefix}:d:{_text(digest)}"

    def generation(self, route: str) -> str:
        """Return the key of a user's generation."""
        return f"{self.prefix}:g:{route}"

    def bucket(self, pointer: bytes) -> str:
        """Return the key of the hash that holds a pointer."""
        return f"{self.prefix}:p:{int.from_bytes(pointer[:2], 'big') % _BUCKETS:x}"

    def pointer(self, pointer: bytes) -> str:
        """Return the key that holds a pointer where the server can't expire fields."""
        return f"{self.prefix}:p:{_text(pointer)}"


def family_pointer(family_id: str) -> bytes:
    """Return what a family is found by."""
    return blake2b(family_id.encode(), digest_size=POINTER_BYTES, person=b"asgi_infra.fptr").digest()


def packed_moment(microseconds: int) -> bytes:
    """Return a time as it is stored."""
    return _MOMENT.pack(microseconds)


def unpacked_moment(value: bytes) -> int:
    """Return the time that a value begins with.

    Raises:
        CorruptRecordError: It is too short.
    """
    try:
        return int(_MOMENT.unpack_from(value)[0])
    except StructError as exc:
        raise corrupt() from exc


def milliseconds(microseconds: int) -> int:
    """Return a time to live as servers take it: rounded up, 1 at least, a hundred years at most."""
    return min(_LONGEST, max(1, -(-microseconds // 1000)))


def is_used(value: bytes) -> bool:
    """Return whether a value is a used token's."""
    return value[:1] == _USED


def pack(record: Record, codec: RecordCodec) -> bytes:
    """Return a live token as it is stored."""
    token = record.token
    user, family = token.user_id.encode(), token.family_id.encode()
    head = _HEAD.pack(
        _LIVE,
        record.started_at,
        to_microseconds(token.issued_at),
        to_microseconds(token.expires_at),
        _NEVER if token.last_used_at is None else to_microseconds(token.last_used_at),
        len(user),
        len(family),
        len(record.ancestors),
    )
    rest = _encode((token.client_id, codec.pack_metadata(token.metadata), codec.conceal(token.jti)))
    return b"".join((head, user, family, record.ancestors, rest))


def unpack(value: bytes, digest: bytes, codec: RecordCodec, jti: str | None = None) -> Record:
    """Return the live token that was packed.

    Args:
        value: What is stored.
        digest: Under which field.
        codec: For the metadata, and for the `jti` where it is not given.
        jti: The identifier, where the caller has presented it.

    Raises:
        CorruptRecordError: Something else wrote it, or it is damaged.
    """
    try:
        kind, started, issued, expires, used, users, families, ancestors = _HEAD.unpack_from(value)
        if kind != _LIVE:
            raise corrupt()
        user_end = _HEAD.size + users
        family_end = user_end + families
        end = family_end + ancestors
        if end >= len(value) or not users or not families:
            raise corrupt()
        client_id, metadata, concealed = _decode(value[end:])
        token = _token(
            jti or codec.reveal(concealed, digest),
            value[_HEAD.size : user_end].decode(),
            from_microseconds(expires),
            from_microseconds(issued),
            value[user_end:family_end].decode(),
            client_id,
            None if used == _NEVER else from_microseconds(used),
            frozen(codec.unpack_metadata(metadata)),
        )
    except (StructError, msgspec.MsgspecError, UnicodeError, OverflowError) as exc:
        raise corrupt() from exc
    return Record(digest, token, started, value[family_end:end])


def corrupt() -> CorruptRecordError:
    """Return the error for what something else wrote."""
    return CorruptRecordError("a stored token can't be read: it was written by something else, or damaged")


def _token(*values: object) -> StoredToken:
    # What has this form was checked when it was packed; checking it again would take as long as all the rest.
    token = object.__new__(StoredToken)
    for name, value in zip(_FIELDS, values, strict=True):
        _set(token, name, value)
    return token


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
