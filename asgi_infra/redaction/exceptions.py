"""Exceptions and tracebacks as text, with the secrets that they were near to taken out."""

from __future__ import annotations

from traceback import TracebackException
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

_FRAMES: Final = 64
_EXCEPTIONS: Final = 64
_NAMES: Final = 128
_SHORTEST: Final = 5

Secrets = dict[str, str]
"""Values that must not be shown, and their kinds."""


def exception_text(exc: BaseException, *, local_variables: bool = False) -> str:
    """Return what Python prints for `exc`: traceback, notes, causes, contexts and groups. Nothing is redacted yet.

    Args:
        exc: The exception.
        local_variables: Whether the local variables of each frame are shown.
    """
    formatted = TracebackException.from_exception(
        exc, limit=-_FRAMES, capture_locals=local_variables, compact=True, max_group_width=16, max_group_depth=8
    )
    return "".join(formatted.format()).rstrip("\n")


def secrets_of(exc: BaseException, kind_of: Callable[[str], str]) -> Secrets:
    """Collect the values of private names that `exc` carries as attributes, or that its frames had as variables.

    A message such as `f"no login for {user} with {password}"` shows a secret that no rule could recognise; but the
    frame that raised it still knows which of its variables is a password.
    """
    found: Secrets = {}
    for each in _related(exc):
        found |= secrets_in(_attributes(each), kind_of)
        traceback: TracebackType | None = each.__traceback__
        for _ in range(_FRAMES):
            if traceback is None:
                break
            found |= secrets_in(traceback.tb_frame.f_locals, kind_of)
            traceback = traceback.tb_next
    return found


def secrets_in(values: Mapping[str, object], kind_of: Callable[[str], str]) -> Secrets:
    """Collect the texts among `values` whose names are private."""
    found: Secrets = {}
    for name, value in list(values.items())[:_NAMES]:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str) and len(value) >= _SHORTEST and isinstance(name, str) and (kind := kind_of(name)):
            found[value] = kind
    return found


def _attributes(exc: BaseException) -> Mapping[str, object]:
    attributes = getattr(exc, "__dict__", None)
    return attributes if isinstance(attributes, dict) else {}


def _related(exc: BaseException) -> Iterator[BaseException]:
    """Yield `exc` and all exceptions that its text mentions."""
    queue: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while queue and len(seen) < _EXCEPTIONS:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        queue += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            queue += each.exceptions
