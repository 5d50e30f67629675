"""Tokens that are presented again and again are decoded, and their metadata decrypted, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.tokens.backends.redis.layout import unpack

if TYPE_CHECKING:
    from asgi_infra.tokens.records import Record, RecordCodec

_MOST = 1024


class Decoder:
    """Turns values into records, and remembers some; a record is used again only for the very same value.

    Args:
        codec: For metadata and identifiers.
    """

    def __init__(self, codec: RecordCodec) -> None:
        self._codec = codec
        self._known: dict[bytes, tuple[bytes, Record]] = {}

    def decoded(self, value: bytes, digest: bytes, jti: str) -> Record:
        """Return the live token that a value holds.

        Raises:
            CorruptRecordError: Something else wrote it, or it is damaged.
        """
        known = self._known.get(digest)
        if known is not None and known[0] == value:
            return known[1]
        record = unpack(value, digest, self._codec, jti)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[digest] = (value, record)
        return record
