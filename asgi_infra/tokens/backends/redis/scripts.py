"""The Lua scripts: each is one step on the server, on keys of one slot that are declared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.tokens.backends.redis.node import Command

_FLAGS = "-- flags="


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the name that servers give it."""

    source: str
    sha: str

    def command(self, keys: Sequence[str], arguments: Sequence[str | bytes | int], *, whole: bool) -> Command:
        """Return the command that runs the script: by its name or, for servers that do not know it, `whole`."""
        head = ("EVAL", self.source) if whole else ("EVALSHA", self.sha)
        return (*head, len(keys), *keys, *arguments)


@cache
def script(name: str, *parts: str) -> Script:
    """Return a script of this package.

    Args:
        name: That of its file; the first line of the file may hold flags. The shebang makes servers refuse keys that
            were not declared, also those that are no cluster.
        parts: The files to put before it.
    """
    body = _text(name)
    flags, rest = "", body
    if body.startswith(_FLAGS):
        first, _, rest = body.partition("\n")
        flags = f" {first.removeprefix('-- ')}"
    source = f"#!lua{flags}\n{''.join(_text(part) for part in parts)}{rest}"
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


def _text(name: str) -> str:
    return files("asgi_infra.tokens.backends.redis").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
