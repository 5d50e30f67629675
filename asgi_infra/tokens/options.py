"""What every token store can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_hook, require_integer, require_number, require_seconds
from asgi_infra.tokens.clock import Clock, utc_now
from asgi_infra.tokens.identifiers import Hashing, Keys

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_GRACE = 300.0
_RETRY_SECONDS = 10.0
_MAX_SECONDS = 10 * 365.25 * 86400


class StoreOptions(TypedDict, total=False):
    """The options of every token store; `TokenStore` documents them."""

    key: Keys
    grace: float
    idle_lifetime: float | None
    absolute_lifetime: float | None
    max_sessions: int | None
    touch_interval: float
    leeway: float
    generation_lifetime: float
    encrypt: Callable[[bytes], bytes] | None
    decrypt: Callable[[bytes], bytes] | None
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """The options of a store, checked."""

    key: Keys = None
    grace: float = 30.0
    idle_lifetime: float | None = None
    absolute_lifetime: float | None = None
    max_sessions: int | None = None
    touch_interval: float = 60.0
    leeway: float = 60.0
    generation_lifetime: float = 90 * 86400.0
    encrypt: Callable[[bytes], bytes] | None = None
    decrypt: Callable[[bytes], bytes] | None = None
    clock: Clock = utc_now

    def __post_init__(self) -> None:
        require_number("grace", self.grace, _MAX_GRACE, "a number of seconds from 0 to 300")
        for name in ("touch_interval", "leeway"):
            require_number(name, getattr(self, name), 86400, "a number of seconds from 0 to 86400")
        for name in ("idle_lifetime", "absolute_lifetime", "generation_lifetime"):
            require_seconds(name, getattr(self, name), optional=name != "generation_lifetime")
            if (getattr(self, name) or 0) > _MAX_SECONDS:
                raise ConfigurationError(f"{name} must be at most ten years")
        if self.idle_lifetime is not None and self.touch_interval >= self.idle_lifetime:
            raise ConfigurationError("touch_interval must be shorter than idle_lifetime, or tokens in use would expire")
        if self.max_sessions is not None:
            require_integer("max_sessions", self.max_sessions, minimum=1)
        if (self.encrypt is None) != (self.decrypt is None):
            raise ConfigurationError("encrypt and decrypt must be given together")
        for name in ("encrypt", "decrypt", "clock"):
            if getattr(self, name) is not None:
                require_hook(name, getattr(self, name))

    @property
    def kept_used(self) -> float:
        """For how many seconds a used token is kept: the grace period, and long enough to repeat a lost call."""
        return max(self.grace, _RETRY_SECONDS)

    def hashing(self) -> Hashing:
        """Return what turns identifiers into their stored form."""
        return Hashing.of(self.key)
