"""Identifiers that sort by time."""

from __future__ import annotations

from os import urandom
from time import time_ns

# RFC 9562, section 5.7: 48 bits of milliseconds, then 74 random bits around the version 7 and the variant 10.
_RANDOM_BITS = 0x0FFF_3FFF_FFFF_FFFF_FFFF
_VERSION_AND_VARIANT = 0x7000_8000_0000_0000_0000


def uuid7() -> str:
    """Return a new UUID of version 7 (RFC 9562) in its usual spelling of 36 characters.

    Its first 48 bits are the milliseconds of Unix time, so ids sort by the time at which they were made; the rest
    comes from the operating system, so that forked processes never repeat each other.
    """
    value = (time_ns() // 1_000_000) << 80 | int.from_bytes(urandom(10)) & _RANDOM_BITS | _VERSION_AND_VARIANT
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
