"""A store in memory as a file."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from hmac import compare_digest
from tempfile import mkstemp
from typing import TYPE_CHECKING

import msgspec

from asgi_infra.tokens.errors import CorruptRecordError, StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_infra.tokens.identifiers import Hashing

_SEAL_BYTES = 32


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


def write_snapshot(path: Path, snapshot: Snapshot, hashing: Hashing) -> None:
    """Write a snapshot, which only the owner may read, in place of the one before: whole, or not at all.

    It is sealed with the key in use: under another one no deny entry in it would be found.

    Raises:
        StoreUnavailableError: The file can't be written; the one before is still there.
    """
    name = None
    data = msgspec.msgpack.encode(snapshot)
    try:
        handle, name = mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(_seal(data, hashing.keys[0] if hashing.keys else b"") + data)
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


def read_snapshot(path: Path, hashing: Hashing) -> Snapshot:
    """Return the snapshot in a file; an empty one if there is no such file.

    Raises:
        CorruptRecordError: It is no snapshot, damaged, of another key or of a later version.
        StoreUnavailableError: It can't be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Snapshot()
    except OSError as exc:
        raise StoreUnavailableError(f"the snapshot could not be read: {exc.strerror}") from exc
    seal, data = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
    if not any(compare_digest(seal, _seal(data, key)) for key in hashing.keys or (b"",)):
        raise CorruptRecordError("the snapshot can't be read: it is damaged, or needs another key; or move it away")
    try:
        snapshot = msgspec.msgpack.decode(data, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeError) as exc:
        raise CorruptRecordError("the snapshot can't be read: a later release has written it; move it away") from exc
    if snapshot.version != 1:
        raise CorruptRecordError(f"the snapshot has the version {snapshot.version}, which a later release has written")
    return snapshot


def _seal(data: bytes, key: bytes) -> bytes:
    return blake2b(data, digest_size=_SEAL_BYTES, key=key, person=b"asgi_infra.snap").digest()
