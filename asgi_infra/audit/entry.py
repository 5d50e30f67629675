"""One audit entry: who did what to which thing, when, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final

from asgi_infra.audit.encoding import plain
from asgi_infra.audit.mending import utc_text, valid_text
from asgi_infra.errors import ConfigurationError
from asgi_infra.ids import uuid7
from asgi_infra.options import shown

MAX_ID_BYTES: Final = 128
"""The most bytes of UTF-8 that an `id` may have."""

MAX_FIELD_BYTES: Final = 512
"""The most bytes of UTF-8 that any other field of text may have."""

REQUIRED: Final = ("id", "timestamp", "action", "resource_type", "result")
"""What every entry has, and `AuditEntry.from_dict` demands."""

_REQUIRED_TEXTS: Final = (
    ("id", MAX_ID_BYTES),
    ("action", MAX_FIELD_BYTES),
    ("resource_type", MAX_FIELD_BYTES),
    ("result", MAX_FIELD_BYTES),
)
_ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
_OPTIONAL_TEXTS: Final = ("user_id", "resource_id", "ip_address", "user_agent", "request_id", "trace_id", "tenant")
_TEXT_OR_NONE: Final = frozenset([str, type(None)])
_texts = attrgetter(*(name for name, _ in _REQUIRED_TEXTS), *_OPTIONAL_TEXTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One audit entry. Immutable; what it holds is what is stored, to the last character.

    Required texts that are blank or too long are refused. Of optional texts that are too long the beginning is kept,
    with a digest of the whole; `details` become plain JSON data, whatever they hold (see `asgi_infra.audit.encoding`).
    The `repr` leaves out what may hold personal data.

    Args:
        id: Makes the entry unique: the same `id` logged twice is one entry. Default: a new UUID of version 7.
        timestamp: When it happened; must be aware, and is kept in UTC, to the microsecond.
        action: What was done, for example `"order.refund"`; dots part the levels that filters can select.
        resource_type: The kind of thing that it was done to, for example `"order"`.
        result: How it ended; usually `"success"`, `"failure"`, `"denied"` or `"error"`.
        user_id: Who did it.
        resource_id: Which thing it was done to.
        details: Whatever else is to be kept, a mapping.
        ip_address: From where.
        user_agent: With what.
        request_id: In which request.
        trace_id: In which trace (32 hexadecimal digits).
        tenant: On whose behalf, where several customers share an installation.

    Raises:
        ConfigurationError: A field is blank, too long or of the wrong type; the message names each of them.

    Example:
        >>> now = datetime.now(UTC)
        >>> entry = AuditEntry(timestamp=now, action="order.refund", resource_type="order", result="success")
        >>> AuditEntry.from_dict(entry.to_dict()) == entry
        True
    """

    id: str = field(default_factory=uuid7)
    timestamp: datetime
    action: str
    resource_type: str
    result: str
    user_id: str | None = None
    resource_id: str | None = None
    details: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    ip_address: str | None = field(default=None, repr=False)
    user_agent: str | None = field(default=None, repr=False)
    request_id: str | None = None
    trace_id: str | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        details = self.details
        if details is None:
            if self._is_ordinary():
                return
        elif type(details) is dict or isinstance(details, Mapping):
            details = plain(details)
            object.__setattr__(self, "details", details if type(details) is dict else {"details": details})
            if self._is_ordinary():
                return
        self._mend()

    def _is_ordinary(self) -> bool:
        """Tell at once that there is nothing to mend or to refuse; all texts are looked at together."""
        texts = _texts(self)
        if not _TEXT_OR_NONE.issuperset(map(type, texts)) or type(self.timestamp) is not datetime:
            return False
        together = "".join(filter(None, texts))
        required = texts[: len(_REQUIRED_TEXTS)]
        return (
            self.timestamp.tzinfo is UTC
            and together.isascii()
            and together.isprintable()
            and None not in required
            and max(map(len, required)) <= MAX_ID_BYTES
            and (len(together) <= MAX_FIELD_BYTES or max(map(len, filter(None, texts))) <= MAX_FIELD_BYTES)
            and all(map(str.strip, required))
        )

    def _mend(self) -> None:
        problems: list[str] = []
        try:
            object.__setattr__(self, "timestamp", in_utc("timestamp", self.timestamp))
        except ConfigurationError as exc:
            problems.append(str(exc))
        for name, limit in _REQUIRED_TEXTS:
            value = getattr(self, name)
            if problem := _fault(name, value, limit):
                problems.append(problem)
            else:
                object.__setattr__(self, name, _clean(value))
        for name in _OPTIONAL_TEXTS:
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, storable(value))
            elif value is not None:
                problems.append(f"{name} must be a str or None, not {type(value).__name__}")
        if self.details is not None and not isinstance(self.details, Mapping):
            problems.append(f"details must be a mapping or None, not {type(self.details).__name__}")
        if problems:
            raise ConfigurationError("; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain JSON data, the timestamp as RFC 3339 with six digits of a second."""
        data = {name: getattr(self, name) for name in FIELDS}
        data["timestamp"] = utc_text(self.timestamp)
        data["details"] = plain(self.details)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AuditEntry:
        """Return the entry that `to_dict` was made of.

        Optional fields may be missing, and what is no field is left aside. The timestamp may be a `datetime` or a text
        in ISO 8601 with an offset.

        Raises:
            ConfigurationError: Required fields are missing or malformed; the message names each of them.
        """
        if not isinstance(data, Mapping):
            raise ConfigurationError(f"data must be a mapping of an audit entry's fields, not {type(data).__name__}")
        given = {name: data[name] for name in FIELDS if data.get(name) is not None}
        if missing := [name for name in REQUIRED if name not in given]:
            raise ConfigurationError(f"an audit entry must have {', '.join(REQUIRED)}; missing: {', '.join(missing)}")
        if isinstance(given["timestamp"], str):
            given["timestamp"] = _parsed(given["timestamp"])
        return cls(**given)


FIELDS: Final = tuple(each.name for each in fields(AuditEntry))
"""The names of all fields, in order."""


def in_utc(name: str, moment: object) -> datetime:
    """Return an aware time in UTC.

    Raises:
        ConfigurationError: It is naive, or no `datetime`; the message calls it `name`.
    """
    if not isinstance(moment, datetime):
        raise ConfigurationError(f"{name} must be an aware datetime, not {_malformed(moment)}")
    try:
        if moment.utcoffset() is not None:
            found = moment.astimezone(UTC)
            return datetime.combine(found.date(), found.time(), UTC)  # of a subclass, too
    except Exception as exc:  # the time zones of others, and the ends of the calendar
        raise ConfigurationError(f"{name} must be an aware datetime that UTC can show") from exc
    raise ConfigurationError(
        f"{name} must be an aware datetime, not a naive one; give it a tzinfo, such as datetime.UTC"
    )


def storable(text: str) -> str:
    """Return a text as an entry keeps it: at most `MAX_FIELD_BYTES`, of a longer one the beginning and a digest.

    Control characters (PostgreSQL refuses NUL) and lone surrogates become escapes.
    """
    text = _clean(text)
    data = text.encode()
    if len(data) <= MAX_FIELD_BYTES:
        return text
    head = data[: MAX_FIELD_BYTES // 2].decode("utf-8", "ignore")
    return f"{head}[cut: {len(data)} bytes, sha256 {sha256(data).hexdigest()}]"


def _clean(text: str) -> str:
    return valid_text(str.__str__(text)).translate(_ESCAPES)


def _parsed(text: str) -> datetime | object:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _Malformed(text)


class _Malformed:
    """A text that is no time; the validation of the entry tells of it, together with all other faults."""

    def __init__(self, text: str) -> None:
        self.text = text


def _malformed(value: object) -> str:
    return shown(value.text) if isinstance(value, _Malformed) else type(value).__name__


def _fault(name: str, value: object, limit: int) -> str | None:
    if not isinstance(value, str):
        return f"{name} must be a str, not {type(value).__name__}"
    if not value.strip():
        return f"{name} must not be blank"
    if len(_clean(value).encode()) > limit:
        return f"{name} must be at most {limit} bytes of UTF-8, not {len(value)} characters"
    return None
