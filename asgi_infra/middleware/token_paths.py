"""Which paths need a token, whichever way the application may read them.

A path that needs none for us, and is one that does for the application, would be a way in. So everything that some
framework, server or proxy is known to make of a path is tried: if any reading needs a token, the request does.
"""

from __future__ import annotations

import re
from threading import Lock
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from asgi_infra.globs import Matcher, rules_of
from asgi_infra.paths import app_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgi_infra.globs import Patterns
    from asgi_infra.types import Scope

_MAX_CACHED: Final = 4096
_MAX_CACHED_PATH: Final = 1024
_MAX_CURIOUS: Final = 2048  # characters
_MAX_READINGS: Final = 64
_PLAIN = re.compile(r"/[\w\-~!$&'()*+,:=@]+(?:[/.][\w\-~!$&'()*+,:=@]+)*", re.ASCII)
_SLASHES = re.compile("/{2,}")
_PARAMETERS = re.compile(";[^/]*")
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_NO_SLASH = "\ue000"  # stands for an encoded slash that is no border of segments


class DemandedPaths:
    """The rule by which a path needs a token: `require` matches a reading of it, and `optional` does not.

    `require` is tried without regard to case, `optional` to the letter. A path without a slash at its beginning, such
    as the `*` of `OPTIONS *`, always needs one.

    Args:
        require: Patterns of paths that need a token.
        optional: Patterns of those among them that do without one.

    Raises:
        ConfigurationError: A pattern is malformed.

    Example:
        >>> paths = DemandedPaths("/**", ["/login", "/static/**"])
        >>> [paths.demand({"path": path}) for path in ("/login", "/static/../admin", "/LOGIN")]
        [False, True, True]
    """

    def __init__(self, require: Patterns, optional: Patterns) -> None:
        rules, exceptions = rules_of(require, "require"), rules_of(optional, "optional")
        demanding = Matcher(rules)
        self._exact = frozenset(path.casefold() for path in demanding.exact)
        wild = demanding.wild
        self._wild = None if wild is None else re.compile(wild.pattern, wild.flags | re.IGNORECASE)
        self._optional = Matcher(exceptions)
        self._always = not exceptions and any(rule.pattern == "/**" for rule in rules)
        self._lock = Lock()
        self._known: dict[str, bool] = {}

    def demand(self, scope: Scope) -> bool:
        """Return whether a request with this scope needs a token."""
        if self._always:
            return True
        path = app_path(scope)
        known = self._known.get(path)
        if known is None:
            known = any(map(self._demands, _readings(path)))
            if len(path) <= _MAX_CACHED_PATH:
                with self._lock:
                    if len(self._known) >= _MAX_CACHED:
                        self._known.clear()
                    self._known[path] = known
        raw = scope.get("raw_path")
        if known or not raw or b"%" not in raw or not _ENCODED_SLASH.search(raw):
            return known
        # Servers decode the slash, and applications that route on the raw path don't.
        text = unquote(_ENCODED_SLASH.sub(b"%EE%80%80", raw.partition(b"?")[0]).decode("latin-1"))
        return any(map(self._demands, _readings(app_path({**scope, "path": text}))))

    def _demands(self, path: str) -> bool:
        if not path.startswith("/"):
            return True
        if self._optional.matches(path):
            return False
        bare = path.rstrip("/")
        return any(
            form.casefold() in self._exact or (self._wild is not None and self._wild.match(form) is not None)
            for form in (path, bare or "/", f"{bare}/")
        )


def _readings(path: str) -> Iterator[str]:
    """Yield a path as it is, and as others may read it; an empty one when that can't be told."""
    yield path
    if _PLAIN.fullmatch(path):
        return
    if len(path) > _MAX_CURIOUS:
        yield ""
        return
    seen = {path}
    pending = [path]
    while pending:
        form = pending.pop()
        for change in _CHANGES:
            reading = change(form)
            if reading in seen:
                continue
            if len(seen) >= _MAX_READINGS:
                yield ""
                return
            seen.add(reading)
            pending.append(reading)
            yield reading


def _resolved(path: str) -> str:
    """Return a path with its dot segments resolved (RFC 3986, section 5.2.4)."""
    kept: list[str] = []
    segments = path.removeprefix("/").split("/")
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


_CHANGES: Final[tuple[Callable[[str], str], ...]] = (
    unquote,
    _resolved,
    lambda path: path.replace("\\", "/"),
    lambda path: _SLASHES.sub("/", path),
    lambda path: _PARAMETERS.sub("", path),
    lambda path: path.partition("\0")[0],
)
"""What becomes of paths on their way, in any order and number."""
