"""Check digits and number ranges: what makes sixteen digits a payment card, and other digits just digits."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64decode
from functools import lru_cache
from typing import Final

_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

# First digits of issuers and the lengths of their numbers (ISO/IEC 7812, the issuers' published ranges).
_COMMON_ISSUERS: Final = re.compile(
    r"4\d{12}(?:\d{3}){0,2}"  # Visa
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d{2})\d{12}"  # Discover
    r"|3(?:0[0-5]|09|6\d|[89]\d)\d{11}"  # Diners Club
    r"|35\d{14}|(?:2131|1800)\d{11}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|220[0-4]\d{12}"  # Mir
    r"|(?:50\d\d|5[6-8]\d\d|60\d\d)(?:\d{8}|\d{12})"  # Maestro, Elo, RuPay
    r"|(?:0604|501[89]|50[23][08]|5893|6304|636[23]|6390|67\d\d)\d{8,15}"  # Maestro, Elo, Dankort
    r"|(?:9792|9860|8600)\d{12}"  # Troy, Uzcard, Humo
)
_RARE_ISSUERS: Final = re.compile(
    r"(?:6011|64[4-9]\d|65\d{2}|60\d{2})\d{13,15}|8[12]\d{14}"  # Discover, RuPay
    r"|3(?:0[0-5]|09|6\d|[89]\d)\d{12,16}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{13,15}"  # JCB
    r"|220[0-4]\d{13,15}"  # Mir
    r"|(?:50|5[6-8]|60|63[79])\d{10,17}"  # Maestro, Elo
    r"|1\d{14}"  # UATP
)

# Country: (length, form of the account part), from the SWIFT IBAN registry; n digits, a upper-case letters, c both.
_REGISTRY: Final = (
    "AD8n12c AE19n AL8n16c AT16n AZ4a20c BA16n BE12n BG4a6n8c BH4a14c BI23n BR23n1a1c BY4c4n16c CH5n12c CR18n "
    "CY8n16c CZ20n DE18n DJ23n DK14n DO4c20n EE16n EG25n ES20n FI14n FK2a12n FO14n FR10n11c2n GB4a14n GE2a16n "
    "GI4a15c GL14n GR7n16c GT4c20c HN4a20n HR17n HU24n IE4a14n IL19n IQ4a15n IS22n IT1a10n12c JO4a4n18c KW4a22c "
    "KZ3n13c LB4n20c LC4a24c LI5n12c LT16n LU3n13c LV4a13c LY21n MC10n11c2n MD20c ME18n MK3n10c2n MN16n MR23n "
    "MT4a5n18c MU4a19n3a NI4a20n NL4a10n NO11n OM3n16c PK4a16c PL24n PS4a21c PT21n QA4a21c RO4a16c RS18n RU14n15c "
    "SA2n18c SC4a20n3a SD14n SE20n SI15n SK20n SM1a10n12c SO19n ST21n SV4a20n TL19n TN20n TR6n16c UA6n19c "
    "VA18n VG4a16n XK16n YE4a4n18c"
)
_IBAN_FORMS: Final = {entry[:2]: entry[2:] for entry in _REGISTRY.split()}
_IBAN_CLASSES: Final = {"n": r"\d", "a": "[A-Z]", "c": "[A-Z0-9]"}
IBAN_LENGTHS: Final = {country: 4 + sum(map(int, re.findall(r"\d+", form))) for country, form in _IBAN_FORMS.items()}
"""Length of the account numbers of each country."""

_INVALID_SSNS: Final = frozenset({"078051120"})  # the famous one of a wallet's sample card, withdrawn


def is_card(digits: str) -> bool:
    """Tell whether `digits` (nothing else in it) is a card number: a known issuer, and the Luhn check (ISO/IEC 7812-1).

    Example:
        >>> is_card("4111111111111111"), is_card("4111111111111112")
        (True, False)
    """
    return bool(_COMMON_ISSUERS.fullmatch(digits) or _RARE_ISSUERS.fullmatch(digits)) and _luhn(digits)


def is_common_card(digits: str) -> bool:
    """Tell whether `digits` is a card number of a narrow range; of the wide ranges too many identifiers are.

    Example:
        >>> is_common_card("4111111111111111"), is_common_card("122000000000003")
        (True, False)
    """
    return bool(_COMMON_ISSUERS.fullmatch(digits)) and _luhn(digits)


def _luhn(digits: str) -> bool:
    if len(set(digits)) == 1:
        return False
    values = [ord(digit) - 48 for digit in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


@lru_cache(maxsize=128)  # of the countries; to compile them all would make the import slow
def _iban_form(country: str) -> re.Pattern[str] | None:
    form = _IBAN_FORMS.get(country)
    parts = [f"{_IBAN_CLASSES[kind]}{{{count}}}" for count, kind in re.findall(r"(\d+)([nac])", form or "")]
    return re.compile(r"\d\d" + "".join(parts)) if form else None


def is_iban(text: str) -> bool:
    """Tell whether `text` (no separators) is an IBAN: its country's form, and the mod-97 check (ISO 13616).

    Example:
        >>> is_iban("GB29NWBK60161331926819"), is_iban("GB29NWBK60161331926810")
        (True, False)
    """
    form = _iban_form(text[:2])
    if form is None or not form.fullmatch(text, 2):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def is_ssn(digits: str) -> bool:
    """Tell whether nine digits can be a US social security number: areas 000, 666 and 900 up, group 00 and serial 0000
    were never given out (Social Security Administration).

    Example:
        >>> is_ssn("219099999"), is_ssn("666099999")
        (True, False)
    """
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return (
        area not in ("000", "666")
        and area < "900"
        and group != "00"
        and serial != "0000"
        and digits not in _INVALID_SSNS
    )


def is_ip(text: str) -> bool:
    """Tell whether `text` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_basic(text: str) -> bool:
    """Tell whether `text` is the Base64 of a `user:password` pair (RFC 7617)."""
    try:
        return b":" in b64decode(text[: len(text) // 4 * 4])
    except ValueError:
        return False


def is_varied(text: str) -> bool:
    """Tell whether `text` looks like a random key: placeholders (`AKIAXXXXXXXX`) have too few different characters,
    and lower-case words (`live_reload_of_the_page`) have neither digit nor capital.
    """
    kinds = len(set(text))
    if kinds < 8 and kinds * 2 < len(text):
        return False
    return text != text.lower() or any(map(str.isdigit, text))
