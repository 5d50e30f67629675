"""What differs between two states of a thing, for the `details` of an entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgi_infra.audit.encoding import plain
from asgi_infra.redaction.fields import fields_of

_ABSENT = object()


def changes(before: object, after: object) -> dict[str, dict[str, Any]]:
    """Return which fields differ, each with its value before and after.

    Mappings, dataclasses, attrs, pydantic and msgspec objects, named tuples and plain objects are taken apart, at any
    depth; a field in a field is named by its path, with dots. Lists are compared as wholes. `None` stands for a thing
    that is not there yet or no longer: what is made or deleted lists all of its fields.

    Args:
        before: The state before; `None` if the thing was made just now.
        after: The state after; `None` if the thing was deleted.

    Returns:
        Path to `{"before": ..., "after": ...}`, as plain JSON data, sorted by path. Where a field was not there, the
        key is left out.

    Example:
        >>> changes({"status": "new", "to": {"city": "Oslo"}}, {"status": "paid", "to": {"city": "Bergen"}})
        {'status': {'before': 'new', 'after': 'paid'}, 'to.city': {'before': 'Oslo', 'after': 'Bergen'}}
    """
    found: dict[str, dict[str, Any]] = {}
    _compare("", _state(before), _state(after), found)
    return {path: found[path] for path in sorted(found)}


def _state(value: object) -> Any:
    if value is None:
        return {}
    state = plain(value)
    if isinstance(state, dict) or fields_of(value) is not None:
        return state
    try:
        return plain({name: field for name, field in vars(value).items() if not name.startswith("_")})
    except TypeError:  # no object of fields
        return {"value": state}


def _compare(path: str, before: Any, after: Any, found: dict[str, dict[str, Any]]) -> None:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in before.keys() | after.keys():
            inner = key.replace("\\", "\\\\").replace(".", "\\.")
            below = f"{path}.{inner}" if path else inner
            _compare(below, before.get(key, _ABSENT), after.get(key, _ABSENT), found)
    elif type(before) is not type(after) or before != after:
        sides = {"before": before, "after": after}
        found[path] = {side: value for side, value in sides.items() if value is not _ABSENT}
