"""Which digests belong to a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Index:
    """Digests by name; a single one, which is the usual case, is kept without a container around it."""

    __slots__ = ("_digests",)

    def __init__(self) -> None:
        self._digests: dict[str, bytes | dict[bytes, None]] = {}

    def add(self, name: str, digest: bytes) -> None:
        """Add a digest to a name."""
        known = self._digests.setdefault(name, digest)
        if known is digest:
            return
        if isinstance(known, bytes):
            self._digests[name] = {known: None, digest: None}
        else:
            known[digest] = None

    def remove(self, name: str, digest: bytes) -> None:
        """Remove a digest that was added to a name."""
        known = self._digests[name]
        if isinstance(known, bytes) or len(known) == 1:
            del self._digests[name]
        else:
            del known[digest]

    def of(self, name: str) -> Iterable[bytes]:
        """Return the digests of a name."""
        known = self._digests.get(name, ())
        return (known,) if isinstance(known, bytes) else known
