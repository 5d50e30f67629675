"""Names and values inside text: `password=hunter2`, `"token": "..."`, `?sig=...`, `Cookie: a=b; c=d`, `<secret>...`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from asgi_infra.redaction.marks import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONGEST: Final = 96

# What may stand between a name and its value; the name before it is read backwards, so that a text costs as much time
# as it has operators.
_OPERATOR: Final = re.compile(r"=>?|:{1,3}=|:(?!//|\s{0,4}(?:str|string|bytes|String)\s{0,4}=)|>|,|\|\|?")
_EMAN: Final = re.compile(
    r"[<?+.]?\s{0,8}(?:(?:rts|gnirts|gnirtS|setyb)(?=[\s:])\s{0,4}:?\s{0,4})?(?:[\"'`]\\{0,8})?(?P<name>\]?[\w.%\[\]-]{1,64}+)"
)
_OPTION: Final = re.compile(r"(?<!\S)--(?P<name>\w++(?:-\w++)*+)[ \t]{1,4}(?=[^\s-])")
_AFTER_OPERATOR: Final = re.compile(
    r"(?:[ \t]{0,8}[|>][+-]?(?=\s*\n))?\s{0,80}[=>]?\s{0,8}(?:[rbfuRBFU]{1,2}(?=[\"']))?"
)
_QUOTED: Final = re.compile(
    r"(?P<quote>\\++[\"'])(?P<escaped>(?:(?!(?P=quote))[\s\S])*+)"
    r'|"(?P<double>(?:[^"\\]|\\[\s\S])*+)'
    r"|'(?P<single>(?:[^'\\]|\\[\s\S])*+)"
    r"|`(?P<back>[^`]*+)"
)
_BARE: Final = re.compile(
    r"(?:[^\s&,;\"'<]"
    r"|[,;](?!\s|$|[\w.-]{1,40}[=:])"
    r"|[\"'](?![\s,;)\]}>&]|$)"
    r"|<(?!/))++"
)
_TAG: Final = re.compile(r"[^<]++(?=</)")
_CREDENTIALS: Final = re.compile(
    r"(?:(?:bearer|basic|token|negotiate|ntlm|apikey|api-key)[ \t]++[^\s\"',;]++"
    r"|(?:digest|hmac|hawk|oauth|signature|aws4-[\w-]{1,40})[ \t][^\r\n]*+)",
    re.IGNORECASE,
)
_COOKIES: Final = re.compile(
    r"[^\s=;,\"']++=(?:\"[^\"\r\n]*+\"|[^\s;,\"']*+)(?:;[ \t]?[^\s=;,\"']++(?:=(?:\"[^\"\r\n]*+\"|[^\s;\"']*+))?)*+"
)
_BRACKET: Final = re.compile(r"[\[\](){}]")
_OPENERS: Final = "[({"
_QUERY: Final = frozenset(["?", "&"])
_SHORT: Final = re.compile(
    r"\s{0,8}(?:[rbfu]{1,2}(?=[\"']))?"
    r"(?:\"(?P<double>[^\"]{1,512})\"|'(?P<single>[^']{1,512})'|[\"'`]?(?P<bare>[^\s,;&|=\"'`<>]{1,512}+))",
    re.IGNORECASE,
)
_CLOSERS: Final = ")]}>.,;:!?\\|"

# What stands for a value that is not there, in templates and in words; not worth a mark, and marks would break `%`.
_NO_VALUE: Final = re.compile(
    r"(?:none|null|nil|undefined|true|false|nan|\*+|\.{2,}|x{3,}|-+|=+"
    r"|%(?:\(\w{1,64}\))?[-+ #0-9.]{0,8}[a-z]|\$\{[^}]{0,128}\}|\$\w{1,64}|\{\{[^}]{0,128}\}\}|\{[\w.!:]{0,64}\}"
    r"|<[\w -]{1,64}>)[,;.)\]}]*",
    re.IGNORECASE,
)
_SENTENCE: Final = (  # "token: expired" is one
    "a an and are bad be been but by can cannot contains could did does empty error expected expired failed for "
    "found from had has have if in incorrect invalid is it its malformed may mismatch missing must needs no not of "
    "on or rejected required revoked should that the this to too unexpected unknown unsupported valid was were will "
    "with wrong you your"
)
_WORDS: Final = frozenset(_SENTENCE.split())
_WEAK: Final = frozenset([",", "|", "||"])  # a table, or just a list of words
_FACTS: Final = frozenset(["account", "birth_date", "card", "email", "iban", "identity", "phone", "ssn"])


def find_pairs(
    text: str, kind_of: Callable[[str], str], query_kind_of: Callable[[str], str]
) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and kind of the values in `text` whose names are private.

    Args:
        text: What to search.
        kind_of: The key rules: gives the kind for a name, `""` if it is not private.
        query_kind_of: The same for names that follow `?` or `&`.
    """
    position = 0
    while match := _OPERATOR.search(text, position):
        start = match.start()
        position = match.end()
        named = _EMAN.match(text[max(start - _LONGEST, 0) : start][::-1])
        if named is None:
            continue
        name = named["name"][::-1]
        before = text[max(start - named.end() - 1, 0) : start - named.end()][-1:]
        if name[-1] == "]" and _is_mark_before(text, start):
            continue
        if "[" in name and (mark := MARK.match(text, start - named.end() + name.rindex("["))):
            position = max(position, mark.end())
            continue
        if "%" in name:
            name = unquote_plus(name)
        kind = (query_kind_of if before in _QUERY else kind_of)(name)
        operator = match[0]
        if not kind or (operator == ">" and before != "<"):
            continue
        if operator in _WEAK or kind in _FACTS:
            # Mostly no value, so the search has to go on inside of it; only a short one keeps that linear.
            span = _short_value(text, position)
            private = "=" in operator or any(map(str.isdigit, text[slice(*span)])) or "@" in text[slice(*span)]
            if operator in _WEAK:
                private = private and span[1] - span[0] >= 8 and any(map(str.isalpha, text[slice(*span)]))
        else:
            span = _value(text, position, kind, tag=operator == ">")
            private = text[position : position + 1] != " " or _plain(text[slice(*span)]) not in _WORDS
            position = max(position, span[1])
        if private and _is_value(text[slice(*span)]):
            position = max(position, span[1])
            yield *span, kind
    if "--" in text:
        for match in _OPTION.finditer(text):
            kind = kind_of(match["name"])
            span = _short_value(text, match.end())
            if kind and _is_value(text[slice(*span)]):
                yield *span, kind


def _is_value(value: str) -> bool:
    return bool(value) and not is_marked(value) and not _NO_VALUE.fullmatch(value)


def _plain(value: str) -> str:
    return value.rstrip(_CLOSERS).casefold() if len(value) <= _LONGEST else ""


def _is_mark_before(text: str, end: int) -> bool:
    """Tell whether the bracket that was taken for the end of a name is that of a mark."""
    end = text.rfind("]", 0, end) + 1
    start = text.rfind("[", max(end - _LONGEST, 0), end)
    return start >= 0 and MARK.fullmatch(text, start, end) is not None


def is_marked(value: str) -> bool:
    """Tell whether `value` is a mark, but for brackets and points behind it."""
    mark = MARK.match(value)
    return mark is not None and not value[mark.end() :].strip(_CLOSERS)


def _value(text: str, start: int, kind: str, *, tag: bool) -> tuple[int, int]:
    """Return where the value that starts at `start` begins and ends, without its quotes."""
    after = _AFTER_OPERATOR.match(text, start)
    start = after.end() if after else start
    if tag and (match := _TAG.match(text, start)):
        return start, start + len(match[0].rstrip())
    if kind == "authorization" and (match := _CREDENTIALS.match(text, start)):
        return match.span()
    if kind == "cookie" and (match := _COOKIES.match(text, start)):
        return match.span()
    if match := _QUOTED.match(text, start):
        return match.span(match.lastgroup or 0)
    if text[start : start + 1] and text[start] in _OPENERS:
        return start, _closing(text, start)
    if match := _BARE.match(text, start):
        bare = match[0]
        return start, start + len(bare if _NO_VALUE.fullmatch(bare) else bare.rstrip(_CLOSERS) or bare)
    return start, start


def _short_value(text: str, start: int) -> tuple[int, int]:
    match = _SHORT.match(text, start)
    return match.span(match.lastgroup or 0) if match else (start, start)


def _closing(text: str, start: int) -> int:
    """Return the index behind the bracket that closes the one at `start`, or the end of the text."""
    depth = 0
    for match in _BRACKET.finditer(text, start):
        depth += 1 if match[0] in _OPENERS else -1
        if depth == 0:
            return match.end()
    return len(text)
