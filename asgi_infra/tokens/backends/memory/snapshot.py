"""A store in memory as a file."""

from __future__ import annotations

import os
from contextlib import suppress
from tempfile import mkstemp
from typing import TYPE_CHECKING

import msgspec

from asgi_infra.tokens.errors import CorruptRecordError, StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path


class Snapshot(msgspec.Struct, array_like=True):
    """What a file holds.

    Attributes:
        entries: Digest, packed record, end, time of use, successor's digest and sealed `jti` of each token.
        denials: Digest and end of each deny entry.
        generations: User, generation and end.
        version: Of this form.
    """

    entries: list[tuple[bytes, bytes, int, int | None, bytes | None, bytes]] = []
    denials: list[tuple[bytes, int]] = []
    generations: list[tuple[str, str, int]] = []
    version: int = 1


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot, which only the owner may read, in place of the one before: whole, or not at all.

    Raises:
        StoreUnavailableError: The file can't be written; the one before is still there.
    """
    name = None
    try:
        handle, name = mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.msgpack.encode(snapshot))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as exc:
        if name is not None:
            with suppress(OSError):
                os.unlink(name)
        raise StoreUnavailableError(f"the snapshot could not be written: {exc.strerror}") from exc


def read_snapshot(path: Path) -> Snapshot:
    """Return the snapshot in a file; an empty one if there is no such file.

    Raises:
        CorruptRecordError: It is no snapshot, or of a later version.
        StoreUnavailableError: It can't be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Snapshot()
    except OSError as exc:
        raise StoreUnavailableError(f"the snapshot could not be read: {exc.strerror}") from exc
    try:
        snapshot = msgspec.msgpack.decode(data, type=Snapshot)
    except msgspec.MsgspecError as exc:
        raise CorruptRecordError("the snapshot can't be read: it is damaged or no snapshot; move it away") from exc
    if snapshot.version != 1:
        raise CorruptRecordError(f"the snapshot has the version {snapshot.version}, which a later release has written")
    return snapshot
