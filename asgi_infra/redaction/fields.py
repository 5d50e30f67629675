"""What an object is made of, by the rules of its class: dataclasses, attrs, pydantic, msgspec, named tuples."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ABSENT = object()


def fields_of(value: object) -> dict[str, Any] | None:
    """Return the fields that the `repr` of `value` shows, or `None` if its class declares none.

    A field that its author has hidden (`repr=False`) stays hidden.
    """
    cls = type(value)
    for marker, names in _READERS:
        if isinstance(getattr(cls, marker, None), (dict, tuple)):
            return {name: field for name in names(value) if (field := getattr(value, name, _ABSENT)) is not _ABSENT}
    return None


def plain_text(value: object) -> str:
    """Return the `repr` of `value`, or the name of its type if there is none."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - whatever a class of others does
        return type(value).__name__


def _dataclass(value: Any) -> Iterable[str]:
    return [field.name for field in dataclass_fields(value) if field.repr]


def _attrs(value: Any) -> Iterable[str]:
    return [attribute.name for attribute in type(value).__attrs_attrs__ if attribute.repr]


def _pydantic(value: Any) -> Iterable[str]:
    declared = type(value).model_fields
    extra = value.__pydantic_extra__ or {}
    return [name for name, field in declared.items() if field.repr] + list(extra)


def _struct(value: Any) -> Iterable[str]:
    names: Iterable[str] = value.__struct_fields__
    return names


def _named_tuple(value: Any) -> Iterable[str]:
    names: Iterable[str] = value._fields
    return names


_READERS: tuple[tuple[str, Callable[[Any], Iterable[str]]], ...] = (
    ("__dataclass_fields__", _dataclass),
    ("__attrs_attrs__", _attrs),
    ("__pydantic_fields__", _pydantic),
    ("__struct_fields__", _struct),
    ("_fields", _named_tuple),
)
