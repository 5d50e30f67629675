"""The files that hold the entries: `wal/<number of the first entry>.log`.

```text
asgi_infra audit segment 1 \n
first     8  the number of the first entry
tiles     4  how many bytes of partial tiles follow
...          the partial tiles of the tree of all entries before, level by level
crc       4  CRC-32 of all before
...          records (see `frames`), and at the end a seal, once there is a next segment
```

So a segment says by itself which tree it continues, and opening a log reads its last segment only.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from itertools import pairwise
from struct import Struct
from threading import Lock
from typing import TYPE_CHECKING, Final
from zlib import crc32

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.backends.file.frames import Frame, decode, fault, seal
from asgi_infra.audit.errors import AuditIntegrityError, AuditNotFoundError
from asgi_infra.audit.proofs.errors import TileError
from asgi_infra.audit.proofs.tile_edge import TileEdge
from asgi_infra.audit.proofs.tile_nodes import FetchedTiles
from asgi_infra.audit.proofs.tiles import partial_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asgi_infra.audit.proofs.tiles import Tile

_TITLE: Final = b"asgi_infra audit segment 1\n"
_HEAD: Final = Struct(f">{len(_TITLE)}sQI")
_CRC_SIZE: Final = 4
_NAME: Final = re.compile(r"([0-9]{20})\.log")
_MOST_TILES: Final = 8 * 255 * 32
_CHUNK: Final = 1 << 20
_LARGEST_RECORD: Final = 1 << 18


def segment_name(first: int) -> str:
    """Return the name of the segment that begins with an entry."""
    return f"{first:020}.log"


def encode_head(first: int, tiles: dict[Tile, bytes]) -> bytes:
    """Return the beginning of a segment.

    Args:
        first: The number of its first entry.
        tiles: What `partial_tiles(first)` hold.
    """
    joined = b"".join(tiles[tile] for tile in partial_tiles(first))
    head = _HEAD.pack(_TITLE, first, len(joined)) + joined
    return head + crc32(head).to_bytes(_CRC_SIZE, "big")


def read_head(path: Path, descriptor: int, first: int) -> tuple[int, dict[Tile, bytes]]:
    """Return where the records begin, and the partial tiles of the tree before them.

    Raises:
        AuditIntegrityError: This is not the beginning of that segment.
    """
    data = files.read(descriptor, _HEAD.size + _MOST_TILES + _CRC_SIZE, 0)
    if len(data) < _HEAD.size + _CRC_SIZE:
        raise AuditIntegrityError(f"{path}, byte 0: the segment has no beginning")
    title, number, size = _HEAD.unpack_from(data)
    end = _HEAD.size + size
    places = partial_tiles(first)
    if (
        title != _TITLE
        or number != first
        or size != sum(tile.size for tile in places)
        or crc32(data[:end]).to_bytes(_CRC_SIZE, "big") != data[end : end + _CRC_SIZE]
    ):
        raise AuditIntegrityError(f"{path}, byte 0: the beginning of the segment of entry {first} is damaged")
    tiles: dict[Tile, bytes] = {}
    at = _HEAD.size
    for tile in places:
        tiles[tile] = data[at : at + tile.size]
        at += tile.size
    return end + _CRC_SIZE, tiles


def open_edge(path: Path, first: int, tiles: dict[Tile, bytes]) -> TileEdge:
    """Return the edge of the tree that a segment continues.

    Raises:
        AuditIntegrityError: The tiles do not make one.
    """
    try:
        return TileEdge.open(FetchedTiles(tiles), first)
    except TileError as exc:
        raise AuditIntegrityError(f"{path}, byte 0: {exc}") from exc


class Segments:
    """All segments of a log, for any thread.

    Args:
        directory: Where they are.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = Lock()
        self._firsts: list[int] = []

    def load(self) -> list[int]:
        """Look which segments there are, and return the numbers of their first entries."""
        found = sorted(
            int(match[1]) for entry in os.scandir(self.directory) if (match := _NAME.fullmatch(entry.name)) is not None
        )
        with self._lock:
            self._firsts = found
        return found

    def firsts(self) -> list[int]:
        """Return the numbers of the first entries of the segments that were there when somebody looked last."""
        with self._lock:
            return self._firsts.copy()

    def add(self, first: int) -> None:
        """Take up a new last segment."""
        with self._lock:
            if first not in self._firsts[-1:]:
                self._firsts.append(first)

    def path(self, first: int) -> Path:
        """Return the path of the segment that begins with an entry."""
        return self.directory / segment_name(first)

    def check(self) -> None:
        """Refuse a log whose segments do not follow each other. The last one is not looked into.

        Raises:
            AuditIntegrityError: One is missing, or cut.
        """
        firsts = self.firsts()
        for first, following in pairwise(firsts):
            path = self.path(first)
            end = seal(following)
            descriptor = files.open_file(path, os.O_RDONLY)
            try:
                size = os.fstat(descriptor).st_size
                if files.read(descriptor, len(end), max(size - len(end), 0)) != end:
                    raise AuditIntegrityError(
                        f"{path}, byte {size}: the segment does not end before entry {following}, "
                        f"with which the next one begins"
                    )
            finally:
                os.close(descriptor)

    def frames(self, start: int, stop: int, at: int | None = None) -> Iterator[list[Frame]]:
        """Yield the records from `start` up to but without `stop`, which must be there, in pieces.

        Args:
            start: The number of the first entry.
            stop: The number to stop before.
            at: Where the first record begins in its segment, if that is known.

        Raises:
            AuditNotFoundError: The entry was purged.
            AuditIntegrityError: A record is not what was written; the message names file, byte and entry.
        """
        while start < stop:
            firsts = self.firsts()
            index = bisect_right(firsts, start) - 1
            if index < 0:
                raise AuditNotFoundError(f"entry {start} was purged")
            end = min(stop, firsts[index + 1]) if index + 1 < len(firsts) else stop
            yield from self._within(firsts[index], start, end, None if start == firsts[index] else at)
            start, at = end, None

    def _within(self, first: int, start: int, stop: int, at: int | None) -> Iterator[list[Frame]]:
        path = self.path(first)
        try:
            descriptor = files.open_file(path, os.O_RDONLY)
        except FileNotFoundError as exc:
            if self.load()[:1] > [first]:
                raise AuditNotFoundError(f"entry {start} was purged") from exc
            raise AuditIntegrityError(f"{path} is missing; entry {start} must be in it") from exc
        try:
            seq = start
            if at is None:
                at, seq = read_head(path, descriptor, first)[0], first
            size = _CHUNK if stop - seq > 64 else _LARGEST_RECORD if stop - seq > 1 else 4096
            while seq < stop:
                data = files.read(descriptor, size, at)
                frames = decode(data, at, seq, stop)
                if not frames or not frames[-1].leaf:
                    if len(data) == size < _LARGEST_RECORD:
                        size = _LARGEST_RECORD
                        continue
                    raise AuditIntegrityError(f"{path}, byte {at}: entry {seq}: {fault(data, seq)}")
                seq, at = frames[-1].seq + 1, frames[-1].end
                if seq > start:
                    yield frames if frames[0].seq >= start else frames[start - frames[0].seq :]
        finally:
            os.close(descriptor)
