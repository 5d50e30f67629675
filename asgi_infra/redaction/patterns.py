"""The table of what is recognised by its form, whatever it is called."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction import numbers
from asgi_infra.redaction.checks import is_basic, is_ip, is_varied
from asgi_infra.redaction.marks import MARK, check_kind
from asgi_infra.redaction.vendors import INNER_KEYS, VENDOR_KEYS

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
    if at and (":" in userinfo or len(userinfo) >= 16) and not MARK.fullmatch(userinfo):
        start = match.start("authority")
        yield start, start + len(userinfo)


def _command_line(match: re.Match[str]) -> Iterable[tuple[int, int]]:
    """User and password of `curl -u`; what containers and copies call so are users and groups."""
    before = match.string[max(match.start() - 120, 0) : match.start()]
    command = _COMMANDS.findall(before.rpartition("\n")[2])
    if match["private"] and not (command and command[-1] in _OTHER_COMMANDS):
        yield match.span("private")


_COMMANDS: Final = re.compile(
    r"(?<![\w-])(?:curl|wget|https?|docker|podman|nerdctl|chroot|rsync|sudo|sort|python3?)(?=\s)"
)
_OTHER_COMMANDS: Final = frozenset(
    ["docker", "podman", "nerdctl", "chroot", "rsync", "sudo", "sort", "python", "python3"]
)


def _is_secret_word(text: str) -> bool:
    """Tell a token from a word such as "authentication": by a digit, a mark inside, or its length."""
    return len(text) >= 24 or any(character.isdigit() or character in "._~+/=" for character in text[:-1])


def _is_email(text: str) -> bool:
    return text.rpartition(".")[2].lower() not in _FILE_ENDINGS and text[:4] != "git@"


_FILE_ENDINGS: Final = frozenset(
    [
        "avif",
        "cjs",
        "css",
        "csv",
        "gif",
        "gz",
        "htm",
        "html",
        "ico",
        "jpeg",
        "jpg",
        "js",
        "json",
        "jsx",
        "less",
        "lock",
        "map",
        "mjs",
        "mp4",
        "pdf",
        "png",
        "sass",
        "scss",
        "svg",
        "tar",
        "tgz",
        "tsx",
        "txt",
        "wasm",
        "webm",
        "webp",
        "whl",
        "woff",
        "woff2",
        "xml",
        "yaml",
        "yml",
    ]
)
_LETTER: Final = r"[\w\u0900-\u0dff\u0e00-\u0e7f-]"  # \w lacks the vowel signs of Indic scripts and of Thai
_DOMAIN: Final = (
    rf"(?:(?:{_LETTER}{{1,63}}\.){{1,16}}(?:xn--[\w-]{{2,59}}|(?:[^\W\d_]|[\u0900-\u0dff\u0e00-\u0e7f]){{2,24}})"
    r"|\[(?:IPv6:)?[0-9A-Fa-f:.]{3,45}\])"
)


BUILT_IN: Final = (
    Pattern(
        "private_key",
        r"-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?!-----END)[\s\S])*+(?:-----END[^\r\n-]{0,120}-----)?",
        needs=("-----BEGIN",),
    ),
    Pattern(
        "private_key",
        r"---- BEGIN SSH2 [A-Z ]{0,40}PRIVATE KEY ----(?:(?!---- END)[\s\S])*+(?:---- END[A-Z0-9 ]{0,60}----)?",
        needs=("---- BEGIN",),
    ),
    Pattern(  # PuTTY
        "private_key",
        r"Private-Lines: \d{1,4}\s{1,4}(?P<private>(?:[0-9A-Za-z+/=]{1,80}(?:\s{1,2}|\\r|\\n|(?!\w)))++)",
        needs=("Private-Lines",),
    ),
    _Special("url_credentials", r"://(?P<authority>[^\s/?#\"'<>]++)", needs=("://",), find=_credentials),
    Pattern(  # not HTTP: people forget to encode the slash of a database password
        "url_credentials",
        r"://(?<![hH][tT][tT][pP]...)(?<![hH][tT][tT][pP][sS]...)(?<![wW][sS]...)(?<![wW][sS][sS]...)"
        r"(?P<private>[^\s\"'<>@:/?#\[]*+:[^\s\"'<>@]{1,256}+)@",
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
    _Special(  # curl, wget
        "credentials",
        r"(?<=\s)(?:-u|--user|--proxy-user)(?:=|[ \t]{0,5})(?!\d{1,9}:\d{1,9}(?:\s|$))"
        r"(?P<private>\"[^\"\s:]*+:[^\"]++\"?|'[^'\s:]*+:[^']++'?|[^\s:\"'$-][^\s:\"']*+:[^\s\"'\[$<{][^\s]*+)",
        needs=(" -u", "-user"),
        find=_command_line,
    ),
    Pattern(
        "credentials",
        r"(?<![\w-])(?:(?:sshpass|mongo(?:sh|dump|restore|import|export)?|cqlsh|(?:docker|podman|helm|oras|az|oc)"
        r"(?: registry)? login)(?=\s)[^\n|;&]{0,200}?\s-p[ =]?|(?:mysql|mariadb)(?:dump|admin|import|show|check)?(?=\s)"
        r"[^\n|;&]{0,200}?\s-p|(?:redis-cli|valkey-cli)(?=\s)[^\n|;&]{0,200}?\s(?:-a|--pass)[ =]"
        r"|ldap(?:search|add|modify|passwd|whoami)(?=\s)[^\n|;&]{0,200}?\s-w )"
        r"(?P<private>\"[^\"\n]{1,256}\"|'[^'\n]{1,256}'|"
        r"[^\s\"'$<\[-][^\s\"']{0,256}+)",
        needs=("sshpass", "mongo", "cqlsh", " login", "mysql", "mariadb", "-cli", "ldap"),
    ),
    Pattern(  # SQL, netrc, Redis
        "credentials",
        r"(?:(?i:identified\s(?:with\s\S{1,64}\s)?by\s(?:password\s)?)|login\s\S{1,128}\s+password\s|(?:requirepass|masterauth)\s)"
        r"[\"']?(?P<private>[^\s\"'%$?:<{][^\s\"']*+)",
        needs=("dentified", "DENTIFIED", "login", "requirepass", "masterauth"),
    ),
    Pattern(
        "jwt",
        r"(?<![\w-])(?:e(?:yJ|yA|wo|w0)[\w-]{8,}+\.[\w/\\+-]{2,}+(?:\.[\w/\\+=-]++){0,4}|ZXlK[\w/+-]{40,}+={0,2})"
        r"|(?<=[_-])eyJ[\w-]{8,512}+\.[\w/\\+-]{2,}+(?:\.[\w/\\+=-]++){0,4}",
        needs=("eyJ", "eyA", "ewo", "ew0", "ZXlK"),
    ),
    Pattern("api_key", VENDOR_KEYS, check=is_varied),
    *(Pattern("api_key", regex, needs, is_varied) for regex, needs in INNER_KEYS),
    Pattern("webhook", r"(?<=webhook\.office\.com/)webhookb2/[\w@/-]{60,300}+", needs=("webhook.office.com",)),
    Pattern(
        "webhook",
        r"(?<=/api/webhooks/)\d{15,22}/[\w-]{32,100}+|(?<=hooks\.zapier\.com/hooks/)catch/\d{3,12}/\w{4,40}+",
        needs=("/api/webhooks/", "hooks.zapier.com"),
    ),
    Pattern(
        "email",
        rf"(?<![\w.!#$*+^~-])(?<!\w')(?:[\w\u0900-\u0dff\u0e00-\u0e7f.!#$*+^~-]++|(?<=\w)'(?=\w))++(?:@|%(?:25)?40){_DOMAIN}",
        needs=("@", "%40", "%2540"),
        check=_is_email,
    ),
    Pattern(
        "email",
        rf"(?<![\w.!#$%&'*+/=?^`{{|}}~-])[\w.!#$%&'*+/=?^`{{|}}~-]++@{_DOMAIN}|\"[^\"\r\n]{{1,64}}\"@{_DOMAIN}",
        needs=("@",),
        check=_is_email,
    ),
    _Special("iban", numbers.IBAN, find=numbers.ibans),
    _Special("card", numbers.CARD, find=numbers.cards),
    _Special("ssn", numbers.SSN, find=numbers.ssns),
    _Special("ssn", numbers.NAMED_SSN, needs=numbers.SSN_WORDS, find=numbers.ssns),
    _Special("phone", numbers.INTERNATIONAL, needs=("+", "%2B", "%2b"), find=numbers.international),
    _Special("phone", numbers.ABROAD, needs=("00",), find=numbers.abroad),
    _Special("phone", numbers.NORTH_AMERICAN, find=numbers.north_american),
    _Special("phone", numbers.NATIONAL, needs=("0",), find=numbers.national),
    _Special("phone", numbers.BARE, find=numbers.bare),
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
