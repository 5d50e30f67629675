"""A path as servers, proxies and frameworks may read it.

Whoever guards a path must know it under every name: a path that is nothing special to the guard, and special to the
application, would be a way in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from asgi_infra.paths import app_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgi_infra.types import Scope

_MAX_CURIOUS: Final = 512  # characters
_MAX_READINGS: Final = 24
_PLAIN = re.compile(r"/[\w\-~!$&'()*+,:=@]+(?:[/.][\w\-~!$&'()*+,:=@]+)*", re.ASCII)
_SLASHES = re.compile("/{2,}")
_PARAMETERS = re.compile(";[^/]*")
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_NO_SLASH: Final = b"%EE%80%80"  # stands for an encoded slash that is no border of segments


def readings_of(scope: Scope) -> Iterator[str]:
    """Yield the path that the application routes on, and what else it may be taken for.

    The last one is empty when there are more than can be told.
    """
    yield from readings(app_path(scope))
    yield from raw_readings(scope)


def raw_readings(scope: Scope) -> Iterator[str]:
    """Yield the readings of the raw path that differ: servers decode a slash that applications may take as text."""
    raw = scope.get("raw_path")
    if raw and b"%" in raw and _ENCODED_SLASH.search(raw):
        text = unquote(_ENCODED_SLASH.sub(_NO_SLASH, raw.partition(b"?")[0]).decode("latin-1"))
        yield from readings(app_path({**scope, "path": text}))


def readings(path: str) -> Iterator[str]:
    """Yield a path as it is, and as others may read it; an empty one when that can't be told."""
    yield path
    if _PLAIN.fullmatch(path):
        return
    if len(path) > _MAX_CURIOUS:
        yield ""
        return
    seen = {path}
    pending = [path]
    while pending:
        form = pending.pop()
        for change in _CHANGES:
            reading = change(form)
            if reading in seen:
                continue
            if len(seen) >= _MAX_READINGS:
                yield ""
                return
            seen.add(reading)
            pending.append(reading)
            yield reading


def _resolved(path: str) -> str:
    """Return a path with its dot segments resolved (RFC 3986, section 5.2.4)."""
    kept: list[str] = []
    segments = path.removeprefix("/").split("/")
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


_CHANGES: Final[tuple[Callable[[str], str], ...]] = (
    unquote,
    _resolved,
    lambda path: path.replace("\\", "/"),
    lambda path: _SLASHES.sub("/", path),
    lambda path: _PARAMETERS.sub("", path),
    lambda path: path.partition("\0")[0],
    lambda path: path.removesuffix("\n"),  # where routes are matched with "$"
)
"""What becomes of paths on their way, in any order and number."""
