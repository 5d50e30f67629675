"""The table of what is recognised by its form, whatever it is called."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction.checks import IBAN_LENGTHS, is_basic, is_card, is_iban, is_ip, is_ssn, is_varied
from asgi_infra.redaction.marks import check_kind
from asgi_infra.redaction.vendors import VENDOR_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Spans = Callable[[re.Match[str]], Iterable[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One form of private data in text.

    Args:
        kind: What the mark will say, for example `"customer_number"`. A kind of the built-in table is replaced.
        regex: What to look for. If it has a group named `private`, that part is replaced, else all of the match. Every
            quantifier should be bounded or possessive: the text may be hostile.
        needs: Literals of which the text must contain at least one; saves the search on all other text.
        check: Decides on the private part, for example by its check digit; `None` accepts all.

    Raises:
        ConfigurationError: `kind` is not a name, or `regex` is malformed or matches the empty string.

    Example:
        >>> Pattern("customer_number", r"C-[0-9]{8}", needs=("C-",)).kind
        'customer_number'
    """

    kind: str
    regex: str | re.Pattern[str]
    needs: tuple[str, ...] = ()
    check: Callable[[str], bool] | None = None
    compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_kind("Pattern.kind", self.kind)
        try:
            compiled = re.compile(self.regex)
            empty = compiled.search("") is not None
        except (re.error, TypeError) as exc:
            raise ConfigurationError(f"the regex of pattern {self.kind!r} is malformed: {exc}") from exc
        if empty:
            raise ConfigurationError(
                f"the regex of pattern {self.kind!r} matches nothing at all; let it need a character"
            )
        object.__setattr__(self, "compiled", compiled)

    def spans(self, match: re.Match[str]) -> Iterable[tuple[int, int]]:
        """Return start and end of the private parts of `match`."""
        group = "private" if "private" in match.re.groupindex else 0
        if match[group] and (self.check is None or self.check(match[group])):
            yield match.span(group)


@dataclass(frozen=True, slots=True)
class _Special(Pattern):
    """A pattern whose private part needs more than a group to be found."""

    find: Spans | None = None

    def spans(self, match: re.Match[str]) -> Iterable[tuple[int, int]]:
        return self.find(match) if self.find else ()


def _credentials(match: re.Match[str]) -> Iterable[tuple[int, int]]:
    """User and password of a URL; a user alone only if it is long enough to be a token."""
    userinfo, at, _ = match["authority"].rpartition("@")
    if at and (":" in userinfo or len(userinfo) >= 16) and not (userinfo[:1] == "[" and userinfo[-1:] == "]"):
        start = match.start("authority")
        yield start, start + len(userinfo)


_SEPARATORS: Final = re.compile(r"[ \u00a0\u202f-]")


def _cards(match: re.Match[str]) -> Iterable[tuple[int, int]]:
    """The card numbers in a chain of digit groups: groups of one run, or of 4-4-4-4, 4-6-5 and the like."""
    groups = [(group.start(), group.end()) for group in _DIGITS.finditer(match.string, *match.span())]
    index = 0
    while index < len(groups):
        start = groups[index][0]
        digits = ""
        found = 0
        for count, (left, right) in enumerate(groups[index : index + 6], 1):
            digits += match.string[left:right]
            if len(digits) > 19 or (count > 1 and (right - left < 2 or groups[index][1] - start != 4)):
                break
            if len(digits) >= 12 and is_card(digits):
                found = count
        if found:
            yield start, groups[index + found - 1][1]
        index += found or 1


_DIGITS: Final = re.compile(r"\d+", re.ASCII)


def _iban(match: re.Match[str]) -> Iterable[tuple[int, int]]:
    """The account number at the start of a run of letters and digits that may go on with other words."""
    text = match.string
    start = match.start() - 2
    length = IBAN_LENGTHS.get(text[start : start + 2].upper(), 0)
    characters: list[str] = []
    end = start
    while end < match.end() and len(characters) < length:
        if text[end] not in " -\u00a0":
            characters.append(text[end])
        end += 1
    number = "".join(characters)
    if number.islower() and number.isalnum():
        number = number.upper()
    if len(number) == length > 0 and not text[end : end + 1].isalnum() and is_iban(number):
        yield start, end


def _ssn(match: re.Match[str]) -> Iterable[tuple[int, int]]:
    if is_ssn("".join(_DIGITS.findall(match[0]))):
        yield match.span()


def _phone(match: re.Match[str]) -> Iterable[tuple[int, int]]:
    if 8 <= sum(map(len, _DIGITS.findall(match[0]))) <= 15:
        yield match.span()


def _national(match: re.Match[str]) -> Iterable[tuple[int, int]]:
    """A number with its trunk zero, as it is dialled within a country."""
    if 9 <= sum(map(len, _DIGITS.findall(match[0]))) <= 11:
        yield match.span()


def _is_secret_word(text: str) -> bool:
    """Tell a token from a word such as "authentication": by a digit, a mark inside, or its length."""
    return len(text) >= 24 or any(character.isdigit() or character in "._~+/=" for character in text[:-1])


def _is_email(text: str) -> bool:
    return text.rpartition(".")[2].lower() not in _FILE_ENDINGS


_FILE_ENDINGS: Final = frozenset(
    ["avif", "css", "gif", "ico", "jpeg", "jpg", "js", "json", "map", "png", "svg", "webp"]
)
_DOMAIN: Final = r"(?:(?:[\w-]{1,63}\.){1,10}(?:xn--[\w-]{2,59}|[^\W\d_]{2,24})|\[[0-9A-Fa-f:.]{3,45}\])"


BUILT_IN: Final = (
    Pattern(
        "private_key",
        r"-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?!-----END)[\s\S])*+(?:-----END[^\r\n-]{0,120}-----)?",
        needs=("-----BEGIN",),
    ),
    _Special("url_credentials", r"://(?P<authority>[^\s/?#\"'<>]++)", needs=("://",), find=_credentials),
    Pattern(  # not HTTP: people forget to encode the slash of a database password
        "url_credentials",
        r"(?<![hH][tT][tT][pP])(?<![hH][tT][tT][pP][sS])(?<![wW][sS])(?<![wW][sS][sS])"
        r"://(?P<private>[^\s\"'<>@:/?#\[]*+:[^\s\"'<>@]{1,256}+)@",
        needs=("://",),
    ),
    Pattern(
        "bearer",
        r"(?<!\w)(?:[Bb]earer|BEARER)[ \t:=]{1,4}[\"']?(?P<private>[\w.~+/=-]{8,}+)",
        needs=("earer", "EARER"),
        check=_is_secret_word,
    ),
    Pattern(
        "basic",
        r"(?<!\w)(?:[Bb]asic|BASIC)[ \t:=]{1,4}[\"']?(?P<private>[A-Za-z0-9+/]{6,}+={0,2})",
        needs=("asic", "ASIC"),
        check=is_basic,
    ),
    Pattern(  # curl, wget
        "credentials",
        r"(?<=\s)(?:-u|--user|--proxy-user)(?:=|[ \t]{0,5})"
        r"(?P<private>\"[^\"\s:]*+:[^\"]++\"?|'[^'\s:]*+:[^']++'?|[^\s:\"'$-][^\s:\"']*+:[^\s\"'\[$<{][^\s]*+)",
        needs=(" -u", "-user"),
    ),
    Pattern(
        "jwt",
        r"(?<![\w-])(?:e(?:yJ|yA|wo|w0)[\w-]{8,}+\.[\w/\\+-]{2,}+(?:\.[\w/\\+=-]++){0,4}|ZXlK[\w/+-]{40,}+={0,2})",
    ),
    Pattern("api_key", VENDOR_KEYS, check=is_varied),
    Pattern("webhook", r"(?<=webhook\.office\.com/)webhookb2/[\w@/-]{60,300}+", needs=("webhook.office.com",)),
    Pattern(
        "email",
        rf"(?<![\w.!#$*+^~-])(?<!\w')(?:[\w.!#$*+^~-]++|(?<=\w)'(?=\w))++(?:@|%40){_DOMAIN}",
        needs=("@", "%40"),
        check=_is_email,
    ),
    Pattern(
        "email",
        rf"(?<![\w.!#$%&'*+/=?^`{{|}}~-])[\w.!#$%&'*+/=?^`{{|}}~-]++@{_DOMAIN}|\"[^\"\s]{{1,64}}\"@{_DOMAIN}",
        needs=("@",),
        check=_is_email,
    ),
    _Special(
        "iban",
        r"\d\d(?<=[A-Za-z]{2}..)(?<![0-9A-Za-z].{4})(?:[ \u00a0-]?[A-Za-z0-9]){11,32}+",
        find=_iban,
    ),
    _Special(
        "card",
        r"\d(?<![0-9A-Za-z].)(?<!\d\..)(?=(?:[ \u00a0\u202f-]?\d){11})\d{3,}+(?![0-9A-Za-z])"
        r"(?:[ \u00a0\u202f-]\d{2,}+(?![0-9A-Za-z]))*+"
        r"|\d{4}(?<![0-9A-Za-z.]\d{4})(?:\.\d{4}){3}(?![0-9A-Za-z.])",
        find=_cards,
    ),
    _Special("ssn", r"\d(?<![\w.-].)\d\d([-. \u2011\u2013])\d\d\1\d{4}(?!\w|[-.]\d)", find=_ssn),
    _Special("phone", r"\+(?<![\w+].)[1-9](?:[ ().-]{0,3}\d){7,14}+(?!\d)", needs=("+",), find=_phone),
    _Special(  # North America
        "phone",
        r"\((?<!\w.)[2-9]\d\d\) ?[2-9]\d\d[ .-]\d{4}(?![\w-])"
        r"|[2-9](?<![\w(.+-].)(?<!\d .)\d\d[ .-][2-9]\d\d[ .-]\d{4}(?![\w-])"
        r"|1(?<![\w.+-].)[ .-]\(?[2-9]\d\d\)?[ .-][2-9]\d\d[ .-]\d{4}(?![\w-])",
        find=_phone,
    ),
    _Special("phone", r"0(?<![\w.+:/-].)\d{1,4}[ -]\d{3,8}(?:[ -]\d{3,4})?(?![\w.:-])", find=_national),
)
"""Tried in this order; all text before them has lost the values of private names."""

OPT_IN: Final = (
    Pattern("ip", r"\d(?<![\w.].)\d{0,2}(?:\.\d{1,3}){3}(?![\w.]*\d)", needs=(".",), check=is_ip),
    Pattern(
        "ip",
        r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}+(?:\.\d{1,3}){0,3}(?![\w:])",
        needs=(":",),
        check=is_ip,
    ),
)
"""Forms that many logs need to show."""
