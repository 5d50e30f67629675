"""The walk over any value."""

from __future__ import annotations

import datetime
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from types import NoneType
from typing import Any, Final

import msgspec

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction.exceptions import Secrets, exception_text, secrets_in, secrets_of
from asgi_infra.redaction.fields import fields_of, plain_text
from asgi_infra.redaction.keys import KeyRules
from asgi_infra.redaction.marks import CYCLE, MARK, TOO_DEEP, Marks, unscanned
from asgi_infra.redaction.patterns import BUILT_IN, Pattern
from asgi_infra.redaction.text import TextRules
from asgi_infra.redaction.walk import Walk, like

_KINDS: Final = frozenset(pattern.kind for pattern in BUILT_IN)
_SHORT: Final = 200
_NAME: Final = re.compile(r"[\w.\[\] -]{1,64}")
_SMALLEST_CARD: Final = 10**11
_LARGEST_CARD: Final = 10**19
_OPENERS: Final = frozenset(["{", "["])
_KNOWN_KEYS: Final = 4096
_ERROR: Final = "[REDACTED:error]"
_HARMLESS: Final = frozenset(
    [NoneType, bool, datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID]
)


class Redactor:
    """Makes copies without private data: any value in, a redacted copy out.

    It never changes its input, never raises, and what it returns it would return again. Names decide first (the value
    of `password` goes, whatever it is), then the form of each text does (an e-mail address goes, whatever its name).
    Mappings become `dict`s and objects with declared fields too; other objects become their redacted `repr`, exceptions
    their redacted text. What goes over a limit is not scanned, and what was not scanned is not shown.

    An instance may be shared by threads. Its caches are bounded and hold harmless texts only.

    Args:
        keys: Further private names; an iterable of names, or a mapping of names to kinds (see `KeyRules`).
        safe_keys: Whole names that no name rule may hide, for example `"session_id"`; their values are still scanned.
        patterns: Further forms of private text; one with a built-in kind takes the place of the built-in.
        without: Kinds whose built-in patterns are left out, for example `{"phone"}`.
        ip: Whether IP addresses are private.
        pseudonym_key: With a key of at least 16 bytes, marks are stable pseudonyms (`[email:9f3c2a]`).
        keep_last: Kinds that show their last four characters, for example `{"card"}`.
        local_variables: Whether tracebacks show local variables (redacted).
        max_depth: Containers in containers that are followed.
        max_items: Items that are taken of one container; of all containers together, ten times as many.
        max_chars: Characters that are scanned of one text; of all long texts together, four times as many.

    Raises:
        ConfigurationError: A parameter is wrong; the message names it.

    Example:
        >>> redact = Redactor()
        >>> redact({"user": "bob@example.org", "Password": "hunter2", "note": "card 4111 1111 1111 1111"})
        {'user': '[REDACTED:email]', 'Password': '[REDACTED:password]', 'note': 'card [REDACTED:card]'}
    """

    def __init__(
        self,
        *,
        keys: Iterable[str] | Mapping[str, str] = (),
        safe_keys: Iterable[str] = (),
        patterns: Iterable[Pattern] = (),
        without: Iterable[str] = (),
        ip: bool = False,
        pseudonym_key: bytes | None = None,
        keep_last: Iterable[str] = (),
        local_variables: bool = False,
        max_depth: int = 16,
        max_items: int = 1_000,
        max_chars: int = 32_768,
    ) -> None:
        self._max_depth = _limit("max_depth", max_depth, 1, 100)
        self._max_items = _limit("max_items", max_items, 2, 1_000_000)
        self._max_chars = _limit("max_chars", max_chars, 128, 100_000_000)
        own = tuple(patterns)
        for pattern in own:
            if not isinstance(pattern, Pattern):
                raise ConfigurationError(f"patterns must hold Pattern objects, not {type(pattern).__name__}")
        left_out = frozenset([without] if isinstance(without, str) else without)
        if unknown := left_out - _KINDS:
            raise ConfigurationError(f"without names unknown kinds: {sorted(unknown)}; known are {sorted(_KINDS)}")
        keys = dict(keys) if isinstance(keys, Mapping) else keys
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._marks = Marks(pseudonym_key, keep_last)
        self._keys = KeyRules(keys, safe_keys)
        self._text = TextRules(
            self._keys, KeyRules(keys, safe_keys, query=True), self._marks, self._count, own, left_out, ip=ip
        )
        self._clean = self._text.clean
        self._known_keys: dict[str, str] = {}
        self._local_variables = local_variables

    @property
    def counts(self) -> dict[str, int]:
        """How many values of each kind were replaced so far. Counts only, never values."""
        return dict(self._counts)

    def __call__(self, value: Any) -> Any:
        """Return a redacted copy of any value."""
        try:
            if type(value) is str:
                return self.text(value)
            return self._value(value, 0, Walk(self._max_items * 10, self._max_chars * 4))
        except Exception:  # noqa: BLE001 - telemetry never breaks the app, and what was not scanned is not shown
            return self._failed()

    def text(self, text: str) -> str:
        """Return one text, redacted."""
        try:
            if text in self._clean and not text[:1].isdigit():
                return text
            alone = self._text.redact_alone(text) if len(text) <= _SHORT else None
            return alone or self._string(text, 0, Walk(self._max_items * 10, self._max_chars * 4))
        except Exception:  # noqa: BLE001
            return self._failed()

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return a redacted copy of one flat mapping, such as the attributes of a span or the headers of a request."""
        redacted = self(attributes)
        return redacted if isinstance(redacted, dict) else {"redaction": redacted}

    def exception(self, exc: BaseException) -> str:
        """Return the redacted text of an exception, with its traceback, notes, causes and groups."""
        try:
            text = exception_text(exc, local_variables=self._local_variables)
            return self._text.redact_head(self._without(secrets_of(exc, self._keys.kind), text), self._max_chars)
        except Exception:  # noqa: BLE001
            return self._failed()

    def message(self, exc: BaseException) -> str:
        """Return the redacted message of an exception alone, as `str(exc)` would give it."""
        try:
            return self._text.redact_head(self._without(secrets_of(exc, self._keys.kind), str(exc)), self._max_chars)
        except Exception:  # noqa: BLE001
            return self._failed()

    # The walk. The two loops repeat the first questions of `_value`, because calls are what a walk costs.

    def _value(self, value: Any, depth: int, walk: Walk) -> Any:
        cls = type(value)
        if cls is str:
            return value if value in self._clean else self._string(value, depth, walk)
        if cls in _HARMLESS:
            return value
        if cls is int or cls is float:
            return self._number(value)
        if cls is dict:
            return self._mapping(value, depth, walk)
        if cls is list or cls is tuple:
            return self._sequence(value, depth, walk)
        return self._other(value, depth, walk)

    def _mapping(self, mapping: Mapping[Any, Any], depth: int, walk: Walk) -> Any:
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
            named = self._name_kind(mapping.get("name", mapping.get("key"))) if "value" in mapping else ""
            for key, value in items:
                kind = known.get(key) if type(key) is str else None
                if kind is None:
                    key, kind = self._key(key, out, depth, walk)
                cls = type(value)
                if kind:
                    out[key] = self._private(kind, value)
                elif named and key == "value":
                    out[key] = self._private(named, value)
                elif cls is str:
                    out[key] = value if value in clean else self._string(value, depth, walk)
                elif cls in _HARMLESS:
                    out[key] = value
                elif cls is int or cls is float:
                    out[key] = value if value < _SMALLEST_CARD else self._number(value)
                elif cls is dict:
                    out[key] = self._mapping(value, depth, walk)
                elif cls is list:
                    out[key] = self._sequence(value, depth, walk)
                else:
                    out[key] = self._value(value, depth, walk)
            if left:
                rest = unscanned(left, "items")
                out[rest] = rest
        except Exception:  # noqa: BLE001
            return self._failed()
        else:
            return out
        finally:
            walk.open.pop()

    def _sequence(self, value: Any, depth: int, walk: Walk) -> Any:
        """Copy a sequence or a set, as `_mapping` does."""
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
                pair = [self._value(value[0], depth, walk), self._private(kind, value[1])]
                return like(value, pair)
            shown = islice(value, size - left) if left else value
            copied = [item if type(item) is str and item in clean else self._value(item, depth, walk) for item in shown]
            if left:
                copied.append(unscanned(left, "items"))
            return copied if type(value) is list else like(value, copied)
        except Exception:  # noqa: BLE001
            return self._failed()
        finally:
            walk.open.pop()

    def _key(self, key: Any, out: dict[Any, Any], depth: int, walk: Walk) -> tuple[Any, str]:
        """Return what stands for a key, and the kind of its value if the key makes it private."""
        kind = self._name_kind(key)
        redacted = self._value(key, depth, walk)
        if type(key) is str and redacted == key and len(key) <= _SHORT:
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
        if not isinstance(name, str):
            return ""
        return self._keys.kind(MARK.sub(" ", name) if "[" in name else name)

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

    def _string(self, text: str, depth: int, walk: Walk, total: int = 0) -> str:
        if text[:1] in _OPENERS and text[-1] in "}]" and max(len(text), total) <= self._max_chars:
            text = self._json(text, depth, walk)
        if len(text) <= _SHORT and total <= _SHORT:
            return self._text.redact(text)
        limit = min(self._max_chars, walk.chars)
        result = self._text.redact_head(text, limit, total)
        walk.chars -= max(min(len(text), limit), len(result))
        return result

    def _json(self, text: str, depth: int, walk: Walk) -> str:
        """Redact what the text holds, if it is JSON; it stays as it is, to the last space, if nothing was private."""
        try:
            value = msgspec.json.decode(text)
            redacted = self._value(value, depth, walk)
            return text if redacted == value else msgspec.json.encode(redacted).decode()
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
            return text

    def _other(self, value: Any, depth: int, walk: Walk) -> Any:
        """Copy what is neither a plain scalar nor a plain container."""
        if isinstance(value, Enum):
            return self._value(value.value, depth, walk)
        if isinstance(value, str):
            return self._string(str.__str__(value), depth, walk)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._bytes(value, depth, walk)
        if isinstance(value, (int, float)):
            return self._number(value)
        if isinstance(value, Decimal):
            return self._number(value) if value.is_finite() else value
        if isinstance(value, PurePath):
            text = self._string(str(value), depth, walk)
            return value if text == str(value) else text
        if isinstance(value, BaseException):
            return self.exception(value)
        if hasattr(type(value), "get_secret_value"):
            return self._marks.mark("secret", plain_text(value))
        if not isinstance(value, type) and (fields := fields_of(value)) is not None:
            return self._declared(value, fields, depth, walk)
        if isinstance(value, Mapping):
            return self._mapping(value, depth, walk)
        if isinstance(value, (Set, Sequence)):
            return self._sequence(value, depth, walk)
        return self._object(value)

    def _declared(self, value: Any, fields: dict[str, Any], depth: int, walk: Walk) -> Any:
        """Copy an object of declared fields: a named tuple to its like, all others to a `dict`."""
        if id(value) in walk.open:
            return CYCLE
        walk.open.append(id(value))
        try:
            copied = self._mapping(fields, depth, walk)
            make = getattr(type(value), "_make", None)
            return make(copied.values()) if make and isinstance(copied, dict) else copied
        except Exception:  # noqa: BLE001 - a named tuple may check its fields
            return self._failed()
        finally:
            walk.open.pop()

    def _bytes(self, value: bytes | bytearray | memoryview, depth: int, walk: Walk) -> Any:
        """Redact byte for byte: every byte is one Latin-1 character, so whatever is not private comes back the same."""
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        text = bytes(value[: self._max_chars]).decode("latin-1")
        redacted = self._string(text, depth, walk, size)
        try:
            data = redacted.encode("latin-1")
        except UnicodeEncodeError:  # JSON with escapes
            data = redacted.encode("utf-8", "backslashreplace")
        return bytearray(data) if isinstance(value, bytearray) else data

    def _object(self, value: Any) -> str:
        """Return what the object prints, without the values of its own private attributes."""
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001
            return f"<{type(value).__name__}: no repr>"
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, Mapping):
            text = self._without(secrets_in(dict(attributes), self._keys.kind), text)
        return self._text.redact_head(text, self._max_chars)

    def _without(self, secrets: Secrets, text: str) -> str:
        for secret in sorted(secrets, key=len, reverse=True):
            if secret in text and not MARK.fullmatch(secret):
                self._count(secrets[secret])
                text = text.replace(secret, self._marks.mark(secrets[secret], secret))
        return text

    def _count(self, kind: str) -> None:
        self._counts[kind] += 1

    def _failed(self) -> str:
        self._count("error")
        return _ERROR


def _limit(name: str, value: int, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(f"{name} must be an integer from {least} to {most}, not {value!r}")
    return value
