"""`Redactor`: all rules together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction.keys import KeyRules
from asgi_infra.redaction.marks import Counts, Marks, failed
from asgi_infra.redaction.patterns import BUILT_IN, OPT_IN, Pattern
from asgi_infra.redaction.text import TextRules
from asgi_infra.redaction.told import ToldRules
from asgi_infra.redaction.values import SHORT, ValueRules

_KINDS: Final = frozenset(pattern.kind for pattern in BUILT_IN)
_OTHER_KINDS: Final = frozenset(["input", "secret", *(pattern.kind for pattern in OPT_IN)])


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
        _check_limit("max_depth", max_depth, 1, 100)
        _check_limit("max_items", max_items, 2, 1_000_000)
        _check_limit("max_chars", max_chars, 128, 100_000_000)
        own = tuple(patterns)
        for pattern in own:
            if not isinstance(pattern, Pattern):
                raise ConfigurationError(f"patterns must hold Pattern objects, not {type(pattern).__name__}")
        left_out = frozenset([without] if isinstance(without, str) else without)
        if unknown := left_out - _KINDS:
            raise ConfigurationError(f"without names unknown kinds: {sorted(unknown)}; known are {sorted(_KINDS)}")
        keys = dict(keys) if isinstance(keys, Mapping) else keys
        counts: Counts = defaultdict(int)
        rules = KeyRules(keys, safe_keys)
        marks = Marks(pseudonym_key, keep_last, _KINDS | _OTHER_KINDS | rules.kinds | {pattern.kind for pattern in own})
        query_rules = KeyRules(keys, safe_keys, query=True)

        def count(kind: str) -> None:
            counts[kind] += 1

        self._counts = counts
        self._text = TextRules(rules, query_rules, marks, count, own, left_out, ip=ip)
        self._clean = self._text.clean
        self._told = ToldRules(rules, self._text, marks, counts, max_chars=max_chars, local_variables=local_variables)
        self._values = ValueRules(
            rules,
            self._text,
            self._told,
            marks,
            counts,
            max_depth=max_depth,
            max_items=max_items,
            max_chars=max_chars,
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many values of each kind were replaced so far. Counts only, never values."""
        return dict(self._counts)

    def __call__(self, value: Any) -> Any:
        """Return a redacted copy of any value."""
        try:
            if type(value) is str:
                return self.text(value)
            return self._values.value(value, 0, self._values.walk())
        except Exception:  # noqa: BLE001 - telemetry never breaks the app, and what was not scanned is not shown
            return failed(self._counts)

    def text(self, text: str) -> str:
        """Return one text, redacted."""
        try:
            if text in self._clean and not text[:1].isdigit():
                return text
            alone = self._text.redact_alone(text) if len(text) <= SHORT else None
            return alone or self._values.string(text, 0, self._values.walk())
        except Exception:  # noqa: BLE001
            return failed(self._counts)

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return a redacted copy of one flat mapping, such as the attributes of a span or the headers of a request."""
        if type(attributes) is dict:
            redacted = self._values.mapping(attributes, 0, self._values.walk())
        else:
            redacted = self(attributes)
        return redacted if isinstance(redacted, dict) else {"redaction": redacted}

    def exception(self, exc: BaseException) -> str:
        """Return the redacted text of an exception, with its traceback, notes, causes and groups."""
        return self._told.exception(exc)

    def message(self, exc: BaseException) -> str:
        """Return the redacted message of an exception alone, as `str(exc)` would give it."""
        return self._told.message(exc)

    def secrets(self, exc: BaseException) -> dict[str, str]:
        """Return the texts that `exc` and its frames hold under private names, with their kinds; for `without`."""
        return self._told.secrets(exc)

    def without(self, secrets: Mapping[str, str], text: str) -> str:
        """Return a text without texts that are known to be secret; not redacted otherwise."""
        return self._told.without(secrets, text)


def _check_limit(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(f"{name} must be an integer from {least} to {most}, not {value!r}")
