"""Checks that the options of several parts share; all raise `ConfigurationError`."""

from __future__ import annotations

import math
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable


def require_flag(name: str, value: object) -> None:
    """Refuse anything but `True` and `False`: the string `"false"` would count as true."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {shown(value)}")


def require_hook(name: str, value: object) -> None:
    """Refuse what can't be called, and coroutine functions, whose answer would never be waited for."""
    if not callable(value):
        raise ConfigurationError(f"{name} must be callable, not {type(value).__name__}")
    if iscoroutinefunction(value) or iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
        raise ConfigurationError(f"{name} must be a plain function, not a coroutine function: nothing waits for it")


def require_number(name: str, value: object, maximum: float, meaning: str) -> None:
    """Refuse anything but an `int` or a `float` from 0 to `maximum`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= maximum:
        raise ConfigurationError(f"{name} must be {meaning}, not {shown(value)}")


def require_integer(name: str, value: object, *, minimum: int) -> None:
    """Refuse anything but an `int` of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(
            f"{name} must be an int, not {_kind(value)}; give a whole number of at least {minimum}"
        )
    if value < minimum:
        raise ConfigurationError(f"{name} must be at least {minimum}, not {_short(value)}")


def require_seconds(name: str, value: object, *, optional: bool = False) -> None:
    """Refuse anything but a finite number of seconds above zero, or `None` where that is `optional`."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        alternative = " or None" if optional else ""
        raise ConfigurationError(f"{name} must be a number of seconds{alternative}, not {_kind(value)}")
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be more than 0 seconds and finite, not {_short(value)}")


def shown(value: object) -> str:
    """Return a short form of a value for an error message; of what may hold more than it shows, the type alone."""
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 10**18):
        return repr(value)
    if isinstance(value, str) and len(value) <= 64:
        return ascii(value)
    if isinstance(value, (list, tuple, dict, set, frozenset)) and not value:
        return repr(value)
    return f"a value of type {type(value).__name__}"


def refuse_unknown_options(owner: type, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise the `TypeError` for an option that neither `known` nor the signature of `owner` has."""
    known = set(known)
    for name in given:
        if name not in known:
            own = [each.name for each in signature(owner).parameters.values() if each.kind is each.KEYWORD_ONLY]
            raise TypeError(f"{owner.__name__} has no option {name!r}{did_you_mean(name, sorted([*known, *own]))}")


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return the end of an error message, "; did you mean 'redis'?", where a text is near a known one, else nothing."""
    from difflib import get_close_matches

    near = get_close_matches(value.lower(), list(known), n=1) if isinstance(value, str) and len(value) <= 64 else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _short(value: float) -> str:
    # str() of an int with thousands of digits raises
    return str(value) if isinstance(value, float) or abs(value) < 10**18 else "a huge number"
