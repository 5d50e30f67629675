"""Secrets by their names: what a process holds under private names, so that texts which show it can be cleaned.

A message such as `f"no login for {user} with {password}"` shows a secret that no rule could recognise; but the frame
that raised it still knows which of its variables is a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.redaction.inputs import quoted_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

_FRAMES: Final = 64
_EXCEPTIONS: Final = 64
_ITEMS: Final = 128
_VALUES: Final = 4096
_SHORTEST: Final = 5
_DEPTH: Final = 3
_EMPTY: Final = frozenset([NoneType, bool, float, complex, str, bytes, int])
_CODE: Final = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)

Secrets = dict[str, str]
"""Texts that must not be shown, and their kinds."""


def secrets_of(exc: BaseException, kind_of: Callable[[str], str]) -> Secrets:
    """Collect what `exc` carries under private names, and what its frames had in private variables.

    Variables are looked into: containers, and the attributes of objects. All of it is bounded.

    Args:
        exc: The exception; its causes, contexts and groups count, too.
        kind_of: Tells the kind of what a name holds, or `""`.
    """
    search = _Search(kind_of)
    for each in _related(exc):
        search.names(_members(each), _DEPTH)
        search.inputs(each)
        traceback: TracebackType | None = each.__traceback__
        for _ in range(_FRAMES):
            if traceback is None:
                break
            search.names(traceback.tb_frame.f_locals.items(), _DEPTH)
            traceback = traceback.tb_next
    return search.found


def secrets_in(value: object, kind_of: Callable[[str], str]) -> Secrets:
    """Collect what an object holds in its private attributes."""
    search = _Search(kind_of)
    search.names(_members(value), _DEPTH)
    return search.found


class _Search:
    """One search, which looks at each object once."""

    def __init__(self, kind_of: Callable[[str], str]) -> None:
        self.found: Secrets = {}
        self._kind_of = kind_of
        self._left = _VALUES
        self._seen: set[int] = set()

    def names(self, items: Iterable[tuple[object, object]], depth: int) -> None:
        """Take the values of private names, and look into the others."""
        with suppress(Exception):  # a dict that another thread changes, an attribute that raises
            for name, value in islice(items, _ITEMS):
                self._left -= 1
                if self._left < 0:
                    return
                if kind := self._kind(name):
                    self._take(kind, value, depth)
                elif depth and type(value) not in _EMPTY:
                    self._look(value, depth - 1)

    def inputs(self, exc: BaseException) -> None:
        """Take what a validation error quotes of its private fields, and look into what it quotes of others."""
        with suppress(Exception):
            for kind, value in quoted_inputs(exc, self._kind):
                if kind:
                    self._take(kind, value, _DEPTH)
                else:
                    self._look(value, _DEPTH)

    def _kind(self, name: object) -> str:
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        return self._kind_of(name) if isinstance(name, str) else ""

    def _look(self, value: object, depth: int) -> None:
        """Look for private names in what is not private itself."""
        if id(value) in self._seen or isinstance(value, _CODE):
            return
        self._seen.add(id(value))
        if isinstance(value, dict):
            self.names(value.items(), depth)
        elif isinstance(value, (list, tuple, set, frozenset)):
            names: Any = getattr(value, "_fields", None)
            if names:
                self.names(zip(names, value, strict=False), depth)
                return
            for item in islice(value, _ITEMS):
                if isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], (str, bytes)):
                    self.names([(item[0], item[1])], depth)  # of a list of headers
                elif depth and type(item) not in _EMPTY:
                    self._look(item, depth - 1)
        elif depth == _DEPTH - 1 or depth == _DEPTH:
            self.names(_members(value), depth - 1)  # of the variables themselves: an object leads to all others

    def _take(self, kind: str, value: Any, depth: int) -> None:
        """Take a text, or all texts in a container."""
        if isinstance(value, bool):
            return
        if isinstance(value, int):
            value = repr(value) if abs(value) < 10**40 else ""
        if isinstance(value, str):
            self._add(kind, value)
        elif isinstance(value, (bytes, bytearray)):
            self._add(kind, bytes(value).decode("utf-8", "replace"))
            self._add(kind, repr(bytes(value))[2:-1])
        elif isinstance(value, (dict, list, tuple, set, frozenset)):
            items = value.values() if isinstance(value, dict) else value
            for item in islice(items, _ITEMS):
                self._left -= 1
                if depth and self._left >= 0:
                    self._take(kind, item, depth - 1)
        elif hasattr(type(value), "get_secret_value"):
            self._take(kind, value.get_secret_value(), 1)
        elif value is not None:
            self._look(value, depth)

    def _add(self, kind: str, text: str) -> None:
        if len(text) < _SHORTEST or text.isspace():
            return
        self.found[text] = kind
        if not text.isalnum() or not text.isascii():  # as other texts may quote it
            self.found[repr(text)[1:-1]] = self.found[ascii(text)[1:-1]] = kind


def _members(value: object) -> Iterator[tuple[str, object]]:
    """Yield the attributes that an object itself holds; nothing is computed for that."""
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, Mapping):
        yield from attributes.items()
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            # A private name of a class is mangled.
            mangled = f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") else name
            with suppress(AttributeError):  # not set
                yield name, object.__getattribute__(value, mangled)


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
