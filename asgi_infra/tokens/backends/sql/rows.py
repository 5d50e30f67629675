"""Records as the columns of a row, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_infra.errors import ConfigurationError
from asgi_infra.tokens.clock import from_microseconds, to_microseconds
from asgi_infra.tokens.errors import CorruptRecordError
from asgi_infra.tokens.model import StoredToken
from asgi_infra.tokens.records import Record

if TYPE_CHECKING:
    from sqlalchemy import Row

    from asgi_infra.tokens.options import Settings
    from asgi_infra.tokens.records import RecordCodec

NEVER = 2**61
"""A number of microseconds that no token lives to see, and that can be added to another."""


def row_of(record: Record, codec: RecordCodec, settings: Settings) -> dict[str, Any]:
    """Return the values of a live token's columns."""
    token = record.token
    return {
        "digest": record.digest,
        "user_id": token.user_id,
        "family_id": token.family_id,
        "client_id": token.client_id,
        "issued_at": to_microseconds(token.issued_at),
        "expires_at": to_microseconds(token.expires_at),
        "started_at": record.started_at,
        "last_used_at": None if token.last_used_at is None else to_microseconds(token.last_used_at),
        "concealed": codec.conceal(token.jti),
        "metadata": codec.pack_metadata(token.metadata),
        "ancestors": record.ancestors,
        "kept_until": record.deadline(settings),
    }


def record_of(row: Row[Any], codec: RecordCodec, jti: str | None = None) -> Record:
    """Return the record in a row.

    Args:
        row: All columns, by name.
        codec: Reads what is encrypted.
        jti: Its identifier, where the caller has presented it.

    Raises:
        CorruptRecordError: The values are not those that `row_of` returned.
    """
    try:
        digest = bytes(row.digest)
        values = {
            "jti": jti or codec.reveal(None if row.concealed is None else bytes(row.concealed), digest),
            "user_id": row.user_id,
            "family_id": row.family_id or None,  # an empty one would be taken for one to be made
            "issued_at": from_microseconds(row.issued_at),
            "expires_at": from_microseconds(row.expires_at),
            "last_used_at": None if row.last_used_at is None else from_microseconds(row.last_used_at),
            "client_id": row.client_id,
            "metadata": codec.unpack_metadata(bytes(row.metadata)),
        }
        return Record(digest, StoredToken.loaded(**values), row.started_at, bytes(row.ancestors))
    except (ConfigurationError, TypeError, ValueError, OverflowError) as exc:
        raise CorruptRecordError("a stored token can't be read: it was written by something else, or damaged") from exc
