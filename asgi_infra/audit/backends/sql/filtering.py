"""Filters as conditions of SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from asgi_infra.audit.filter import AuditFilter


_SELECTIVE: Final = ("user_id", "resource_id", "action", "resource_type")
"""The columns that have indexes, those first that tell entries apart best."""


def conditions(
    wanted: AuditFilter, time: Callable[[datetime], object], *, choose: bool = False
) -> tuple[list[str], list[object]]:
    """Return the conditions that an entry `e` fulfils if it is wanted, and the values of their `?`, in order.

    Args:
        wanted: The filter.
        time: Gives a time as the database stores it.
        choose: Whether only one index is to be used, for a database that does not know which one is the best: of the
            other columns it then sees an expression, `+e.action`, which has none.
    """
    exact = wanted.exact
    best = next((name for name in _SELECTIVE if name in exact), None) if choose else None
    texts = [f"{'+' if best not in (None, name) else ''}e.{name} = ?" for name in exact]
    values: list[object] = list(exact.values())
    prefix = wanted.action_prefix
    if prefix is not None:
        sign = "+" if best is not None else ""
        texts += [f"{sign}e.action >= ?", f"{sign}e.action < ?"]
        values += [prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)]  # "order." to "order/": texts compare by bytes
    for sign, moment in ((">=", wanted.since), ("<", wanted.until)):
        if moment is not None:
            texts.append(f"e.time {sign} ?")
            values.append(time(moment))
    return texts, values
