"""Faults of our own, counted and told once.

Telemetry never breaks the application: whatever goes wrong in an observer, a hook, a renderer or an exporter ends
here instead of in the request.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from threading import RLock

_MAX_KINDS = 256
_OTHER = ("other", "other")

_logger = logging.getLogger("asgi_infra")
_lock = RLock()  # a finaliser may end here while its own thread holds the lock
_counts: dict[tuple[str, str], int] = {}
_forks_are_safe = False


def record(place: str, error: BaseException, *, consequence: str = "the request goes on") -> None:
    """Count a fault, and log the first one of its kind with its traceback. Never raises.

    Args:
        place: Where it happened, for example `"tracing.end"`; with the error's type it makes the kind.
        error: What was raised.
        consequence: What it means for the request, for the log.
    """
    kind = (place, type(error).__qualname__.encode("utf-8", "replace").decode())  # a name may hold anything
    with _lock:
        if not _forks_are_safe:
            _survive_forks()
        if kind not in _counts and len(_counts) >= _MAX_KINDS:
            kind = _OTHER
        count = _counts[kind] = _counts.get(kind, 0) + 1
    if count == 1:
        # A logging set-up that raises must not reach the request either.
        with suppress(Exception):
            _logger.error(
                "%s failed with %s; %s, and further faults of this kind are only counted",
                *kind,
                consequence,
                exc_info=error,
            )


def _survive_forks() -> None:
    global _forks_are_safe
    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=_renew_lock)
    _forks_are_safe = True


def _renew_lock() -> None:
    global _lock
    _lock = RLock()  # another thread may have held the old one, which nobody in the child would ever release


def counts() -> dict[tuple[str, str], int]:
    """Return how often each kind of fault, a pair of place and error type, happened in this process."""
    with _lock:
        return dict(_counts)
