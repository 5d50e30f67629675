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
_OPERATOR: Final = re.compile(  # a class first, so that the search is quick
    r"[-=%:>,|](?:(?<==)>?|(?<=-)>|(?<=%)3[Dd]|(?<=:)(?::{0,2}=|(?!//|\s{0,4}(?:str|string|bytes|String)\s{0,4}=))"
    r"|(?<=[>,])|(?<=\|)\|?)"
)
_EMAN: Final = re.compile(
    r"[<?+.]{0,2}\s{0,8}(?:(?:rts|gnirts|gnirtS|setyb)(?=[\s:])\s{0,4}:?\s{0,4})?(?:[\"'`]\\{0,8})?(?P<name>\]?[\w.%\[\]-]{1,64}+)"
)
_OPTION: Final = re.compile(r"(?<!\S)--(?P<name>\w++(?:-\w++)*+)[ \t]{1,4}(?=[^\s-])")
_AFTER_OPERATOR: Final = re.compile(
    r"(?:[ \t]{0,8}[|>][+-]?(?=\s*\n))?\s{0,80}[=>]?\s{0,8}(?:[rbfuRBFU]{1,2}(?=[\"']))?"
)
_QUOTED: Final = re.compile(
    r"\"{3}(?P<doubles>(?:(?!\"{3})[\s\S])*+)\"{3}"
    r"|'{3}(?P<singles>(?:(?!'{3})[\s\S])*+)'{3}|"
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
_SCHEME: Final = re.compile(r"(?P<name>[a-z][\w.-]{1,40}+)[ \t]++", re.IGNORECASE)
_WHOLE_LINE: Final = re.compile(r"(?:digest|hmac|hawk|oauth|signature|aws4-.*)", re.IGNORECASE)
_PARAMETERS: Final = re.compile(r"[\w-]{1,40}=[\"']")
_CREDENTIAL: Final = re.compile(r"[^\s\"',;]++(?:,[ \t]{0,4}[\w-]{1,40}=[^\r\n]*+)?")
_LINE: Final = re.compile(r"[^\r\n]*+")
_COOKIE: Final = r"[^\s=;,\"']++=(?:\"[^\"\r\n]*+\"|[^\s;,\"']*+)"
_COOKIES: Final = re.compile(
    rf"(?:(?:{MARK.pattern});[ \t]?)?{_COOKIE}(?:;[ \t]?[^\s=;,\"']++(?:=(?:\"[^\"\r\n]*+\"|[^\s;\"']*+))?)*+"
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
    "bool bytes float found from had has have if in incorrect int invalid is it its malformed may mismatch "
    "missing must needs no not of on or rejected required revoked should str string that the this to too unexpected "
    "unknown unsupported valid was were will with wrong you your"
)
_WORDS: Final = frozenset(_SENTENCE.split())
_NAME_BEFORE: Final = re.compile(
    r"(?:^|[^\w])(?:name|key|Name|Key|id)(?:\\{0,4}[\"'])?\s{0,4}[:=>]\s{0,4}(?:\\{0,4}[\"'])?"
    r"(?P<name>[\w.\[\]-]{1,64}+)[^{}]{0,64}\Z"
)
_FORM_FIELD: Final = re.compile(
    r"form-data;[ \t]{0,2}name=\\{0,4}[\"']?(?P<name>[\w.\[\]-]{1,64}+)[^\r\n]{0,160}?"
    r"(?:(?:\r?\n){2}|[ ]{8})(?P<value>[^\s][^\r\n ]{0,512}+)"
)
_CALLED: Final = re.compile(r"(?<=[\w\]])(?: ?\(| )@?([\"'])([^\"'\r\n]{6,256}+)\1")
SPOKEN: Final = (" is ", " was ", " are ", " is: ")
"""What may stand between a name and its value in plain words."""
_SPOKEN: Final = re.compile(r" (?:is|was|are)(?: now| set to)?:? ")
_SPOKEN_NAME: Final = re.compile(r"(?:[\"'`]?)(?P<name>[\w-]{2,40}+)\Z")
_SPOKEN_VALUE: Final = re.compile(
    r"\"([^\"\r\n]{4,128})\"|'([^'\r\n]{4,128})'|`([^`\r\n]{4,128})`|([^\s\"'`,;<>{}()\[]{4,128}+)"
)
_NUMBER: Final = re.compile(r"\d{1,6}[)\]},;.]*")
_COUNTED: Final = frozenset(["cookies", "credentials", "pass", "secrets", "tokens"])
_SWITCHES: Final = frozenset(
    [
        "basic",
        "bearer",
        "disabled",
        "enabled",
        "false",
        "jwt",
        "no",
        "none",
        "oauth",
        "oauth2",
        "off",
        "on",
        "ok",
        "optional",
        "required",
        "true",
        "yes",
    ]
)
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
        operator = match[0]
        named = _EMAN.match(text[max(start - _LONGEST, 0) : start][::-1])
        if named is None:
            continue
        name = named["name"][::-1]
        name_start = start - named.end("name")
        before = text[max(start - named.end() - 1, 0) : start - named.end()][-1:]
        if name[-1] == "]" and _mark_before(text, start, name_start):
            continue
        if "[" in name and (mark := MARK.match(text, name_start + name.rindex("["))) and mark.end() > start:
            position = max(position, mark.end())
            continue
        if "%" in name:
            name = name[name.rfind("%") :] if operator[0] == "%" else unquote_plus(name)
        kind = (query_kind_of if before in _QUERY else kind_of)(name)
        if not kind and name in _VALUE_NAMES:
            kind = _kind_of_sibling(text, name_start, kind_of)
        if not kind or (operator == ">" and before != "<" and not text.endswith(_NAME_ATTRIBUTES, 0, name_start)):
            continue
        if (operator in _WEAK and name[:2] != "--") or kind in _FACTS:
            # Mostly no value, so the search has to go on inside of it; only a short one keeps that linear.
            span = _short_value(text, position)
            private = "=" in operator or any(map(str.isdigit, text[slice(*span)])) or "@" in text[slice(*span)]
            if operator in _WEAK:
                private = private and span[1] - span[0] >= 8 and any(map(str.isalpha, text[slice(*span)]))
        else:
            span = _value(text, position, kind, tag=operator == ">")
            value = text[slice(*span)]
            private = text[position : position + 1] != " " or _plain(value) not in _WORDS
            private = private and not describes(name, value)
            position = max(position, span[1])
        if private and _is_value(text[slice(*span)]):
            position = max(position, span[1])
            yield *span, kind
    yield from _find_rest(text, kind_of)


def _find_rest(text: str, kind_of: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Yield what has no operator between name and value: options, fields of forms, and plain words."""
    if "--" in text:
        for match in _OPTION.finditer(text):
            kind = kind_of(match["name"])
            span = _short_value(text, match.end())
            if kind and _is_value(text[slice(*span)]):
                yield *span, kind
    if "form-data" in text:
        for match in _FORM_FIELD.finditer(text):
            kind = kind_of(match["name"])
            if kind and _is_value(match["value"]):
                yield *match.span("value"), kind
    for match in _CALLED.finditer(text) if '"' in text or "'" in text else ():
        name = _SPOKEN_NAME.search(text, max(match.start() - 41, 0), match.start())
        kind = kind_of(name["name"]) if name else ""
        if kind and _is_random(match[2]) and _is_value(match[2]):
            yield *match.span(2), kind
    for match in _SPOKEN.finditer(text) if any(word in text for word in SPOKEN) else ():
        name = _SPOKEN_NAME.search(text, max(match.start() - 41, 0), match.start())
        value = _SPOKEN_VALUE.match(text, match.end())
        kind = kind_of(name["name"]) if name and value else ""
        if kind and value and kind not in _FACTS and _is_value(value[value.lastindex or 0]):
            start, end = value.span(value.lastindex or 0)
            end = start + len(text[start:end].rstrip(_CLOSERS))
            if value.lastindex != 4 or _is_random(text[start:end]):
                yield start, end, kind


_NAME_ATTRIBUTES: Final = ('name="', "name='", 'key="', "key='")
_VALUE_NAMES: Final = frozenset(["value", "Value", "val", "default"])


def _kind_of_sibling(text: str, start: int, kind_of: Callable[[str], str]) -> str:
    """Return the kind of the `name` that stands next to a `value`, as in `{"name": "password", "value": ...}`."""
    sibling = _NAME_BEFORE.search(text, max(start - 128, 0), start)
    return kind_of(sibling["name"]) if sibling else ""


def _is_random(word: str) -> bool:
    """Tell a secret from the words that could stand after "the password is": by a digit or sign among letters."""
    return (any(map(str.isdigit, word)) and not word.isdigit()) or any(sign in word for sign in "!@#$%^&*+~")


def describes(name: str, value: object) -> bool:
    """Tell whether the value of a private name only counts or switches: `pass=12`, `tokens=512`, `auth=enabled`."""
    if name in _COUNTED:
        return type(value) is int or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)
    return name == "auth" and (isinstance(value, bool) or (isinstance(value, str) and _plain(value) in _SWITCHES))


def _is_value(value: str) -> bool:
    return bool(value) and not is_marked(value) and not _NO_VALUE.fullmatch(value)


def _plain(value: str) -> str:
    return value.rstrip(_CLOSERS).casefold() if len(value) <= _LONGEST else ""


def _mark_before(text: str, end: int, name_start: int) -> bool:
    """Tell whether all that was taken for a name is (the end of) a mark."""
    end = text.rfind("]", 0, end) + 1
    start = text.rfind("[", max(end - _LONGEST, 0), end)
    return 0 <= start <= name_start and MARK.fullmatch(text, start, end) is not None


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
    if kind == "authorization" and (scheme := _SCHEME.match(text, start)) and scheme["name"].casefold() not in _WORDS:
        whole = _WHOLE_LINE.fullmatch(scheme["name"]) or _PARAMETERS.match(text, scheme.end())
        if match := (_LINE if whole else _CREDENTIAL).match(text, scheme.end()):
            return start, match.end()
    if kind == "cookie" and (match := _COOKIES.match(text, start)):
        return match.span()
    if match := _QUOTED.match(text, start):
        return match.span(match.lastgroup or 0)
    if text[start : start + 1] and text[start] in _OPENERS:
        mark = MARK.match(text, start)
        return start, _closing(text, start) if mark is None else _end_of_bare(text, mark.end())
    if match := _BARE.match(text, start):
        bare = match[0]
        return start, start + len(bare if _NO_VALUE.fullmatch(bare) else bare.rstrip(_CLOSERS) or bare)
    return start, start


def _end_of_bare(text: str, start: int) -> int:
    """Return where the word ends that goes on behind a mark, so that a forged mark hides nothing."""
    match = _BARE.match(text, start)
    rest = match[0].rstrip(_CLOSERS) if match else ""
    return start + len(rest)


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
