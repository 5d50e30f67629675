"""Where a query goes on: an opaque text that belongs to one query."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from hmac import compare_digest
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from asgi_infra.audit.filter import AuditFilter

_LAYOUT: Final = Struct(">BQQ")
_CHECK: Final = 12


class Cursor(NamedTuple):
    """The numbers that are left to read, from `start` up to but without `stop`, upwards or downwards.

    The first page fixes the range, so entries that are written meanwhile are neither skipped nor repeated, and the
    pages come to an end.
    """

    start: int
    stop: int
    newest_first: bool

    def text(self, wanted: AuditFilter) -> str:
        """Return the cursor as a text for the next page of this very query."""
        data = _LAYOUT.pack(self.newest_first, self.start, self.stop)
        return urlsafe_b64encode(data + _check(data, wanted)).decode().rstrip("=")

    def after(self, seq: int) -> Cursor:
        """Return what is left to read after entry `seq`."""
        return self._replace(stop=seq) if self.newest_first else self._replace(start=seq + 1)

    @classmethod
    def parse(cls, text: str, wanted: AuditFilter, *, newest_first: bool) -> Cursor:
        """Return the cursor that `text` was made of.

        Raises:
            ConfigurationError: It is no cursor, or one of another query.
        """
        try:
            raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            data, check = raw[: _LAYOUT.size], raw[_LAYOUT.size :]
            downwards, start, stop = _LAYOUT.unpack(data)
            cursor = cls(start, stop, bool(downwards))
            is_ours = compare_digest(check, _check(data, wanted)) and cursor.text(wanted) == text
        except Exception as exc:
            raise ConfigurationError("after must be the cursor of an earlier page") from exc
        if not is_ours or cursor.newest_first != newest_first:
            raise ConfigurationError("after must be the cursor of an earlier page of this very query, unchanged")
        return cursor


def _check(data: bytes, wanted: AuditFilter) -> bytes:
    return sha256(wanted.digest() + data).digest()[:_CHECK]
