"""Identifiers that sort by time."""

from __future__ import annotations

import os
from collections import deque
from os import urandom
from time import time_ns

_BLOCK = 256
_DIGITS = 18

_random: deque[str] = deque()
"""The random halves of the next ids: a system call for each would cost more than all else about an id."""
_forks_are_safe = False


def uuid7() -> str:
    """Return a new UUID of version 7 (RFC 9562) in its usual spelling of 36 characters.

    Its first 48 bits are the milliseconds of Unix time, so ids sort by the time at which they were made; the rest
    comes from the operating system. Threads and forked processes never share it.
    """
    try:
        random = _random.popleft()
    except IndexError:
        random = _refill()
    milliseconds = f"{time_ns() // 1_000_000:012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-{random}"


def _refill() -> str:
    global _forks_are_safe
    if not _forks_are_safe:
        if hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=_random.clear)
        _forks_are_safe = True
    digits = urandom(_BLOCK * _DIGITS // 2).hex()
    # RFC 9562, section 5.7: the version 7 and the variant 8 stand before random bits.
    tails = [
        f"7{digits[at : at + 3]}-8{digits[at + 3 : at + 6]}-{digits[at + 6 : at + _DIGITS]}"
        for at in range(0, len(digits), _DIGITS)
    ]
    _random.extend(tails[1:])
    return tails[0]
