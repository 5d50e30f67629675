"""The long way from any value to plain JSON data: whatever it is, whatever it does when it is touched."""

from __future__ import annotations

import datetime
from base64 import b64encode
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import islice
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from asgi_infra.audit.encoding import FREE_TEXT, MAX_DEPTH, MAX_ITEMS, MAX_KEY, MAX_TEXT, cut_mark, encode, float_text
from asgi_infra.redaction.fields import fields_of

_LARGEST: Final = 2**53 - 1
_CYCLE: Final = "[cycle]"
_TOO_DEEP: Final = "[too deep]"
_MAX_DIGITS_BITS: Final = 14_000  # within what Python turns into digits at once


def mended(value: object) -> Any:
    """Return a copy of any value that is made of plain JSON data only. Never raises.

    It takes at most `MAX_ITEMS` items of a container, `MAX_TEXT` characters of a text and `MAX_DEPTH` levels.
    """
    return _Mender().value(value, MAX_DEPTH)


def utc_text(moment: datetime.datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with six digits of a second.

    Example:
        >>> utc_text(datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.timezone.utc))
        '2026-05-01T12:00:00.000000Z'
    """
    in_utc = moment if moment.tzinfo is datetime.UTC else moment.astimezone(datetime.UTC)
    return f"{in_utc.isoformat(timespec='microseconds')[:-6]}Z"


def valid_text(text: str) -> str:
    """Return a text that UTF-8 can hold; a lone surrogate becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Mender:
    """One walk: the limits that are left, and the containers that are open."""

    def __init__(self) -> None:
        self._items = MAX_ITEMS * 10
        self._chars = MAX_TEXT * 8
        self._open: set[int] = set()

    def value(self, value: Any, depth: int) -> Any:
        try:
            return self._value(value, depth)
        except Exception:  # noqa: BLE001 - objects of others may raise anything, wherever they are touched
            return f"<{_type_name(value)}: unreadable>"

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or value is True or value is False:
            return value
        if isinstance(value, Enum):
            return self.value(value.value, depth)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return _whole(int.__add__(value, 0))
        if isinstance(value, float):
            return float_text(float.__pos__(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._text(b64encode(bytes(value)).decode())
        if isinstance(value, (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)):
            return _time(value)
        if isinstance(value, (UUID, Decimal, Fraction, PurePath, type)):
            return self._text(repr(value) if isinstance(value, type) else str(value))
        if isinstance(value, BaseException):
            return self._text(f"{_type_name(value)}: {value}")
        if hasattr(type(value), "get_secret_value"):
            return "[secret]"
        return self._container(value, depth)

    def _container(self, value: Any, depth: int) -> Any:
        fields = fields_of(value)
        if fields is None and not isinstance(value, (Mapping, Set, Sequence)):
            return self._text(repr(value))
        if id(value) in self._open:
            return _CYCLE
        if not depth:
            return _TOO_DEEP
        self._open.add(id(value))
        try:
            if fields is not None:
                return self._mapping(fields, depth - 1)
            if isinstance(value, Mapping):
                return self._mapping(value, depth - 1)
            items, left = self._take(value)
            if left == len(value) > 0:
                return _more(left)
            copied = [self.value(item, depth - 1) for item in items]
            if isinstance(value, Set):
                copied.sort(key=encode)
            return [*copied, _more(left)] if left else copied
        finally:
            self._open.discard(id(value))

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any] | str:
        out: dict[str, Any] = {}
        keys, left = self._take(mapping)
        if left == len(mapping) > 0:
            return _more(left)
        for key in keys:
            text = unique = self._key(key)
            count = 1
            while unique in out:
                count += 1
                unique = f"{text}#{count}"
            try:
                out[unique] = self.value(mapping[key], depth)
            except Exception:  # noqa: BLE001
                out[unique] = "[unreadable]"
        if left:
            out[_more(left)] = None
        return out

    def _key(self, key: Any) -> str:
        text = self.value(key, 1)
        if not isinstance(text, str):
            text = encode(text).decode()
        if max(text, default="") > "\uffff":  # there RFC 8785 sorts in another order than code points do
            text = text.encode("ascii", "backslashreplace").decode()
        return text if len(text) <= MAX_KEY else text[: MAX_KEY // 2] + cut_mark(text)[-100:]

    def _take(self, container: Any) -> tuple[list[Any], int]:
        """Return the items that the limits allow, and how many are left out; their mark takes the place of an item."""
        size = len(container)
        allowed = min(MAX_ITEMS, self._items)
        if size <= allowed:
            self._items -= size
            return list(islice(container, size)), 0
        if allowed < 2:
            return [], size
        self._items -= allowed
        return list(islice(container, allowed - 1)), size - allowed + 1

    def _text(self, text: str) -> str:
        text = valid_text(text)
        if len(text) <= FREE_TEXT:
            return text
        if len(text) > min(MAX_TEXT, self._chars):
            return cut_mark(text)
        self._chars -= len(text)
        return text


def _whole(number: int) -> int | str:
    if -_LARGEST <= number <= _LARGEST:
        return number
    if number.bit_length() <= _MAX_DIGITS_BITS:
        return str(number)
    return f"[int of {number.bit_length()} bits]"


def _time(value: datetime.date | datetime.time | datetime.timedelta) -> str:
    if isinstance(value, datetime.timedelta):
        return f"{float_text(value.total_seconds())} s"
    if isinstance(value, datetime.datetime):
        if value.utcoffset() is not None:
            return utc_text(value)
        return value.isoformat(timespec="microseconds")
    return value.isoformat()


def _more(count: int) -> str:
    return f"[{count} more]"


def _type_name(value: object) -> str:
    return valid_text(str(type.__dict__["__name__"].__get__(type(value))))  # past what a metaclass may say
