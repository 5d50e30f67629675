"""Path rules: which features skip which paths.

A rule is a pattern (see `asgi_infra.globs`) over the path that the application routes on (see `app_path`), never over
the host or the query.

A path with a `.` or `..` segment is skipped only by a pattern that spells it out, never through a wildcard or a prefix:
whoever resolves such segments further in would serve `/static/../admin` as `/admin`, unseen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from threading import Lock
from typing import Any, Final, TypeAlias

from asgi_infra.errors import ConfigurationError
from asgi_infra.globs import Matcher, Patterns, Rule, rules_of, shown
from asgi_infra.options import did_you_mean

FEATURES: Final = ("request_id", "tracing", "metrics", "access_log", "audit", "tokens")
"""The features that a rule can switch off for a path."""

Exclude: TypeAlias = "PathRules | Mapping[str, Patterns] | Patterns | None"  # what `PathRules.of` takes

_MAX_CACHED_PATH = 1024  # characters
_ALL = (1 << len(FEATURES)) - 1
_SKIPS = tuple(frozenset(name for bit, name in enumerate(FEATURES) if mask >> bit & 1) for mask in range(_ALL + 1))
_DOT_SEGMENT = re.compile(r"/\.\.?(?![^/])")


def app_path(scope: Mapping[str, Any]) -> str:
    """Return the path that the application routes on: `path` without `root_path`.

    Servers disagree whether `path` includes `root_path` (the ASGI specification says it does), so it is taken off when
    it is there, on a segment border, and otherwise `path` is the answer. Ask before the application runs: frameworks
    change `root_path` while they route.

    Args:
        scope: The scope of an HTTP or WebSocket connection.

    Example:
        >>> app_path({"path": "/api/items", "root_path": "/api"}), app_path({"path": "/apis", "root_path": "/api"})
        ('/items', '/apis')
    """
    path: str = scope["path"]
    root_path: str | None = scope.get("root_path")
    if not root_path:
        return path
    rest = path.removeprefix(root_path.rstrip("/")) or "/"
    return rest if rest.startswith("/") else path


class PathRules:
    """Which features skip which paths. Immutable, and safe to share between threads.

    Args:
        exclude: One pattern or several; what they match is skipped by all features.
        features: More patterns by the name of the feature, one of `FEATURES`, or `"*"` for all of them.
        max_cached: How many answers are kept; when there are more, all are forgotten. 0 keeps none. The answers for
            paths of more than 1024 characters are never kept.

    Raises:
        ConfigurationError: A pattern is malformed, a feature unknown, or `max_cached` not a whole number from 0 up.

    Example:
        >>> rules = PathRules(["/health", "/static/**"], features={"access_log": "/metrics"})
        >>> rules.skips("/static/logo.svg", "tracing"), sorted(rules.skipped("/metrics"))
        (True, ['access_log'])
    """

    def __init__(
        self, exclude: Patterns = (), *, features: Mapping[str, Patterns] | None = None, max_cached: int = 4096
    ) -> None:
        if not isinstance(max_cached, int) or isinstance(max_cached, bool) or max_cached < 0:
            raise ConfigurationError(f"max_cached must be a whole number from 0 up, not {shown(max_cached)}")
        if features is not None and not isinstance(features, Mapping):
            raise ConfigurationError(f"features must map names of features to patterns, not be {shown(features)}")
        rules = [(rule, _ALL) for rule in rules_of(exclude, "exclude")]
        rules += _rules_by_feature(features or {}, "features")
        self._masks: dict[str, int] = {}
        for rule, mask in rules:
            self._masks[rule.pattern] = self._masks.get(rule.pattern, 0) | mask
        groups: dict[int, list[Rule]] = {}
        for rule, _ in rules:
            groups.setdefault(self._masks[rule.pattern], []).append(rule)
        self._groups = [(mask, Matcher(group)) for mask, group in groups.items()]
        self._cache: dict[str, frozenset[str]] = {}
        self._max_cached = max_cached
        self._lock = Lock()

    @classmethod
    def of(cls, value: Exclude) -> PathRules:
        """Return the rules that a middleware's `exclude` parameter stands for.

        Args:
            value: `None` for no rule; one pattern or several for all features; a mapping as for `features`; or rules,
                which are returned as they are.

        Raises:
            ConfigurationError: As from the constructor.

        Example:
            >>> PathRules.of({"*": "/health", "audit": ["/search", "/suggest"]})
            PathRules(features={'*': ['/health'], 'audit': ['/search', '/suggest']})
        """
        if isinstance(value, PathRules):
            return value
        if not isinstance(value, Mapping):
            return cls(() if value is None else value)
        _rules_by_feature(value, "exclude")  # its errors name the parameter that the user has written
        return cls(features=value)

    def skipped(self, path: str) -> frozenset[str]:
        """Return the features that skip this path, as `app_path` gives it."""
        known = self._cache.get(path)
        return self._find(path) if known is None else known

    def skips(self, path: str, feature: str) -> bool:
        """Return whether the feature skips this path."""
        return feature in self.skipped(path)

    def _find(self, path: str) -> frozenset[str]:
        dotted = "/." in path and _DOT_SEGMENT.search(path) is not None
        mask = 0
        for bits, matcher in self._groups:
            if path in matcher.exact if dotted else matcher.matches(path):
                mask |= bits
        found = _SKIPS[mask]
        if self._max_cached and self._groups and len(path) <= _MAX_CACHED_PATH:
            with self._lock:
                if len(self._cache) >= self._max_cached:
                    self._cache.clear()
                self._cache[path] = found
        return found

    def _features(self) -> dict[str, list[str]]:
        features: dict[str, list[str]] = {}
        for pattern, mask in self._masks.items():
            for feature in ("*",) if mask == _ALL else sorted(_SKIPS[mask]):
                features.setdefault(feature, []).append(pattern)
        return features

    def __bool__(self) -> bool:
        return bool(self._masks)

    def __eq__(self, other: object) -> bool:
        return self._masks == other._masks if isinstance(other, PathRules) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._masks.items()))

    def __repr__(self) -> str:
        return f"PathRules(features={self._features()!r})" if self else "PathRules()"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(PathRules, features=self._features(), max_cached=self._max_cached), ()


def _rules_by_feature(features: Mapping[str, Patterns], parameter: str) -> list[tuple[Rule, int]]:
    rules = []
    for feature, patterns in features.items():
        mask = _mask(feature, parameter)
        rules += [(rule, mask) for rule in rules_of(patterns, f"{parameter}[{feature!r}]")]
    return rules


def _mask(feature: str, parameter: str) -> int:
    if feature == "*":
        return _ALL
    if feature in FEATURES:
        return 1 << FEATURES.index(feature)
    raise ConfigurationError(
        f"{parameter}: {shown(feature)} is none of {', '.join(FEATURES)} and * (all of them)"
        f"{did_you_mean(feature, FEATURES)}"
    )
