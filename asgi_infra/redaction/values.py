"""The walk over any value."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from asgi_infra.redaction.fields import fields_of, plain_text
from asgi_infra.redaction.marks import CYCLE, MARK, TOO_DEEP, failed, unscanned
from asgi_infra.redaction.pairs import describes
from asgi_infra.redaction.walk import Walk, like

if TYPE_CHECKING:
    from asgi_infra.redaction.keys import KeyRules
    from asgi_infra.redaction.marks import Counts, Marks
    from asgi_infra.redaction.text import TextRules
    from asgi_infra.redaction.told import ToldRules

SHORT: Final = 200
"""Characters of a text that counts as short."""

_QUOTED_INPUT: Final = "input_value="
_NAME: Final = re.compile(r"[\w.\[\] -]{1,64}")
_SMALLEST_CARD: Final = 10**11
_LARGEST_CARD: Final = 10**19
_OPENERS: Final = frozenset(["{", "["])
_KNOWN_KEYS: Final = 4096
_HARMLESS: Final = frozenset(
    [NoneType, bool, datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID]
)


class ValueRules:
    """Copies values without what is private in them.

    Args:
        keys: The key rules.
        text: The rules for texts.
        told: The rules for exceptions and objects.
        marks: What makes the marks.
        counts: Counts what was replaced.
        max_depth: Containers in containers that are followed.
        max_items: Items that are taken of one container.
        max_chars: Characters that are scanned of one text.
    """

    def __init__(
        self,
        keys: KeyRules,
        text: TextRules,
        told: ToldRules,
        marks: Marks,
        counts: Counts,
        *,
        max_depth: int,
        max_items: int,
        max_chars: int,
    ) -> None:
        self._keys = keys
        self._text = text
        self._clean = text.clean
        self._told = told
        self._marks = marks
        self._counts = counts
        self._max_depth = max_depth
        self._max_items = max_items
        self._max_chars = max_chars
        self._known_keys: dict[str, str] = {}

    def walk(self) -> Walk:
        """Return the limits of one walk."""
        return Walk(self._max_items * 10, self._max_chars * 4)

    # The two loops repeat the first questions of `value`, because calls are what a walk costs.

    def value(self, value: Any, depth: int, walk: Walk) -> Any:
        """Return a redacted copy of any value."""
        cls = type(value)
        if cls is str:
            return value if value in self._clean else self.string(value, depth, walk)
        if cls in _HARMLESS:
            return value
        if cls is int or cls is float:
            return self._number(value)
        if cls is dict:
            return self.mapping(value, depth, walk)
        if cls is list or cls is tuple:
            return self._sequence(value, depth, walk)
        return self._other(value, depth, walk)

    def mapping(self, mapping: Mapping[Any, Any], depth: int, walk: Walk) -> Any:
        """Copy a mapping, once per path, within the limits; one that fails does not take the others with it."""
        if id(mapping) in walk.open:
            return CYCLE
        if depth >= self._max_depth:
            return TOO_DEEP
        walk.open.append(id(mapping))
        out: dict[Any, Any] = {}
        known, clean = self._known_keys, self._clean
        depth += 1
        try:
            size, left = len(mapping), 0
            items: Iterable[tuple[Any, Any]] = mapping.items()
            if size <= walk.items and size <= self._max_items:
                walk.items -= size
            elif (left := walk.take(size, self._max_items)) == size:
                return unscanned(size, "items")
            else:
                items = islice(items, size - left)
            named = self._named(mapping) if "value" in mapping or "input" in mapping else ()
            for key, value in items:
                kind = known.get(key) if type(key) is str else None
                if kind is None:
                    key, kind = self._key(key, out, depth, walk)
                cls = type(value)
                if kind:
                    out[key] = value if describes(key, value) else self._private(kind, value)
                elif named and key == named[0]:
                    out[key] = self._private(named[1], value)
                elif cls is str:
                    out[key] = value if value in clean else self.string(value, depth, walk)
                elif cls in _HARMLESS:
                    out[key] = value
                elif cls is int or cls is float:
                    out[key] = value if value < _SMALLEST_CARD else self._number(value)
                elif cls is dict:
                    out[key] = self.mapping(value, depth, walk)
                elif cls is list:
                    out[key] = self._sequence(value, depth, walk)
                else:
                    out[key] = self.value(value, depth, walk)
            if left:
                rest = unscanned(left, "items")
                out[rest] = rest
        except Exception:  # noqa: BLE001
            return failed(self._counts)
        else:
            return out
        finally:
            walk.open.pop()

    def _sequence(self, value: Any, depth: int, walk: Walk) -> Any:
        """Copy a sequence or a set, as `mapping` does."""
        if id(value) in walk.open:
            return CYCLE
        if depth >= self._max_depth:
            return TOO_DEEP
        walk.open.append(id(value))
        clean = self._clean
        depth += 1
        try:
            size = len(value)
            left = walk.take(size, self._max_items)
            if left == size > 0:
                return unscanned(size, "items")
            if size == 2 and isinstance(value, (list, tuple)) and (kind := self._pair_kind(value[0])):
                pair = [self.value(value[0], depth, walk), self._private(kind, value[1])]
                return like(value, pair)
            shown = islice(value, size - left) if left else value
            copied = [item if type(item) is str and item in clean else self.value(item, depth, walk) for item in shown]
            if size > 2 and type(copied[0]) is str and not isinstance(value, Set):
                self._hide_arguments(copied)
            if left:
                copied.append(unscanned(left, "items"))
            return copied if type(value) is list else like(value, copied)
        except Exception:  # noqa: BLE001
            return failed(self._counts)
        finally:
            walk.open.pop()

    def _hide_arguments(self, copied: list[Any]) -> None:
        """Replace what follows the option of a private name in the arguments of a command, `--password`."""
        for index, item in enumerate(copied[:-1], 1):
            if type(item) is str and item[:1] == "-" and (kind := self._pair_kind(item.lstrip("-"))):
                copied[index] = self._private(kind, copied[index])

    def _key(self, key: Any, out: dict[Any, Any], depth: int, walk: Walk) -> tuple[Any, str]:
        """Return what stands for a key, and the kind of its value if the key makes it private."""
        kind = self._name_kind(key)
        redacted = self.value(key, depth, walk)
        if type(key) is str and redacted == key and len(key) <= SHORT:
            if len(self._known_keys) >= _KNOWN_KEYS:
                self._known_keys.clear()
            self._known_keys[key] = kind
            return key, kind
        try:
            unique, count = redacted, 1
            while unique in out:
                count += 1
                unique = f"{redacted}#{count}"
        except TypeError:
            return self._key(f"{type(key).__name__} {redacted}", out, depth, walk)
        return unique, kind

    def _name_kind(self, name: Any) -> str:
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        if isinstance(name, tuple):
            return next((kind for part in name[:SHORT] if (kind := self._name_kind(part))), "")
        if not isinstance(name, str):
            return ""
        return self._keys.kind(MARK.sub(" ", name) if "[" in name else name)

    def _named(self, mapping: Mapping[Any, Any]) -> tuple[str, str] | tuple[()]:
        """Return which item of a mapping is named by another one, and its kind if it is private.

        That is a `value` by its `name` or `key`, or the `input` of a validation error by the path to it, its `loc`.
        """
        if "value" in mapping:
            kind = self._name_kind(mapping.get("name", mapping.get("key")))
            return ("value", kind) if kind else ()
        path = mapping.get("loc")
        kinds = map(self._name_kind, path) if isinstance(path, (list, tuple)) else ()
        return next((("input", kind) for kind in kinds if kind), ())

    def _pair_kind(self, first: Any) -> str:
        """Return the kind of the second of two items, if the first can be its name, as in a list of headers."""
        if isinstance(first, bytes):
            first = first.decode("latin-1")
        return self._keys.kind(first) if isinstance(first, str) and _NAME.fullmatch(first) else ""

    def _private(self, kind: str, value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not str:
            value = value.decode("latin-1") if isinstance(value, bytes) else plain_text(value)
        if not value or (value[0] in "[R" and MARK.fullmatch(value)):
            return value
        self._counts[kind] += 1
        return self._marks.plain.get(kind) or self._marks.mark(kind, value)

    def _number(self, value: float | Decimal) -> Any:
        if not _SMALLEST_CARD <= value < _LARGEST_CARD or value != int(value):
            return value
        digits = str(int(value))
        redacted = self._text.redact(digits)
        return value if redacted == digits else redacted

    def string(self, text: str, depth: int, walk: Walk, total: int = 0) -> str:
        """Return one text, redacted; `total` is the length of the whole, where it is only a start."""
        if text[:1] in _OPENERS and text[-1] in "}]" and max(len(text), total) <= self._max_chars:
            text = self._json(text, depth, walk)
        if _QUOTED_INPUT in text:
            text = self._told.hide_inputs(text)
        if len(text) <= SHORT and total <= SHORT:
            return self._text.redact(text)
        limit = min(self._max_chars, walk.chars)
        result = self._text.redact_head(text, limit, total)
        walk.chars -= max(min(len(text), limit), len(result))
        return result

    def _json(self, text: str, depth: int, walk: Walk) -> str:
        """Redact what the text holds, if it is JSON; it stays as it is, to the last space, if nothing was private."""
        try:
            value = msgspec.json.decode(text)
            redacted = self.value(value, depth, walk)
            return text if redacted == value else msgspec.json.encode(redacted).decode()
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
            return text

    def _other(self, value: Any, depth: int, walk: Walk) -> Any:
        """Copy what is neither a plain scalar nor a plain container."""
        if isinstance(value, Enum):
            return self.value(value.value, depth, walk)
        if isinstance(value, str):
            return self.string(str.__str__(value), depth, walk)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._bytes(value, depth, walk)
        if isinstance(value, (int, float)):
            return self._number(value)
        if isinstance(value, Decimal):
            return self._number(value) if value.is_finite() else value
        if isinstance(value, PurePath):
            text = self.string(str(value), depth, walk)
            return value if text == str(value) else text
        if isinstance(value, BaseException):
            return self._told.exception(value)
        if hasattr(type(value), "get_secret_value"):
            return self._marks.mark("secret", plain_text(value))
        if not isinstance(value, type) and (fields := fields_of(value)) is not None:
            return self._declared(value, fields, depth, walk)
        if isinstance(value, Mapping):
            return self.mapping(value, depth, walk)
        if isinstance(value, (Set, Sequence)):
            return self._sequence(value, depth, walk)
        return self._told.printed(value)

    def _declared(self, value: Any, fields: dict[str, Any], depth: int, walk: Walk) -> Any:
        """Copy an object of declared fields: a named tuple to its like, all others to a `dict`."""
        if id(value) in walk.open:
            return CYCLE
        walk.open.append(id(value))
        try:
            copied = self.mapping(fields, depth, walk)
            make = getattr(type(value), "_make", None)
            return make(copied.values()) if make and isinstance(copied, dict) else copied
        except Exception:  # noqa: BLE001 - a named tuple may check its fields
            return failed(self._counts)
        finally:
            walk.open.pop()

    def _bytes(self, value: bytes | bytearray | memoryview, depth: int, walk: Walk) -> Any:
        """Redact byte for byte: every byte is one Latin-1 character, so whatever is not private comes back the same."""
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        text = bytes(value[: self._max_chars]).decode("latin-1")
        redacted = self.string(text, depth, walk, size)
        try:
            data = redacted.encode("latin-1")
        except UnicodeEncodeError:  # JSON with escapes
            data = redacted.encode("utf-8", "backslashreplace")
        return bytearray(data) if isinstance(value, bytearray) else data
