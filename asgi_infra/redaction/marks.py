"""What stands where a private value was: `[REDACTED:email]`, `[email:9f3c2a]` or `[REDACTED:card:1111]`."""

from __future__ import annotations

import re
from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

KIND: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
"""How the name of a kind may look."""

_DIGEST_BYTES: Final = 3
_SHOWN: Final = 4
_MIN_FOR_LAST: Final = 12

MARK: Final = re.compile(
    rf"REDACTED|\[REDACTED:{KIND.pattern}(?::[^\s\[\]:]{{1,{_SHOWN}}})?\]"
    rf"|\[{KIND.pattern}:[0-9a-f]{{{_DIGEST_BYTES * 2}}}\]"
    r"|\[UNSCANNED(?: \d{1,12} (?:chars|items)| depth)\]|\[CYCLE\]"
)
"""Everything that a redactor puts in place of values; such text is never redacted again."""

Counts = defaultdict[str, int]
"""How many values of each kind were replaced."""

ERROR: Final = "[REDACTED:error]"
CYCLE: Final = "[CYCLE]"
TOO_DEEP: Final = "[UNSCANNED depth]"


def unscanned(count: int, unit: str) -> str:
    """Return the mark for `count` chars or items that were not looked at."""
    return f"[UNSCANNED {count} {unit}]"


def failed(counts: Counts) -> str:
    """Count a failure, and return the mark for what could therefore not be looked at."""
    counts["error"] += 1
    return ERROR


class Marks:
    """Makes the marks.

    Args:
        pseudonym_key: A secret of the deployment, at least 16 bytes. With it, a mark holds a keyed hash (BLAKE2b, 24
            bits) of the value, the same in every process that has the key, so that lines can be correlated.
        keep_last: Kinds whose last four characters are shown, if the value has twelve or more. The pseudonym key has
            no effect on these.
        kinds: Those that there are.

    Raises:
        ConfigurationError: The key is too short or not bytes; a kind is not a name, or there is none of that name.
    """

    def __init__(
        self,
        pseudonym_key: bytes | None = None,
        keep_last: Iterable[str] = (),
        kinds: frozenset[str] = frozenset(),
    ) -> None:
        if pseudonym_key is not None and (not isinstance(pseudonym_key, bytes) or len(pseudonym_key) < 16):
            raise ConfigurationError("pseudonym_key must be at least 16 bytes, for example secrets.token_bytes(32)")
        if isinstance(keep_last, str):
            raise ConfigurationError("keep_last must be a collection of kinds, not one str; write {'card'}")
        self._keep_last = frozenset(keep_last)
        for kind in self._keep_last:
            check_kind("keep_last", kind)
        if unknown := sorted(self._keep_last - kinds):
            raise ConfigurationError(
                f"keep_last names unknown kinds: {unknown}; known are {sorted(kinds)}{did_you_mean(unknown[0], kinds)}"
            )
        self.plain: dict[str, str] = {}  # the marks that do not depend on the value
        self._hash = None if pseudonym_key is None else blake2b(key=pseudonym_key[:64], digest_size=_DIGEST_BYTES)

    def mark(self, kind: str, value: str) -> str:
        """Return what stands for `value`, which is of `kind`."""
        if kind in self._keep_last:
            characters = [character for character in value if character.isalnum()]
            last = f":{''.join(characters[-_SHOWN:])}" if len(characters) >= _MIN_FOR_LAST else ""
            return f"[REDACTED:{kind}{last}]"
        if self._hash is not None:
            digest = self._hash.copy()
            digest.update(value.encode("utf-8", "surrogatepass"))
            return f"[{kind}:{digest.hexdigest()}]"
        mark = self.plain.get(kind)
        if mark is None:  # there are only so many kinds
            mark = self.plain[kind] = f"[REDACTED:{kind}]"
        return mark


def check_kind(parameter: str, kind: object) -> str:
    """Return `kind`, or raise the `ConfigurationError` for a name that a mark can not hold."""
    if not isinstance(kind, str) or not KIND.fullmatch(kind):
        raise ConfigurationError(
            f"{parameter} must name kinds with lower-case letters, digits and underscores, 64 at most, not {kind!r}"
        )
    return kind
