"""Tiles and entry bundles on disk, as C2SP tlog-tiles lays them out, for everybody's tools."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.proofs.bundles import encode_entries
from asgi_infra.audit.proofs.errors import TileError
from asgi_infra.audit.proofs.tile_nodes import TileNodes
from asgi_infra.audit.proofs.tiles import TILE_WIDTH, Bundle, Tile, partial_tiles, tiles_between

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_infra.audit.backends.file.wal import WriteAheadLog

STATE: Final = "published"
"""The file that tells for how many entries the tiles are on disk. So many had been committed, whatever is there now."""


class Publisher:
    """Writes tiles and bundles. Whatever is not said to be for any thread needs the lock of the followers.

    Args:
        directory: The log's.
        wal: Where the entries are.
    """

    def __init__(self, directory: Path, wal: WriteAheadLog) -> None:
        self._directory = directory
        self._wal = wal
        self.size = read_state(directory)

    def publish(self, size: int, *, edge: bool = False) -> None:
        """Write the tiles and bundles of the first `size` entries: those that are full, and with `edge` all.

        Raises:
            AuditFullError: There is no room.
            AuditUnavailableError: The system refused.
        """
        self.size = max(self.size, read_state(self._directory))
        start, stop = self.size - self.size % TILE_WIDTH, size - size % TILE_WIDTH
        places = [tile for tile in tiles_between(start, stop) if tile.width == TILE_WIDTH] if start < stop else []
        if edge and size > self.size:
            places += partial_tiles(size)
        if not places:
            return
        with files.translated("write the tiles of the audit log"):
            touched: set[Path] = set()
            for tile in places:
                self._write(tile, self._hashes(tile), touched)
            self._bundles(start, size if edge else stop, touched)
            for directory in touched:
                files.sync_directory(directory)
            done = size if edge else stop
            if done > self.size:
                files.replace(self._directory / STATE, b"%d\n" % done)
                self.size = done
        self._wal.tree.forget(self.size)

    def read_tile(self, level: int, index: int, width: int, /) -> bytes:
        """Return at least the first `width` hashes of a tile; for any thread.

        Raises:
            TileError: The tile is missing, or too short.
        """
        tile = Tile(level, index, width)
        data = self._wal.tree.tile(level, index)
        if data is None:
            try:
                data = files.read_path(self._directory / Tile(level, index).path)
            except OSError as exc:
                raise TileError(f"{tile.path} is missing") from exc
        if len(data) < tile.size:
            raise TileError(f"{tile.path} is too short")
        return data

    def read_leaf_hash(self, seq: int, size: int) -> bytes:
        """Return the hash of a leaf of the tree of the first `size` leaves; for any thread.

        Raises:
            TileError: The tile is missing, or too short.
        """
        return TileNodes(self, size)(0, seq)

    def drop_bundles(self, before: int) -> None:
        """Remove the bundles that hold nothing but entries before a number; the oldest ones last."""
        for index in range(before // TILE_WIDTH - 1, -1, -1):
            path = self._directory / Bundle(index).path
            _remove_partial(path)
            try:
                path.unlink()
            except FileNotFoundError:
                return
            with suppress(OSError):
                path.parent.rmdir()

    def _hashes(self, tile: Tile) -> bytes:
        data = self._wal.tree.tile(tile.level, tile.index)
        if data is None or len(data) < tile.size:
            raise AuditIntegrityError(f"{self._directory / tile.path} is missing; the entries before were published")
        return data[: tile.size]

    def _bundles(self, start: int, stop: int, touched: set[Path]) -> None:
        leaves: list[bytes] = []
        for frames in self._wal.segments.frames(start, stop):
            leaves += [frame.leaf for frame in frames]
            whole = len(leaves) - len(leaves) % TILE_WIDTH
            for at in range(0, whole, TILE_WIDTH):
                bundle = Bundle(start // TILE_WIDTH)
                self._write(bundle, encode_entries(leaves[at : at + TILE_WIDTH]), touched)
                start += TILE_WIDTH
            del leaves[:whole]
        if leaves:
            self._write(Bundle(start // TILE_WIDTH, len(leaves)), encode_entries(leaves), touched)

    def _write(self, place: Tile | Bundle, data: bytes, touched: set[Path]) -> None:
        path = self._directory / place.path
        missing = []
        parent = path.parent
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for each in reversed(missing):
            with suppress(FileExistsError):
                each.mkdir(0o700)
            touched.add(each.parent)
        files.write_whole(path, data)
        touched.add(path.parent)
        if place.width == TILE_WIDTH and _remove_partial(path):
            touched.discard(path.with_name(f"{path.name}.p"))


def read_state(directory: Path) -> int:
    """Return for how many entries the tiles of a log are on disk.

    Raises:
        AuditIntegrityError: The file is damaged.
    """
    path = directory / STATE
    try:
        text = files.read_path(path)
    except FileNotFoundError:
        return 0
    if not text.endswith(b"\n") or not text[:-1].isdigit() or len(text) > 20:
        raise AuditIntegrityError(f"{path}, byte 0: the file must hold a number of entries")
    return int(text)


def _remove_partial(path: Path) -> bool:
    """Remove the narrower forms of a tile or bundle that is full now."""
    folder = path.with_name(f"{path.name}.p")
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return False
    for name in names:
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
    return True
