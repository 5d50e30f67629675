"""Erasing: private parts become zeros where they stand. What was begun is finished after a crash.

What is about to be erased is written down first (`erasing`, places only), so that a half overwritten private part can
never be taken for damage. Overwriting in place removes the bytes from the files; whether a copy-on-write file system or
the disk keeps old blocks, only they can tell.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.errors import AuditIntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    PathOf = Callable[[int], Path]

JOURNAL: Final = "erasing"


class Place(msgspec.Struct, array_like=True, frozen=True):
    """A private part: the first entry of its segment, where it begins, how long it is, and its entry."""

    first: int
    at: int
    size: int
    seq: int


_decode = msgspec.json.Decoder(list[Place]).decode


def overwrite(directory: Path, places: Sequence[Place], path_of: PathOf) -> None:
    """Erase private parts durably; `close` is to follow."""
    files.replace(directory / JOURNAL, msgspec.json.encode(list(places)))
    _overwrite(places, path_of)


def finish(directory: Path, path_of: PathOf) -> list[int]:
    """Finish what a process has begun that was killed, and return the numbers of the entries.

    Raises:
        AuditIntegrityError: The file that tells what was begun is damaged.
    """
    journal = directory / JOURNAL
    try:
        places = _decode(files.read_path(journal))
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as exc:
        raise AuditIntegrityError(f"{journal}, byte 0: the file must tell what is being erased") from exc
    _overwrite(places, path_of)
    return [place.seq for place in places]


def close(directory: Path) -> None:
    """Forget what was to be erased: it is, in the index, too."""
    files.remove(directory / JOURNAL)
    files.sync_directory(directory)


def _overwrite(places: Sequence[Place], path_of: PathOf) -> None:
    by_segment: dict[int, list[Place]] = {}
    for place in places:
        by_segment.setdefault(place.first, []).append(place)
    for first, own in by_segment.items():
        with suppress(FileNotFoundError):  # purged
            descriptor = files.open_file(path_of(first), os.O_RDWR)
            try:
                for place in own:
                    files.write(descriptor, bytes(place.size), place.at)
                files.sync(descriptor)
            finally:
                os.close(descriptor)
