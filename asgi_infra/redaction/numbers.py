"""Which digits in a text are a payment card, a bank account, a social security number or a phone number.

Each finder takes the match of a wide search and yields the parts of it that are private. Digits that could as well be
an identifier need a word such as "card" or "call" near them.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from asgi_infra.redaction.checks import IBAN_LENGTHS, is_card, is_common_card, is_iban, is_ssn

if TYPE_CHECKING:
    from collections.abc import Iterable

    Spans = Iterable[tuple[int, int]]

_DIGITS: Final = re.compile(r"\d+", re.ASCII)
_NEAR: Final = 48

# Cards

_GAP: Final = r"[ \t\u00a0\u2007\u2009\u202f\u2010-\u2013_+-]"
CARD: Final = (
    rf"\d(?<![0-9A-Za-z].)(?<!\d\..)(?=(?:{_GAP}{{0,3}}\d){{11}})\d{{3,}}+(?![0-9A-Za-z])"
    rf"(?:{_GAP}{{1,3}}\d{{1,}}+(?![0-9A-Za-z]))*+"
    r"|\d{4}(?<![0-9A-Za-z.]\d{4})(?:\.\d{4}){3}(?![0-9A-Za-z]|\.\w)"
)
_CARD_WORD: Final = re.compile(
    r"(?<![a-z])(?:cards?|ccn?|pan|visa|master|mastercard|maestro|amex|american express|diners|discover|jcb|uatp|credit"
    r"|debit|pa(?:y|ying|yment|yments|id)|charged?|billing|karte|kreditkarte|tarjeta|carte)(?![a-z])",
    re.IGNORECASE,
)
_CARD_GROUPS: Final = frozenset([(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (6, 13)])
_RARE_CARD_GROUPS: Final = frozenset([(4, 4, 4), (4, 4, 5), (4, 4, 4, 1), (4, 4, 4, 3), (4, 3, 3, 3), (8, 8)])


def cards(match: re.Match[str]) -> Spans:
    """Yield the card numbers in a chain of digit groups: groups of one run, or of 4-4-4-4, 4-6-5 and the like."""
    text = match.string
    groups = [(group.start(), group.end()) for group in _DIGITS.finditer(text, *match.span())]
    index = 0
    while index < len(groups):
        size = groups[index][1] - groups[index][0]
        longest = 5 if size in (4, 6, 8) else 1 if size >= 12 else 0
        found = 0
        for count in range(1, 1 + min(longest, len(groups) - index)):
            if _is_card(text, groups[index : index + count]):
                found = count
        if found:
            yield groups[index][0], groups[index + found - 1][1]
        index += found or 1


def _is_card(text: str, groups: list[tuple[int, int]]) -> bool:
    start, end = groups[0][0], groups[-1][1]
    if not 12 <= end - start <= 31:
        return False
    sizes = tuple(right - left for left, right in groups)
    if len(groups) > 1 and sizes not in _CARD_GROUPS and sizes not in _RARE_CARD_GROUPS:
        return False
    digits = "".join(text[left:right] for left, right in groups)
    if not is_card(digits):
        return False
    if len(groups) == 1:
        return is_common_card(digits) or _near(_CARD_WORD, text, start, end)
    gaps = {text[left[1] : right[0]] for left, right in pairwise(groups)}
    if len(gaps) > 1 or (gaps == {"-"} and "-" in (text[start - 1 : start], text[end : end + 1])):  # a piece of a UUID
        return False
    return sizes in _CARD_GROUPS or _near(_CARD_WORD, text, start, end)


def _near(words: re.Pattern[str], text: str, start: int, end: int) -> bool:
    return bool(words.search(text[max(start - _NEAR, 0) : start]) or words.search(text[end : end + _NEAR // 2]))


# Bank accounts

_IBAN_GAPS: Final = " \t\u00a0\u2009\u202f.+-"
IBAN: Final = r"\d\d(?<=[A-Za-z]{2}..)(?<![0-9A-Za-z].{4})(?:[ \t\u00a0\u2009\u202f.+-]{0,2}[A-Za-z0-9]){11,32}+"


def ibans(match: re.Match[str]) -> Spans:
    """Yield the account number at the start of a run of letters and digits that may go on with other words."""
    text = match.string
    start = match.start() - 2
    length = IBAN_LENGTHS.get(text[start : start + 2].upper(), 0)
    characters: list[str] = []
    end = start
    while end < match.end() and len(characters) < length:
        if text[end] not in _IBAN_GAPS:
            characters.append(text[end])
        end += 1
    number = "".join(characters)
    if number.islower() and number.isalnum():
        number = number.upper()
    if len(number) == length > 0 and not text[end : end + 1].isalnum() and is_iban(number):
        yield start, end


# Social security numbers

SSN: Final = r"\d(?<![^\W_].)(?<![.-].)\d\d([-. \u2010\u2011\u2013])\d\d\1\d{4}(?!\w|[-.]\d)"
NAMED_SSN: Final = (
    r"(?i:(?<![a-z])(?:ssn|social[ _-]security(?:[ _-](?:number|no|num))?|itin|tax[ _-]?id))(?![a-z])"
    r"[^\w\n]{0,4}(?:(?:is|no|number|num|was)[^\w\n]{1,3}){0,2}"
    r"(?P<private>\d{3}[-. /_]?\d{2}[-. /_]?\d{4})(?!\w|[-.]\d)"
)

SSN_WORDS: Final = ("ssn", "SSN", "Ssn", "ocial", "OCIAL", "itin", "ITIN", "ax id", "ax_id", "ax-id", "ax ID", "AX ID")


def ssns(match: re.Match[str]) -> Spans:
    """Yield the number, if it can have been given out."""
    group = "private" if "private" in match.re.groupindex else 0
    if is_ssn("".join(_DIGITS.findall(match[group]))):
        yield match.span(group)


# Phone numbers

_EXTENSION: Final = r"(?:[ ,;]{0,2}(?:x|ext\.?|extension)[ .:]{0,2}\d{1,6})?(?!\d)"
INTERNATIONAL: Final = rf"(?:\+(?<![\w+].)|%2[Bb])[1-9](?:[ ().\u00a0-]{{0,3}}\d){{7,14}}+{_EXTENSION}"
ABROAD: Final = rf"00(?<![\w.+:/-]..)[1-9]\d{{0,2}}[ ().\u00a0-](?:[ ().\u00a0-]{{0,3}}\d){{5,12}}+{_EXTENSION}"
_END: Final = r"(?:[ ,;]{0,2}(?:x|ext\.?|extension)[ .:]{0,2}\d{1,6}(?!\d)|(?![\w-]))"
NORTH_AMERICAN: Final = (
    rf"\((?<!\w.)[2-9]\d\d\)[ -]?[2-9]\d\d[ .-]\d{{4}}{_END}"
    rf"|[2-9](?<![\w(.+-].)(?<!\d .)\d\d[ ./-][2-9]\d\d[ .-]\d{{4}}{_END}"
    rf"|1(?<![\w.+-].)[ .-]\(?[2-9]\d\d\)?[ .-][2-9]\d\d[ .-]\d{{4}}{_END}"
)
NATIONAL: Final = (
    r"0(?<![\w.+:/-].)(?:[1-9]\d{0,3}(?:\)[ -]?|[ /-])\d{3,8}(?:[ -]\d{2,5})?|(?<!\d .)[1-9](?:[ .-]\d\d){4}(?! \d))"
    r"(?![\w:/-]|\.\d)"
)
BARE: Final = r"\d(?<![\w.+:/-].)(?!\d{3}-\d\d-\d\d)(?:\d{8,11}+|(?:[ ()./-]{0,2}\d){7,12}+)(?![\w:-]|\.\d)"
_COUNTRY: Final = re.compile(  # calling codes (ITU-T E.164)
    r"(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|2[1-689]\d|3[578]\d|42\d|5[09]\d|6[79]\d|8[0578]\d"
    r"|9[679]\d)"
)
_CALL: Final = (
    r"(?:tele)?phones?|telefon|telephone|tel|mobile|mobil|cell|cellphone|fax|call|calls|called|caller|calling|dial|dialled"
    r"|dialed|sms|whatsapp|hotline|msisdn"
)
_BEFORE_BARE: Final = re.compile(rf"(?<![a-z])(?:{_CALL})(?![a-z])[^\d\n]{{0,12}}$", re.IGNORECASE)
_BEFORE: Final = re.compile(
    rf"(?<![a-z])(?:{_CALL}|contact|number|reach|ring|text)(?![a-z])[^\d\n]{{0,16}}$", re.IGNORECASE
)


def international(match: re.Match[str]) -> Spans:
    """Yield a number with its country: of a length that the country may have, and not just a number with a sign."""
    digits, gaps = _parts(match)
    if not 8 <= len(digits) <= 15 or gaps == ".":
        return
    country = _COUNTRY.match(digits)
    if country is None or (not gaps and len(digits) < 10):
        return
    if country[0] == "1" and not (len(digits) == 11 and digits[1] in "23456789" and digits[4] in "23456789"):
        return
    yield match.span()


def abroad(match: re.Match[str]) -> Spans:
    """Yield a number with its country, dialled with 00."""
    digits = _parts(match)[0][2:]
    if 8 <= len(digits) <= 15 and _COUNTRY.match(digits):
        yield match.span()


def north_american(match: re.Match[str]) -> Spans:
    """Yield ten digits, if their area can be one; with mere spaces between they need a word that tells of a call."""
    digits, gaps = _parts(match)
    area, exchange = digits[-10:-7], digits[-7:-4]
    if area[1:] in ("00", "11") and area not in ("800", "900"):
        return
    if gaps == "  " and (area[1] == "9" or exchange[1:] == "11"):
        return
    text = match.string
    if (
        gaps == "  "
        and match[0] != text.strip()
        and not _BEFORE.search(text[max(match.start() - _NEAR, 0) : match.start()])
    ):
        return
    yield match.span()


def national(match: re.Match[str]) -> Spans:
    """Yield a number with its trunk zero, as it is dialled within a country."""
    digits, gaps = _parts(match)
    start, end = match.span()
    if len(digits) in (10, 11) or (len(digits) == 9 and gaps == "-" and match[0][2] == "-"):
        if match.string[start - 1 : start] == "(":
            start -= 1
        yield start, end


def bare(match: re.Match[str]) -> Spans:
    """Yield digits of any grouping behind a word that tells of a call."""
    if _BEFORE_BARE.search(match.string[max(match.start() - _NEAR, 0) : match.start()]):
        yield match.span()


def _parts(match: re.Match[str]) -> tuple[str, str]:
    """Return the digits of a phone number, without its extension, and what stands between them."""
    number = re.split(r"[ ,;]{0,2}[ex]", match[0], maxsplit=1)[0]
    if number[:1] == "%":
        number = number[3:]
    return "".join(_DIGITS.findall(number)), _DIGITS.sub("", number).strip("+")
