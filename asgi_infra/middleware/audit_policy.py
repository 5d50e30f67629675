"""Which requests are recorded, and how: ordered rules, of which the first that fits counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from asgi_infra.errors import ConfigurationError
from asgi_infra.globs import Globs, Patterns
from asgi_infra.middleware.token_paths import DemandedPaths
from asgi_infra.options import require_flag, require_hook, shown
from asgi_infra.paths import PathRules, app_path

if TYPE_CHECKING:
    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.types import Scope

Level: TypeAlias = Literal["none", "metadata", "request", "response"]
When: TypeAlias = Literal["before_response", "after"]
Text: TypeAlias = "str | Callable[[Exchange], str | None]"

WEBSOCKET: Final = "WEBSOCKET"
"""What stands for the method of a WebSocket connection."""

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS", "TRACE")
"""RFC 9110, section 9.2.1."""

_LEVELS: Final = ("none", "metadata", "request", "response")
_PARAMETER = re.compile(r"\{(\w+)\}")
_CLASS = re.compile(r"[1-5]xx")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRule:
    """One rule: which requests it is for, and how they are recorded. Conditions that are not given always hold.

    Args:
        level: `"none"`; `"metadata"`: who, what, when, how it ended; `"request"`: the request's body too;
            `"response"`: both bodies.
        methods: The methods, in any case; `"WEBSOCKET"` for WebSocket connections.
        paths: Patterns over the path. Like a demand for a token, they are tried without regard to case and with
            whatever else the application may make of a path; with the level `"none"` they are taken to the letter.
        routes: Patterns over the template of the route; `/orders/{id}` means itself.
        users: The users' ids; `None` among them is for nobody in particular.
        statuses: Statuses, also as `"4xx"`. Where none was sent, 500 stands for an error and 499 for a client that
            went away.
        action: The entry's `action`; a function gets the exchange. Default: the method, such as `http.post`, or
            `websocket.connect`.
        resource_type: The entry's `resource_type`, in the same way. Default: `http` or `websocket`.
        resource_id: The name of a path parameter, whose value is the entry's `resource_id`, or a function.
        two_phase: Whether an entry with the result `"attempt"` is durable before the application is called: for what
            must not happen unrecorded. It needs what is known by then: no `routes`, no `statuses`, and of `users` those
            whose token is checked in the same middleware or outside of it.
        when: When the completed entry is durable: `"before_response"` leaves, or `"after"` it. Default: before it,
            unless the rule is in two phases or `on_failure` is `"proceed"`.
        on_failure: What happens when the log does not take the entry: `"refuse"` answers with a 503 in place of the
            application (in two phases) or of its response; `"proceed"` counts a fault, and goes on.

    Raises:
        ConfigurationError: A parameter is wrong, or they don't go together.

    Example:
        >>> AuditRule(methods="POST", paths="/payments/**", action="payment.make", two_phase=True, level="request")
    """

    level: Level = "metadata"
    methods: Iterable[str] | str | None = None
    paths: Patterns | None = None
    routes: Patterns | None = None
    users: Iterable[str | None] | str | None = None
    statuses: Iterable[int | str] | int | str | None = None
    action: Text | None = None
    resource_type: Text | None = None
    resource_id: Text | None = None
    two_phase: bool = False
    when: When | None = None
    on_failure: Literal["refuse", "proceed"] = "refuse"
    is_late: bool = field(init=False, repr=False, compare=False)
    """Whether only the end of an exchange can tell if the rule is for it."""
    _demanded: Callable[[Scope], bool] | None = field(init=False, repr=False, compare=False)
    _routes: Globs | None = field(init=False, repr=False, compare=False)
    _statuses: frozenset[int] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.level not in _LEVELS:
            raise ConfigurationError(f"level must be one of {', '.join(_LEVELS)}, not {shown(self.level)}")
        if self.when not in (None, "before_response", "after"):
            raise ConfigurationError(f"when must be 'before_response', 'after' or None, not {shown(self.when)}")
        if self.on_failure not in ("refuse", "proceed"):
            raise ConfigurationError(f"on_failure must be 'refuse' or 'proceed', not {shown(self.on_failure)}")
        require_flag("two_phase", self.two_phase)
        for name in ("action", "resource_type", "resource_id"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                require_hook(name, value)
            elif value is not None and not value.strip():
                raise ConfigurationError(f"{name} must not be blank")
        if self.two_phase and (self.routes is not None or self.statuses is not None):
            raise ConfigurationError(
                "two_phase must be decided before the application runs, so it can't be had with routes or statuses; "
                "use paths"
            )
        if self.when is None:
            after = self.two_phase or self.on_failure == "proceed"
            self._set("when", "after" if after else "before_response")
        if self.methods is not None:
            self._set("methods", frozenset(map(str.upper, _texts("methods", self.methods))))
        if self.users is not None:
            users = [self.users] if isinstance(self.users, str) else list(self.users)
            _texts("users", [user for user in users if user is not None])
            self._set("users", frozenset(users))
        self._set("is_late", not (self.routes is None and self.statuses is None and self.users is None))
        self._set("_demanded", None if self.paths is None else _demanded(self.paths, self.level))
        self._set("_routes", None if self.routes is None else _routes(self.routes))
        self._set("_statuses", None if self.statuses is None else _statuses(self.statuses))

    def may_be_for(self, method: str, scope: Scope) -> bool:
        """Return whether the rule is for an exchange, as far as method and path can tell."""
        if self.methods is not None and method not in self.methods:
            return False
        return self._demanded is None or self._demanded(scope)

    def is_for(self, route: str | None, status: int, user: str | None) -> bool:
        """Return whether it is, as far as all else can tell."""
        return (
            (self._statuses is None or status in self._statuses)
            and (self._routes is None or (route is not None and self._routes.matches(route)))
            and self.is_for_user(user)
        )

    def is_for_user(self, user: str | None) -> bool:
        """Return whether it is, as far as the user can tell."""
        users: Any = self.users
        return users is None or user in users

    @property
    def is_before_app(self) -> bool:
        """Whether it is decided before the application runs."""
        return self.routes is None and self.statuses is None

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


class Policy:
    """Rules in their order; what no rule is for is not recorded.

    Args:
        rules: The rules.

    Raises:
        ConfigurationError: There are none, or something else is among them.
    """

    def __init__(self, rules: Iterable[AuditRule] | AuditRule) -> None:
        self.rules = (rules,) if isinstance(rules, AuditRule) else _tuple(rules)
        for rule in self.rules:
            if not isinstance(rule, AuditRule):
                raise ConfigurationError(f"policy must hold AuditRule objects, not {type(rule).__name__}")
        if not self.rules:
            raise ConfigurationError("policy must be one AuditRule or several, in their order")

    def candidates(self, method: str, scope: Scope) -> tuple[AuditRule, ...]:
        """Return the rules that may be for an exchange, in their order; empty if it is not recorded in any case."""
        found: list[AuditRule] = []
        for rule in self.rules:
            if rule.may_be_for(method, scope):
                if not found and not rule.is_late:
                    return () if rule.level == "none" else (rule,)
                found.append(rule)
                if not rule.is_late:
                    break
        return tuple(found)


def _tuple(rules: Iterable[AuditRule]) -> tuple[AuditRule, ...]:
    return tuple(rules) if isinstance(rules, Iterable) else ()


def _texts(name: str, values: Iterable[str] | str) -> list[str]:
    texts: list[str] = [values] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(f"{name} must hold texts that aren't blank, not {shown(text)}")
    return texts


def _demanded(patterns: Patterns, level: Level) -> Callable[[Scope], bool]:
    if level != "none":
        return DemandedPaths(patterns, ()).demand
    rules = PathRules(features={"audit": patterns})
    return lambda scope: rules.skips(app_path(scope), "audit")


def _routes(patterns: Patterns) -> Globs:
    texts = _texts("routes", patterns)
    return Globs([_PARAMETER.sub(r"\\{\1\\}", text) for text in texts])


def _statuses(values: Iterable[int | str] | int | str) -> frozenset[int]:
    given = [values] if isinstance(values, (int, str)) else list(values)
    found: set[int] = set()
    for value in given:
        if isinstance(value, str) and _CLASS.fullmatch(value):
            first = int(value[0]) * 100
            found.update(range(first, first + 100))
        elif isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
            found.add(value)
        else:
            raise ConfigurationError(
                f"statuses must hold numbers from 100 to 599 or texts such as '4xx': {shown(value)}"
            )
    return frozenset(found)


DEFAULT_POLICY: Final = (AuditRule(methods=SAFE_METHODS, level="none"), AuditRule())
"""The metadata of every request that may change something, and of every WebSocket connection."""
