r"""Patterns over paths, on whole segments, compiled to one matcher that takes linear time.

| pattern | matches |
|---|---|
| `/health` | that path only: neither `/health/` nor `/healthcare` |
| `/items/*` | one segment that isn't empty: `/items/7`, not `/items`, `/items/`, `/items/7/edit` |
| `/v?/*.js` | `*` any text and `?` one character, both within a segment |
| `/[a-z]*`, `/[!_]*` | one character of a set, or one outside of it; never a `/` |
| `/{css,js/lib}/*` | any of the alternatives; they may nest, be empty, and hold other wildcards |
| `/static/**` | `**`, always a segment of its own, is any number of segments: `/static`, `/static/`, `/static/a/b` |
| `/a\*b` | a backslash takes the next metacharacter literally |
| `prefix:/internal` | literally `/internal` and all below it: `/internal/x`, not `/internals` |

Text is compared by code point and case. A trailing slash or a `//` makes an empty segment, which `**` and prefixes
match, wildcards within a segment don't, and a pattern can write out. Servers decode percent-escapes: an encoded slash
is a slash like any other.

Matching takes linear time. Without braces, which are expanded first, the text between two `*` has a fixed number of
characters, and what is between two `**` a fixed number of segments. So the leftmost place where such a piece fits is
always good enough, and each becomes an atomic group, which is never tried again once it has matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple, NoReturn, TypeAlias

from asgi_infra.errors import ConfigurationError

Patterns: TypeAlias = str | Iterable[str]  # one, or several

_MAX_LENGTH = 1024  # characters of one pattern
_MAX_EXPANSIONS = 1024  # paths without braces that one pattern stands for
_END_OF_SEGMENT = "(?![^/])"


class Matcher:
    """Rules as a set of literal paths and one alternation."""

    def __init__(self, rules: list[Rule]) -> None:
        self.exact = frozenset(text for rule in rules for text in rule.exact)
        wild = dict.fromkeys(regex for rule in rules for regex in rule.wild)
        self.wild = re.compile(f"(?=/)(?:{'|'.join(wild)})", re.DOTALL) if wild else None

    def matches(self, path: str) -> bool:
        """Return whether any pattern matches the whole of the path."""
        return path in self.exact or (self.wild is not None and self.wild.match(path) is not None)


class Globs(Matcher):
    """Patterns as one matcher: does any of them match the path?

    Unlike in `PathRules`, dot segments are ordinary text here: `/admin/**` matches `/admin/../x`. A rule that demands
    something (a token, an audit entry) errs on the safe side when it matches more.

    Args:
        patterns: One pattern or several, as the module's documentation describes them.

    Raises:
        ConfigurationError: A pattern is malformed; the message quotes it and points at the fault.

    Example:
        >>> Globs(["/admin/**", "/users/*/edit"]).matches("/users/7/edit")
        True
    """

    def __init__(self, patterns: Patterns) -> None:
        rules = rules_of(patterns, "patterns")
        super().__init__(rules)
        self.patterns = tuple(dict.fromkeys(rule.pattern for rule in rules))

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __repr__(self) -> str:
        return f"Globs({list(self.patterns)!r})"


class _Token(NamedTuple):
    kind: str  # "text" (one literal character), "one" (one by regular expression), "/", "*" or "**"
    text: str
    column: int


class Rule:
    """One pattern, read: the literal paths and the regular expressions that it stands for."""

    def __init__(self, pattern: str, where: str) -> None:
        if not isinstance(pattern, str):
            raise ConfigurationError(f"{where} must be a pattern such as '/health' (a str), not {shown(pattern)}")
        self.pattern, self.where = pattern, where
        self.exact: list[str] = []
        self.wild: list[str] = []
        if len(pattern) > _MAX_LENGTH:
            self._fail(_MAX_LENGTH, f"a pattern has at most {_MAX_LENGTH} characters, and this one has {len(pattern)}")
        start = len("prefix:") if pattern.startswith("prefix:") else 0
        if not pattern.startswith("/", start):
            self._fail(start, "a path starts with '/'")
        if start:
            self.wild = [re.escape(pattern[start:]) + ("" if pattern.endswith("/") else _END_OF_SEGMENT)]
            return
        for tokens in self._expand():
            if all(token.kind in ("text", "/") for token in tokens):
                self.exact.append("".join(token.text for token in tokens))
            else:
                self.wild.append(self._translate(tokens))

    def _fail(self, index: int, why: str) -> NoReturn:
        excerpts = self.pattern[max(0, index - 60) : index], self.pattern[index : index + 40]
        before, after = (repr(excerpt)[1:-1].replace("\\\\", "\\") for excerpt in excerpts)
        raise ConfigurationError(
            f"{self.where}: malformed path pattern {shown(self.pattern)}, column {index + 1}: {why}\n"
            f"    {before}{after}\n    {' ' * len(before)}^"
        )

    def _expand(self) -> list[list[_Token]]:
        """Read the pattern, and return what it stands for when its braces are written out."""
        current: list[list[_Token]] = [[]]
        braces: list[tuple[int, list[list[_Token]], list[list[_Token]]]] = []  # where, what precedes, alternatives
        index = 0
        while index < len(self.pattern):
            char = self.pattern[index]
            if char == "{":
                braces.append((index, current, []))
                current = [[]]
            elif char == "," and braces:
                braces[-1][-1].extend(current)
                current = [[]]
            elif char == "}" and braces:
                start, before, alternatives = braces.pop()
                if not alternatives:
                    self._fail(start, "braces hold alternatives, as in {a,b}; for any one segment write *")
                alternatives.extend(current)
                if len(before) * len(alternatives) > _MAX_EXPANSIONS:
                    self._fail(start, f"the braces up to here stand for more than {_MAX_EXPANSIONS} paths")
                current = [[*head, *tail] for head in before for tail in alternatives]
            else:
                token, index = self._token(index)
                for tokens in current:
                    tokens.append(token)
                continue
            index += 1
        if braces:
            self._fail(braces[-1][0], r"this brace is never closed; write \{ for a literal one")
        return current

    def _token(self, index: int) -> tuple[_Token, int]:  # and where the next one starts
        char = self.pattern[index]
        if char == "*":
            kind = "**" if self.pattern.startswith("**", index) else "*"
            return _Token(kind, "", index), index + len(kind)
        if char in "]}":
            self._fail(index, rf"there is nothing to close here; write \{char} for a literal one")
        if char == "[":
            text, end = self._set(index)
            return _Token("one", text, index), end
        if char == "?":
            return _Token("one", "[^/]", index), index + 1
        text, end = self._char(index)
        return _Token("/" if text == "/" else "text", text, index), end

    def _char(self, index: int) -> tuple[str, int]:
        """Read one literal character, escaped or not."""
        if self.pattern[index] != "\\":
            return self.pattern[index], index + 1
        escaped = self.pattern[index + 1 : index + 2]
        if not escaped or escaped.isalnum() or escaped == "/":
            self._fail(index, r"a backslash takes a metacharacter after it, such as \*; write \\ for a literal one")
        return escaped, index + 2

    def _set(self, start: int) -> tuple[str, int]:
        """Read `[...]` as the regular expression of one character that is never a slash."""
        if self.pattern.startswith("^", start + 1):
            self._fail(start + 1, r"write [!...] for any other character, or \^ for a literal one")
        negated = self.pattern.startswith("!", start + 1)
        end, index = len(self.pattern), start + 1 + negated
        parts: list[str] = []
        while index < end and self.pattern[index] not in "]/":
            first = index
            low, index = self._char(index)
            high = low
            if index + 1 < end and self.pattern[index] == "-" and self.pattern[index + 1] not in "]/":
                high, index = self._char(index + 1)
            if high < low:
                self._fail(first, f"this range is reversed: {low!r} comes after {high!r}")
            spans = [(low, "."), ("0", high)] if low < "/" < high else [(low, high)]
            parts += ["-".join(map(re.escape, span)) for span in spans]
        if not self.pattern.startswith("]", index):
            self._fail(start, r"this bracket is not closed within its segment; write \[ for a literal one")
        if not parts:
            self._fail(start, r"a set can't be empty; write \] for a literal bracket in it")
        return f"[{'^/' if negated else ''}{''.join(parts)}]", index + 1

    def _translate(self, tokens: list[_Token]) -> str:
        """Return the regular expression of a pattern without braces."""
        groups = [""]  # what stands between two `**`
        for segment in _split(tokens[1:], "/"):
            wide = [token for token in segment if token.kind == "**"]
            if not wide:
                groups[-1] += _segment(segment)
            elif len(segment) > 1:
                self._fail(wide[0].column, "** must be a whole segment, as in /a/**/b; within a segment write *")
            else:
                groups.append("")
        if len(groups) == 1:
            return rf"{groups[0]}\Z"
        first, *middle, last = groups
        tail = rf"(?>.*?{last}\Z)" if last else ""
        return first + "".join(f"(?>.*?{group})" for group in middle if group) + tail


def _segment(tokens: list[_Token]) -> str:
    """Return the regular expression of a slash and one segment."""
    chunks = [
        "".join(re.escape(token.text) if token.kind == "text" else token.text for token in chunk)
        for chunk in _split(tokens, "*")
    ]
    if len(chunks) == 1:
        return f"/{chunks[0]}{_END_OF_SEGMENT}"
    if not any(chunks):
        return "/[^/]++"
    first, *middle, last = chunks
    tail = f"(?>[^/]*?{last}{_END_OF_SEGMENT})" if last else "[^/]*+"
    return f"/{first}" + "".join(f"(?>[^/]*?{chunk})" for chunk in middle if chunk) + tail


def _split(tokens: list[_Token], kind: str) -> list[list[_Token]]:
    borders = [index for index, token in enumerate(tokens) if token.kind == kind]
    return [tokens[start + 1 : end] for start, end in pairwise([-1, *borders, len(tokens)])]


def rules_of(patterns: Patterns, name: str) -> list[Rule]:
    if isinstance(patterns, str):
        return [Rule(patterns, name)]
    if not isinstance(patterns, Iterable) or isinstance(patterns, (bytes, Mapping)):
        raise ConfigurationError(f"{name} must be a pattern such as '/health', or several, not {shown(patterns)}")
    return [Rule(pattern, f"{name}[{number}]") for number, pattern in enumerate(patterns)]


def shown(value: object) -> str:
    """A short and safe form of a value for a message: simple values as they are, of others the type."""
    if value is not None and not isinstance(value, (str, int, float)):
        return f"a value of type {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
