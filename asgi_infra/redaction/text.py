"""Private data in one string."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asgi_infra.redaction.checks import is_card, is_ssn
from asgi_infra.redaction.marks import MARK, unscanned
from asgi_infra.redaction.pairs import SPOKEN, find_pairs
from asgi_infra.redaction.patterns import BUILT_IN, OPT_IN, Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asgi_infra.redaction.keys import KeyRules
    from asgi_infra.redaction.marks import Marks

_PASSES: Final = 5
_SHORTEST_KEY: Final = 16
_MARGIN: Final = 64
_CLEAN_TEXTS: Final = 4096
_CLEAN_LENGTH: Final = 200
_MARK_STARTS: Final = frozenset(["[", "R"])
_OPENERS: Final = frozenset(["{", "["])  # perhaps JSON, of which this module sees only the outside

# Cheap questions that spare most texts most searches.
_SIGN: Final = re.compile(r"[@=:>|,%\"']")
_SIGN_WORDS: Final = ("--", *SPOKEN)
_LONG_WORD: Final = re.compile(r"(?<![0-9A-Za-z])[\w.+=~:|/$%-]{15}")
_DIGITS: Final = re.compile(
    r"\d[\d ()._+/\t\u00a0\u2007\u2009\u2010-\u2013\u202f-]{6}"
    r"|\d\d(?<=[A-Za-z]{2}..)(?<![0-9A-Za-z].{4})[ \t\u00a0\u2009\u202f.+-]{0,2}[A-Za-z0-9]"
)
_SHORT_SECRET: Final = re.compile(f"{_SIGN.pattern}|{_DIGITS.pattern}")
_HARMLESS: Final = re.compile(  # words, paths, times, UUIDs, trace ids, IPv4 addresses, numbers
    r"[A-Za-z]{1,15}+(?:[ /-][a-z]{1,15}+){0,12}+"
    r"|(?:/(?:[a-z_-]{1,15}+|v?\d{1,8}+)){1,8}/?"
    r"|\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9}+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}"
    r"|\d{1,3}+\.\d{1,3}+\.\d{1,3}+\.\d{1,3}+"
    r"|-?\d{1,8}+(?:\.\d{1,6}+)?"
)
_ESCAPE: Final = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})")
_COVER: Final = re.compile(
    r"\\(?:[nrt]|(?:x1b|u001b)\[[0-9;]{0,16}m|x[0-9a-f]{2}|u[0-9a-f]{4})"
    r"|\x1b\[[0-9;]{0,16}m|%(?!40|2540|2[Bb]|7[Cc])[0-9A-Fa-f]{2}"
)
_SPACES: Final = (" ", "\n", "\t")
_SPACE_KINDS: Final = frozenset(["private_key", "bearer", "basic", "credentials"])
_SIGN_KINDS: Final = frozenset(["url_credentials", "email", "webhook"])
_WORD_KINDS: Final = frozenset(["jwt", "api_key"])
_DIGIT_KINDS: Final = frozenset(["card", "iban", "ssn", "phone"])

# Digits that are a number like any other, unless there is nothing else.
_ONE_ALONE: Final = re.compile(r"\d{3}-?\d{2}-?\d{4}")
_ALONE: Final = re.compile(r"\s*+\d{3}-?\d{2}-?\d{4}(?:[\s,;]++\d{3}-?\d{2}-?\d{4})*+\s*+")
_CARD_ALONE: Final = re.compile(r"\s*+\d{14,16}\s*+")


class TextRules:
    """Finds and replaces private data in strings.

    Args:
        keys: The key rules for names inside text.
        query_keys: The key rules for names in query strings.
        marks: What makes the marks.
        count: Called with the kind of each value that was replaced.
        patterns: Further patterns; those with the kind of a built-in one take its place.
        without: Kinds of built-in patterns that are left out.
        ip: Whether IP addresses are private.
    """

    def __init__(
        self,
        keys: KeyRules,
        query_keys: KeyRules,
        marks: Marks,
        count: Callable[[str], None],
        patterns: Iterable[Pattern] = (),
        without: Iterable[str] = (),
        *,
        ip: bool = False,
    ) -> None:
        own = tuple(patterns)
        replaced = {pattern.kind for pattern in own} | set(without)
        table = [pattern for pattern in (*BUILT_IN, *(OPT_IN if ip else ())) if pattern.kind not in replaced]
        self._by_sign = [pattern for pattern in table if pattern.kind in _SIGN_KINDS]
        self._by_word = [pattern for pattern in table if pattern.kind in _WORD_KINDS]
        self._by_digits = [pattern for pattern in table if pattern.kind in _DIGIT_KINDS]
        self._by_space = [pattern for pattern in table if pattern.kind in _SPACE_KINDS]
        self._space_needs = tuple(dict.fromkeys(need for pattern in self._by_space for need in pattern.needs))
        gated = _SIGN_KINDS | _SPACE_KINDS | _WORD_KINDS | _DIGIT_KINDS
        self._others = [*own, *(pattern for pattern in table if pattern.kind not in gated)]
        self._closed = not own and not ip
        self._replaced = frozenset(replaced)
        self._keys = keys
        self._query_keys = query_keys
        self._marks = marks
        self._count = count
        self.clean: set[str] = set()

    def redact(self, text: str) -> str:
        """Return `text` with marks in place of the private data."""
        if text in self.clean:
            return text
        if self._closed and (
            _HARMLESS.fullmatch(text)
            or (len(text) < _SHORTEST_KEY and not _SHORT_SECRET.search(text) and "--" not in text)
        ):
            result = text
        else:
            result = self._until_clean(text)
        if result is text and len(text) <= _CLEAN_LENGTH and text[:1] not in _OPENERS:
            if len(self.clean) >= _CLEAN_TEXTS:
                self.clean.clear()
            self.clean.add(text)
        return result

    def redact_alone(self, text: str) -> str | None:
        """Return a mark if `text` is nothing but the digits of a card, or nine that are then taken for an SSN."""
        if _CARD_ALONE.fullmatch(text):
            kind = "card" if is_card(text.strip()) else ""
        elif _ALONE.fullmatch(text):
            kind = "ssn" if all(is_ssn(number.replace("-", "")) for number in _ONE_ALONE.findall(text)) else ""
        else:
            return None
        if not kind or kind in self._replaced:
            return None
        self._count(kind)
        return self._marks.mark(kind, text.strip())

    def redact_head(self, text: str, limit: int, total: int = 0) -> str:
        """Return the redacted start of a text that may be longer than `limit`; what was not scanned is not shown.

        `total` is the length of the whole, where `text` is only its start. The cut is at a white space well before the
        limit, so that no half of a value remains.
        """
        total = max(total, len(text))
        if total <= limit:
            result = self.redact(text)
            if len(result) <= limit:
                return result
        head = self.redact(text[:limit])
        for _ in range(_PASSES):
            cut = _last_space(head, min(len(head), limit) - _MARGIN)
            again = self.redact(head[:cut])
            if again == head[:cut]:
                break
            head = again
        else:
            cut = 0
        rest = unscanned(total - cut, "chars")
        return f"{head[:cut]} {rest}" if cut else rest

    def _until_clean(self, text: str) -> str:
        """Replace until nothing is found, so that a second redaction can change nothing."""
        if text[:1] in _MARK_STARTS and MARK.fullmatch(text):
            return text
        for _ in range(_PASSES):
            result = self._pass(text)
            if result is text or MARK.fullmatch(result):
                return result
            text = result
        self._count("text")
        return "[REDACTED:text]"

    def _pass(self, text: str) -> str:
        holds = text.__contains__  # mapped over literals it is several times quicker than a loop
        sign = _SIGN.search(text) is not None or any(map(holds, _SIGN_WORDS))
        if sign:
            spans = sorted(find_pairs(_unescaped(text), self._keys.kind, self._query_keys.kind))
            if spans:
                text = self._replace(text, spans)
            text = self._try(self._by_sign, text)
        if self._others:
            text = self._try(self._others, text)
        if (sign or any(map(holds, _SPACES))) and any(map(text.__contains__, self._space_needs)):
            text = self._try(self._by_space, text)
        if _LONG_WORD.search(text):
            text = self._try(self._by_word, text)
        if _DIGITS.search(_uncovered(text) if "\\" in text or "%" in text else text):
            text = self._try(self._by_digits, text)
        return text

    def _try(self, patterns: list[Pattern], text: str) -> str:
        uncovered = ""
        for pattern in patterns:
            if pattern.needs and not any(map(text.__contains__, pattern.needs)):
                continue
            uncovered = uncovered or _uncovered(text)
            shown = uncovered if pattern.kind == "email" else uncovered.replace("%40", "   ")
            spans = [
                (start, end, pattern.kind)
                for match in pattern.compiled.finditer(shown)
                for start, end in pattern.spans(match)
                if not MARK.fullmatch(text, start, end)
            ]
            if spans:
                text = self._replace(text, spans)
                uncovered = ""
        return text

    def _replace(self, text: str, spans: list[tuple[int, int, str]]) -> str:
        parts: list[str] = []
        position = 0
        for start, end, kind in spans:
            if start < position:
                continue
            self._count(kind)
            parts += text[position:start], self._marks.mark(kind, text[start:end])
            position = end
        parts.append(text[position:])
        return "".join(parts)


def _unescaped(text: str) -> str:
    """Return `text` with spaces for the escapes that a `repr` or JSON writes for white space, at the same places.

    Else the letter of `\\n` would stick to the number behind it.
    """
    return _ESCAPE.sub(lambda match: " " * len(match[0]), text) if "\\" in text else text


def _uncovered(text: str) -> str:
    """Return `text` with spaces for percent escapes and colours as well, which hide what stands behind them.

    Names of parameters may be escaped in part themselves, and are looked for in the text as it is.
    """
    if "\\" in text or "%" in text or "\x1b" in text:
        return _COVER.sub(lambda match: " " * len(match[0]), text)
    return text


def _last_space(text: str, limit: int) -> int:
    """Return the index of the last white space before `limit`, 0 if there is none."""
    for index in range(min(limit, len(text)) - 1, 0, -1):
        if text[index].isspace():
            return index
    return 0
