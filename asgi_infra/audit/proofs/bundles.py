"""What entry bundles hold: entries, each after its length in two bytes, big-endian (C2SP tlog-tiles)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_infra.audit.proofs.errors import TileError
from asgi_infra.audit.proofs.tiles import TILE_WIDTH
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ENTRY: Final = 65_535
"""The most bytes of an entry."""


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Return entries as a bundle holds them; bundles grow by appending.

    Raises:
        ConfigurationError: An entry is too long.

    Example:
        >>> encode_entries([b"ab", b""])
        b'\\x00\\x02ab\\x00\\x00'
    """
    try:
        return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])
    except OverflowError as exc:
        raise ConfigurationError(f"entries must have at most {MAX_ENTRY} bytes each") from exc


def decode_entries(data: bytes, width: int | None = None) -> list[bytes]:
    """Return the entries of a bundle.

    Args:
        data: The bundle.
        width: How many entries there must be. If not given, from 1 to 256.

    Raises:
        TileError: It ends within an entry, or has another number of entries.
    """
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        start = at + 2
        at = start + (data[start - 2] << 8 | data[start - 1]) if start <= end else end + 1
        if at > end:
            raise TileError(f"the entry bundle ends within entry {len(entries)}")
        if len(entries) == TILE_WIDTH:
            raise TileError(f"the entry bundle has more than {TILE_WIDTH} entries")
        entries.append(data[start:at])
    if len(entries) != width if width is not None else not entries:
        raise TileError(f"the entry bundle must have {width or 'at least 1'} entries, not {len(entries)}")
    return entries
