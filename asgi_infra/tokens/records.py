"""A token as backends handle it, with what they need to know beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from asgi_infra.tokens.clock import from_microseconds, to_microseconds
from asgi_infra.tokens.errors import CorruptRecordError
from asgi_infra.tokens.identifiers import handle_of
from asgi_infra.tokens.model import StoredToken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_infra.tokens.identifiers import Hashing
    from asgi_infra.tokens.options import Settings
    from asgi_infra.tokens.rotation import RotationStatus

_PACKED = msgspec.msgpack.Decoder(
    tuple[str, str, int, int, int, int | None, str | None, bytes, bytes | None, bytes],
)
ANCESTOR_BYTES = 8
MAX_ANCESTORS = 16
"""How many replaced tokens of its family a token remembers after the grace period."""


_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(slots=True)
class Record:
    """A stored token with what a store keeps beside it; not to be changed.

    Attributes:
        digest: What it is stored under.
        token: The token; its `jti` is a handle where nobody has told the store the true one.
        started_at: When its family began, in microseconds of Unix time.
        ancestors: The first 8 bytes of the digests that it replaced, the latest first, at most 16.
    """

    digest: bytes
    token: StoredToken
    started_at: int
    ancestors: bytes = b""

    def deadline(self, settings: Settings) -> int:
        """Return until when the token is good, in microseconds of Unix time, idle lifetime included."""
        token = self.token
        deadline = to_microseconds(token.expires_at)
        if settings.idle_lifetime is None:
            return deadline
        used = to_microseconds(token.last_used_at or token.issued_at)
        return min(deadline, used + round(settings.idle_lifetime * 1_000_000))

    def remembers(self, digest: bytes) -> bool:
        """Return whether the token has replaced another one, directly or not."""
        short = digest[:ANCESTOR_BYTES]
        return any(
            self.ancestors[at : at + ANCESTOR_BYTES] == short for at in range(0, len(self.ancestors), ANCESTOR_BYTES)
        )

    def ancestors_of_successor(self) -> bytes:
        """Return the ancestors of the token that replaces this one."""
        return (self.digest[:ANCESTOR_BYTES] + self.ancestors)[: ANCESTOR_BYTES * MAX_ANCESTORS]

    def followed_by(self, successor: Record, settings: Settings) -> Record:
        """Return a successor as it is stored: of this family, and good for no longer than a family may be."""
        token = successor.token
        expires_at = token.expires_at
        if settings.absolute_lifetime is not None:
            end = self.started_at + round(settings.absolute_lifetime * 1_000_000)
            expires_at = min(expires_at, from_microseconds(end))
        if token.family_id != self.token.family_id or token.expires_at != expires_at:
            token = token.replaced(family_id=self.token.family_id, expires_at=expires_at)
        return Record(successor.digest, token, self.started_at, self.ancestors_of_successor())


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a backend's rotation came to.

    Attributes:
        status: How it ended.
        record: The successor as it is stored: for `rotated` and `superseded`.
        sealed: What `identifiers.seal` made of the successor's `jti`: for `superseded`.
        family_id: The family that was revoked: for `reused`.
        revoked: How many live tokens were revoked: for `reused`.
    """

    status: RotationStatus
    record: Record | None = None
    sealed: bytes | None = None
    family_id: str | None = None
    revoked: int = 0


class RecordCodec:
    """Packs records into bytes, for backends that keep a token as one value, and parts of them for the others.

    Args:
        hashing: Conceals identifiers where there is a key.
        settings: Encrypts metadata where it was asked for.
    """

    def __init__(self, hashing: Hashing, settings: Settings) -> None:
        self._hashing = hashing
        self._encrypt = settings.encrypt
        self._decrypt = settings.decrypt

    def pack(self, record: Record) -> bytes:
        """Return a record as bytes; its digest is not part of them."""
        token = record.token
        return msgspec.msgpack.encode(
            (
                token.user_id,
                token.family_id,
                to_microseconds(token.issued_at),
                to_microseconds(token.expires_at),
                record.started_at,
                None if token.last_used_at is None else to_microseconds(token.last_used_at),
                token.client_id,
                self.pack_metadata(token.metadata),
                self._hashing.conceal(token.jti),
                record.ancestors,
            )
        )

    def unpack(self, data: bytes, digest: bytes, jti: str | None = None) -> Record:
        """Return the record that was packed.

        Args:
            data: The bytes.
            digest: What it is stored under.
            jti: Its identifier, where the caller has presented it.

        Raises:
            CorruptRecordError: They are not what `pack` returned, or the key for the metadata is another one.
        """
        try:
            user_id, family_id, issued, expires, started, used, client_id, metadata, concealed, ancestors = (
                _PACKED.decode(data)
            )
            values = {
                "jti": jti or self.reveal(concealed, digest),
                "user_id": user_id,
                "family_id": family_id,
                "issued_at": from_microseconds(issued),
                "expires_at": from_microseconds(expires),
                "last_used_at": None if used is None else from_microseconds(used),
                "client_id": client_id,
                "metadata": self.unpack_metadata(metadata),
            }
            return Record(digest, StoredToken.loaded(**values), started, ancestors)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as exc:
            raise CorruptRecordError(
                "a stored token can't be read: it was written by something else, or damaged"
            ) from exc

    def pack_metadata(self, metadata: Mapping[str, Any]) -> bytes:
        """Return metadata as JSON, encrypted where that was asked for; nothing for none."""
        if not metadata:
            return b""
        plain = msgspec.json.encode(metadata)
        return plain if self._encrypt is None else self._encrypt(plain)

    def unpack_metadata(self, data: bytes) -> dict[str, Any]:
        """Return the metadata that was packed.

        Raises:
            CorruptRecordError: It is damaged, or the key is another one.
        """
        if not data:
            return {}
        try:
            plain = data if self._decrypt is None else self._decrypt(bytes(data))
            return _decode_metadata(plain)
        except Exception as exc:
            raise CorruptRecordError("the metadata of a stored token can't be read, or needs another key") from exc

    def conceal(self, jti: str) -> bytes | None:
        """Return a `jti` in a form that only the holder of the key can read, or `None` without a key."""
        return self._hashing.conceal(jti)

    def reveal(self, concealed: bytes | None, digest: bytes) -> str:
        """Return the `jti` that was concealed, or a handle where that can't be done."""
        jti = None if concealed is None else self._hashing.reveal(concealed, digest)
        return handle_of(digest) if jti is None else jti
