"""Where an identifier or a family has its user, for callers who don't say: small entries outside of the user's slot.

A pointer is written before what it points to and may outlive it, which does no harm: it only says where to look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.tokens.backends.redis.calls import Effect, Run
from asgi_infra.tokens.backends.redis.layout import POINTER_BYTES, family_pointer
from asgi_infra.tokens.backends.redis.scripts import script

if TYPE_CHECKING:
    from asgi_infra.tokens.backends.redis.calls import Calls
    from asgi_infra.tokens.backends.redis.layout import Keys

_LONGEST = 3_200_000_000_000


class Pointers:
    """Writes and follows pointers.

    Args:
        keys: The names of keys.
        in_fields: Whether the server expires the fields of a hash: many pointers then share a key.
    """

    def __init__(self, keys: Keys, *, in_fields: bool) -> None:
        self._keys = keys
        self._in_fields = in_fields

    async def to_token(self, calls: Calls, digest: bytes) -> str | None:
        """Return the route that a digest points to."""
        return await self._read(calls, digest[:POINTER_BYTES])

    async def to_family(self, calls: Calls, family_id: str) -> str | None:
        """Return the route that a family points to."""
        return await self._read(calls, family_pointer(family_id))

    async def set_token(self, calls: Calls, digest: bytes, route: str, left: int) -> None:
        """Let a digest point to a route, for so many microseconds."""
        await self._write(calls, digest[:POINTER_BYTES], route, left)

    async def set_family(self, calls: Calls, family_id: str, route: str, left: int) -> None:
        """Let a family point to a route, for so many microseconds or as long as it does already."""
        await self._write(calls, family_pointer(family_id), route, left)

    async def _read(self, calls: Calls, pointer: bytes) -> str | None:
        if self._in_fields:
            route = await calls.read(self._keys.bucket(pointer), pointer)
        else:
            route = await calls.read(self._keys.pointer(pointer))
        return None if route is None else route.hex()

    async def _write(self, calls: Calls, pointer: bytes, route: str, left: int) -> None:
        key = self._keys.bucket(pointer) if self._in_fields else self._keys.pointer(pointer)
        field = pointer if self._in_fields else b""
        arguments = (field, bytes.fromhex(route), min(_LONGEST, max(1, -(-left // 1000))))
        await calls.run(Run(script("point"), (key,), arguments), Effect.REPEATABLE)
