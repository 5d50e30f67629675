"""JSON values that can't be changed: equal to, encoded like and usable as the dictionaries and lists that they are."""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError("metadata of a token can't be changed; make a new token, or take dict(token.metadata)")


class FrozenDict(dict[str, Any]):
    """A dictionary that can't be changed."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def __deepcopy__(self, memo: object) -> FrozenDict:
        return self


class FrozenList(list[Any]):
    """A list that can't be changed."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = insert = pop = _refuse
    remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)

    def __deepcopy__(self, memo: object) -> FrozenList:
        return self


EMPTY = FrozenDict()


def frozen(value: Any) -> Any:
    """Return what JSON was decoded to, as values that can't be changed."""
    if isinstance(value, dict):
        return FrozenDict({key: frozen(each) for key, each in value.items()}) if value else EMPTY
    return FrozenList([frozen(each) for each in value]) if isinstance(value, list) else value
