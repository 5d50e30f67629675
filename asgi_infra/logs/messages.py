"""The message of a record: formatted, redacted, whatever its arguments are."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.logs.values import safe_text

if TYPE_CHECKING:
    from asgi_infra.redaction import Redactor

_PLAIN: Final = frozenset([str, int, float, bool, NoneType])
"""Types whose values have no names in them: that they are private shows in the message, too."""


def plain_message(msg: object, args: Any) -> str:
    """Return `msg % args`; arguments that don't fit are shown after the message."""
    text = msg if type(msg) is str else safe_text(msg)
    if not args:
        return text
    try:
        return str(text % args)
    except Exception:  # noqa: BLE001
        # Their types alone: what a value is for is told by a name beside it, and here there is none.
        kinds = [type(arg).__name__ for arg in args] if isinstance(args, tuple) else [type(args).__name__]
        return f"{text} (arguments that don't fit: {', '.join(kinds)})"


def redacted_message(msg: object, args: Any, redactor: Redactor) -> str:
    """Return `msg % args` redacted: what has names in it before it becomes a text, and then the text as a whole."""
    if type(msg) is not str:
        msg = redactor.message(msg) if isinstance(msg, BaseException) else safe_text(redactor(msg))
    if args:
        if type(args) is tuple:
            for arg in args:
                if type(arg) not in _PLAIN:
                    args = tuple(_redacted(each, redactor) for each in args)
                    break
        else:
            args = _RedactedArguments(args, redactor) if isinstance(args, Mapping) else redactor(args)
        msg = plain_message(msg, args)
    return redactor.text(msg)


def _redacted(arg: object, redactor: Redactor) -> object:
    if type(arg) in _PLAIN or isinstance(arg, Number):
        return arg
    return redactor.message(arg) if isinstance(arg, BaseException) else redactor(arg)


class _RedactedArguments:
    """The one mapping that `"%(name)s"` takes its arguments from; its own way to find them stays in use."""

    def __init__(self, mapping: Mapping[str, Any], redactor: Redactor) -> None:
        self._mapping = mapping
        self._redactor = redactor

    def __getitem__(self, name: str) -> object:
        value = self._mapping[name]
        if isinstance(value, Number):
            return value
        redacted = self._redactor({name: value})
        return redacted.get(name) if isinstance(redacted, dict) else redacted

    def __repr__(self) -> str:
        return safe_text(self._redactor(dict(self._mapping)))
