"""Any value as plain JSON data, and plain data as canonical bytes. Never raises.

The profile: UTF-8, keys sorted, no spaces, no duplicate keys, and no floats. Whole numbers stand as numbers up to
2**53 - 1 (RFC 7493, section 2.2), larger ones and all other numbers as texts in their shortest exact form. For such
data the bytes are those of RFC 8785 too, so tools in any language make the same bytes of it.

What JSON has no form for gets one: times are RFC 3339 in UTC with microseconds, bytes are base64, sets are sorted
lists, objects with declared fields are mappings, and every other object is its `repr`. What goes over a limit is cut,
and a mark says so.
"""

from __future__ import annotations

import math
import re
from hashlib import sha256
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 16
"""Containers in containers that are followed."""

MAX_ITEMS: Final = 1_000
"""Items that are taken of one container; of all containers together, ten times as many."""

MAX_TEXT: Final = 32_768
"""Characters that are taken of one text; of all long texts together, eight times as many."""

FREE_TEXT: Final = 512
"""Characters up to which a text is no long one; marks are shorter."""

MAX_KEY: Final = 512
"""Characters that are taken of a key."""

_LARGEST: Final = 2**53 - 1
_HEAD: Final = 256
_LONG_NUMBER: Final = re.compile(rb"[0-9]{16}")

encode = msgspec.json.Encoder(order="sorted").encode
"""Return the canonical bytes of plain data. Data that `plain` has not made may raise."""

decode = msgspec.json.Decoder().decode
"""Return the plain data that canonical bytes stand for."""


_decode_without_floats = msgspec.json.Decoder(float_hook=str).decode


def canonical(value: object) -> bytes:
    """Return the canonical bytes of any value.

    Example:
        >>> canonical({"total": 0.1, "paid": True, "by": {"b", "a"}})
        b'{"by":["a","b"],"paid":true,"total":"0.1"}'
    """
    return encode(plain(value))


def plain(value: object) -> Any:
    """Return a copy of any value that is made of plain JSON data only; plain data comes back equal.

    Example:
        >>> plain({"ids": (1, 2), "ratio": float("nan")})
        {'ids': [1, 2], 'ratio': 'NaN'}
    """
    try:
        return _ordinary(value)
    except Exception:  # noqa: BLE001 - objects of others may raise anything, wherever they are touched
        return _unusual(value)


def _unusual(value: Any) -> Any:
    try:
        return _copy(value, MAX_DEPTH, [MAX_ITEMS * 10, MAX_TEXT * 8])
    except (_OddError, RuntimeError):  # a container that changes meanwhile is read again, item by item
        from asgi_infra.audit.mending import mended  # seldom needed

        return mended(value)


def _ordinary(value: Any) -> Any:
    """Copy small data that comes back from JSON as it was: the quickest test of being plain."""
    data = encode(value)
    if len(data) > FREE_TEXT or not data.isascii() or data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        raise _OddError
    copied = _decode_without_floats(data)
    if copied != value or _LONG_NUMBER.search(data):
        raise _OddError
    return copied


class _OddError(Exception):
    """Something that the quick way does not know."""


def _copy(value: Any, depth: int, left: list[int]) -> Any:
    cls = type(value)
    if cls is dict:
        left[0] -= len(value)
        if not depth or left[0] < 0 or len(value) > MAX_ITEMS:
            raise _OddError
        out: dict[str, Any] = {}
        for key, item in value.items():
            if type(key) is not str or not key.isascii() or len(key) > MAX_KEY:
                raise _OddError
            if type(item) is str:
                if len(item) > FREE_TEXT or not item.isascii():
                    _check_text(item, left)
                out[key] = item
            else:
                out[key] = item if item is None else _copy(item, depth - 1, left)
        return out
    if cls is str:
        _check_text(value, left)
    elif cls is int:
        if not -_LARGEST <= value <= _LARGEST:
            raise _OddError
    elif cls is list or cls is tuple:
        left[0] -= len(value)
        if not depth or left[0] < 0 or len(value) > MAX_ITEMS:
            raise _OddError
        return [_copy(item, depth - 1, left) for item in value]
    elif cls is float:
        return float_text(value)
    elif value is not None and cls is not bool:
        raise _OddError
    return value


def float_text(number: float) -> str:
    """Return the shortest text that stands for exactly this number."""
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _check_text(text: str, left: list[int]) -> None:
    if len(text) > FREE_TEXT:
        left[1] -= len(text)
        if left[1] < 0 or len(text) > MAX_TEXT:
            raise _OddError
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _OddError from None


def fit(data: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return plain data whose canonical bytes are at most so many: the largest values give way to marks.

    A mark tells the size of what was removed and its SHA-256, so that it can be recognised if it turns up elsewhere.

    Args:
        data: As `plain` makes it; it is not changed.
        max_bytes: At least 128.
    """
    size = len(encode(data))
    if size <= max_bytes:
        return data
    sizes = {key: len(encode(item)) for key, item in data.items()}
    cut = dict(data)
    for key in sorted(sizes, key=lambda key: (-sizes[key], key)):
        mark = cut_mark(data[key])
        if len(encode(mark)) >= sizes[key]:
            break
        cut[key] = mark
        size += len(encode(mark)) - sizes[key]
        if size <= max_bytes:
            return cut
    return {"[cut]": cut_mark(data)}


def cut_mark(value: Any) -> str:
    """Return what stands for plain data that was cut: its size and digest, and of a text its beginning."""
    if isinstance(value, str):
        head, removed = value[:_HEAD], value[_HEAD:].encode("utf-8", "surrogatepass")
    else:
        head, removed = "", encode(value)
    return f"{head}[cut: {len(removed)} bytes, sha256 {sha256(removed).hexdigest()}]"
