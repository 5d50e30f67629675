"""Which names hold private values: `password`, `X-Api-Key`, `clientSecret`, `user[card_number]`, ...

A name is split into lower-case words first, so case, snake, camel, kebab and header style are all the same to the
rules. Three kinds of rule decide, and a name that only talks *about* a secret (`token_count`, `password_changed_at`,
`has_cookie`) is let through.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction.marks import KIND, check_kind

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAME: Final = 256
"""Characters of a name that are read; a longer name is not understood, so its value counts as private."""

_CACHED_NAMES: Final = 4096
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Found anywhere in a name, also within one word ("userpassword", "APIkey"): long enough to be nothing else.
_STEMS: Final = {
    "password": "password",
    "passwd": "password",
    "passphrase": "password",
    "passcode": "password",
    "apikey": "api_key",
    "appkey": "api_key",
    "applicationkey": "api_key",
    "aikey": "api_key",
    "consumerkey": "api_key",
    "integrationkey": "api_key",
    "writekey": "api_key",
    "accesskey": "api_key",
    "accountkey": "api_key",
    "authkey": "api_key",
    "servicekey": "api_key",
    "subscriptionkey": "api_key",
    "licensekey": "api_key",
    "secretkey": "secret",
    "sharedkey": "secret",
    "signingkey": "secret",
    "encryptionkey": "secret",
    "masterkey": "secret",
    "hmackey": "secret",
    "clientsecret": "secret",
    "privatekey": "private_key",
    "sshkey": "private_key",
    "credential": "credentials",
    "authorization": "authorization",
    "authheader": "authorization",
    "sessionid": "session",
    "sessionkey": "session",
    "sessid": "session",
    "creditcard": "card",
    "cardnumber": "card",
    "socialsecurity": "ssn",
    "connectionstring": "credentials",
    "contribsyscom": "credentials",
    "gitlabsession": "session",
}

# Found as a word of its own, or as the end of one ("authtoken", "dbpwd").
_ENDINGS: Final = {
    "secret": "secret",
    "secrets": "secret",
    "token": "token",
    "tokens": "token",
    "cookie": "cookie",
    "cookies": "cookie",
    "creds": "credentials",
    "pwd": "password",
}

# Found as a word of its own.
_WORDS: Final = {
    "pw": "password",
    "psw": "password",
    "otp": "code",
    "totp": "code",
    "csrf": "token",
    "xsrf": "token",
    "jwt": "token",
    "cvv": "card",
    "cvv2": "card",
    "cvc": "card",
    "ssn": "ssn",
}

# The whole name, or its last words ("user_email", but not "email_template").
_LAST_WORDS: Final = {
    "pin": "code",
    "pin code": "code",
    "access code": "code",
    "auth code": "code",
    "backup code": "code",
    "backup codes": "code",
    "device code": "code",
    "mfa code": "code",
    "one time code": "code",
    "recovery code": "code",
    "recovery codes": "code",
    "reset code": "code",
    "security code": "code",
    "verification code": "code",
    "code verifier": "code",
    "basic auth": "credentials",
    "dsn": "credentials",
    "account number": "account",
    "routing number": "account",
    "email": "email",
    "e mail": "email",
    "email address": "email",
    "iban": "iban",
    "phone": "phone",
    "phone number": "phone",
    "mobile number": "phone",
    "telephone": "phone",
    "msisdn": "phone",
    "passport number": "identity",
    "national id": "identity",
    "tax id": "identity",
    "driving licence": "identity",
    "drivers license": "identity",
    "date of birth": "birth_date",
    "birth date": "birth_date",
    "dob": "birth_date",
}

_WHOLE_NAMES: Final = {
    "auth": "credentials",
    "pass": "password",
    "sid": "session",
    "pan": "card",
    "ssh key": "private_key",
}

# A name that ends so describes a secret and does not hold one.
_ABOUT_LAST: Final = _set(
    "age alg algorithm at attempts budget bucket class count counts date disabled duration enabled endpoint error "
    "errors exists exp expiration expired expires expiry field fields format index interval issuer kind len length "
    "lifetime limit limits manager max method min missing mode model name names of path policy present "
    "provider quota rate ratio refreshed remaining required reset rotated rotation rules seconds service size source "
    "state status store strength sum template time timeout timestamp total ttl type types updated uri url usage used "
    "valid validator verified version window"
)
_ABOUT_FIRST: Final = _set(
    "allow count disable enable has is max min n needs num require requires supports total use uses"
)
_COUNTED_TOKENS: Final = _set("cached completion generated input output prompt reasoning thinking used")

# Names that are private in a query string only. The first line is the OpenTelemetry list
# (semantic conventions, attribute `url.query`); the second are one-time proofs of OAuth 2, SAML and CAS.
_QUERY_NAMES: Final = _set(
    "xamzsignature xamzcredential xamzsecuritytoken awsaccesskeyid signature sig xgoogsignature "
    "code xgoogcredential samlresponse samlrequest assertion clientassertion ticket"
)


def words_of(name: str) -> list[str]:
    """Split a name into lower-case words, whatever its style.

    Example:
        >>> words_of("X-Api-Key"), words_of("userPassword2"), words_of("AWSAccessKeyId")
        (['x', 'api', 'key'], ['user', 'password', '2'], ['aws', 'access', 'key', 'id'])
    """
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    return [word.casefold() for word in _WORD.findall(name)]


class KeyRules:
    """Decides by name whether a value is private, and of which kind; decisions are kept in a bounded cache.

    Args:
        keys: Further private names. An iterable of names (the kind is then the name itself), or a mapping of names to
            kinds. A name matches wherever its words stand next to each other: `"ref no"` finds `customerRefNo`.
        safe_keys: Whole names that no rule may hide, for example `"session_id"`.
        query: Whether the names that are private in query strings only (`code`, `sig`, ...) count too.

    Raises:
        ConfigurationError: A name is not a string or holds no word, or a kind is not one that a mark can hold.
    """

    def __init__(
        self, keys: Iterable[str] | Mapping[str, str] = (), safe_keys: Iterable[str] = (), *, query: bool = False
    ) -> None:
        named = keys if isinstance(keys, Mapping) else dict.fromkeys(_names("keys", keys), "")
        self._own = [(f" {_phrase('keys', name)} ", _kind_for(name, kind)) for name, kind in named.items()]
        self._safe = frozenset(_phrase("safe_keys", key) for key in _names("safe_keys", safe_keys))
        self._query = query
        self._cache: dict[str, str] = {}

    def kind(self, name: str) -> str:
        """Return the kind of what `name` holds (`"password"`, `"token"`, ...), or `""` when the name says nothing."""
        kind = self._cache.get(name)
        return self._decide(name) if kind is None else kind

    @property
    def kinds(self) -> frozenset[str]:
        """Every kind that these rules may decide for."""
        tables = (_WHOLE_NAMES, _STEMS, _WORDS, _ENDINGS, _LAST_WORDS, dict(self._own))
        return frozenset(("unknown", "query")).union(*(table.values() for table in tables))

    def _decide(self, name: str) -> str:
        if len(name) > MAX_NAME:
            return "unknown"
        kind = self._kind(words_of(name))
        if len(self._cache) >= _CACHED_NAMES:
            self._cache.clear()
        self._cache[str(name)] = kind
        return kind

    def _kind(self, words: list[str]) -> str:
        phrase = " ".join(words)
        if not words or phrase in self._safe:
            return ""
        padded = f" {phrase} "
        for own, kind in self._own:
            if own in padded:
                return kind
        joined = "".join(words)
        if self._query and joined in _QUERY_NAMES:
            return "query"
        if phrase in _WHOLE_NAMES:
            return _WHOLE_NAMES[phrase]
        if words[-1] not in _ABOUT_LAST and words[0] not in _ABOUT_FIRST and "passwordless" not in joined:
            for stem, kind in _STEMS.items():
                if stem in joined:
                    return kind
            counted = words[-1] == "tokens" and not _COUNTED_TOKENS.isdisjoint(words)
            for word in () if counted else words:
                if word in _WORDS:
                    return _WORDS[word]
                for ending, kind in _ENDINGS.items():
                    if word.endswith(ending):
                        return kind
        for count in (3, 2, 1):
            kind = _LAST_WORDS.get(" ".join(words[-count:]), "")
            if kind:
                return kind
        return ""


def _names(parameter: str, names: Iterable[str]) -> Iterable[str]:
    if isinstance(names, (str, bytes)):
        raise ConfigurationError(f"{parameter} must be a collection of names, not one {type(names).__name__}")
    return names


def _kind_for(name: str, kind: str) -> str:
    if kind:
        return check_kind("keys", kind)
    made = "_".join(words_of(name))
    return made if KIND.fullmatch(made) else "key"


def _phrase(parameter: str, name: object) -> str:
    words = words_of(name) if isinstance(name, str) else []
    if not words:
        raise ConfigurationError(f"{parameter} must hold names with at least one letter or digit, not {name!r}")
    return " ".join(words)
