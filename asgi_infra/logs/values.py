"""Any value as something that JSON can hold, when the short way has failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from contextlib import suppress
from itertools import count, islice
from typing import Any, Final

import msgspec

_MAX_DEPTH: Final = 16
_MAX_ITEMS: Final = 1000
_MAX_CONTAINERS: Final = 1000
_MAX_TEXT: Final = 32_768
_LARGEST: Final = 2**64


def safe_text(value: object) -> str:
    """Return the text of a value, or where it has none the name of its type; never raises."""
    with suppress(Exception):
        return valid_text(str(value))
    return f"<{_type_name(value)}: no text>"


def safe_repr(value: object) -> str:
    """Return the `repr` of a value, or where it has none the name of its type; never raises."""
    with suppress(Exception):
        return valid_text(repr(value))
    return f"<{_type_name(value)}: no repr>"


def valid_text(text: str) -> str:
    """Return a text that UTF-8 can hold, of bounded length."""
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]}… ({len(text) - _MAX_TEXT} more characters)"
    return str.encode(text, "utf-8", "backslashreplace").decode()


def mended(value: Any) -> Any:
    """Return a copy that JSON can hold: bounded, without cycles, with texts for keys. Never raises."""
    return _mended(value, 0, count())


def _mended(value: Any, depth: int, taken: count[int]) -> Any:
    with suppress(Exception):
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return valid_text(value)
        if isinstance(value, int):
            return int(value) if -_LARGEST < value < _LARGEST else _digits(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, (bytes, bytearray)):
            return valid_text(value[:_MAX_TEXT].decode("utf-8", "backslashreplace"))
        if isinstance(value, (Mapping, list, tuple, Set)):
            if depth >= _MAX_DEPTH or next(taken) >= _MAX_CONTAINERS:  # a cycle ends here, too
                return f"<{type(value).__name__}: too deep>"
            if isinstance(value, Mapping):
                pairs = islice(value.items(), _MAX_ITEMS)
                return {safe_text(key): _mended(item, depth + 1, taken) for key, item in pairs}
            return [_mended(item, depth + 1, taken) for item in islice(value, _MAX_ITEMS)]
        return msgspec.Raw(msgspec.json.encode(value))  # a datetime, a UUID, a dataclass
    return safe_repr(value)


def _type_name(value: object) -> str:
    return valid_text(str(type.__dict__["__name__"].__get__(type(value))))  # past what a metaclass may say


def _digits(value: int) -> str:
    try:
        return str(int(value))
    except ValueError:  # more digits than Python is willing to make
        return f"<int of {value.bit_length()} bits>"
