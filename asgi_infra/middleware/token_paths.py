"""Which paths need a token, whichever way the application may read them: if any reading does, the request does."""

from __future__ import annotations

import re
from threading import Lock
from typing import TYPE_CHECKING, Final

from asgi_infra.globs import Matcher, rules_of
from asgi_infra.middleware.readings import raw_readings, readings
from asgi_infra.paths import app_path

if TYPE_CHECKING:
    from asgi_infra.globs import Patterns
    from asgi_infra.types import Scope

_MAX_CACHED: Final = 4096
_MAX_CACHED_PATH: Final = 1024


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
            known = any(map(self._demands, readings(path)))
            if len(path) <= _MAX_CACHED_PATH:
                with self._lock:
                    if len(self._known) >= _MAX_CACHED:
                        self._known.clear()
                    self._known[path] = known
        return known or any(map(self._demands, raw_readings(scope)))

    def _demands(self, path: str) -> bool:
        # Routers that end their patterns with `$`, as Starlette's does, take no notice of a newline at the end.
        return self._demands_as_read(path) or (path[-1:] == "\n" and self._demands_as_read(path[:-1]))

    def _demands_as_read(self, path: str) -> bool:
        if not path.startswith("/"):
            return True
        if self._optional.matches(path):
            return False
        bare = path.rstrip("/")
        return any(
            form.casefold() in self._exact or (self._wild is not None and self._wild.match(form) is not None)
            for form in (path, bare or "/", f"{bare}/")
        )
