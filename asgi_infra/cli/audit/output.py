"""What commands write: to standard output, or to a new file that appears when it is complete."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def output(name: str | None) -> Iterator[IO[bytes]]:
    """Give a file to write to; one with a name is its owner's alone, and is there only if all went well.

    Raises:
        ConfigurationError: The file is there already, or can't be written.
    """
    if name is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.exists():
        raise ConfigurationError(f"{name} is there already, and is not overwritten; choose another name")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as exc:
        raise ConfigurationError(f"{name} can't be written: {exc.strerror}") from exc
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename, this replaces nothing
        except FileExistsError as exc:
            raise ConfigurationError(f"{name} has appeared meanwhile, and is not overwritten") from exc
    finally:
        os.unlink(temporary)
