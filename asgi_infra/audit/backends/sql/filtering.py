"""Filters as conditions of SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from asgi_infra.audit.filter import AuditFilter


def conditions(wanted: AuditFilter, time: Callable[[datetime], object]) -> tuple[list[str], list[object]]:
    """Return the conditions that an entry `e` fulfils if it is wanted, and the values of their `?`, in order.

    Args:
        wanted: The filter.
        time: Gives a time as the database stores it.
    """
    texts = [f"e.{name} = ?" for name in wanted.exact]
    values: list[object] = list(wanted.exact.values())
    prefix = wanted.action_prefix
    if prefix is not None:
        texts += ["e.action >= ?", "e.action < ?"]
        values += [prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)]  # "order." to "order/": texts compare by bytes
    for sign, moment in ((">=", wanted.since), ("<", wanted.until)):
        if moment is not None:
            texts.append(f"e.time {sign} ?")
            values.append(time(moment))
    return texts, values
