"""In which user's place a token is, for callers who know nothing but its identifier, or its family.

An identifier that this package made names the place. For others, and for families, there are pointers: small entries
outside of the user's slot. A pointer is written before what it points to and may outlive it, which does no harm: it
only says where to look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from asgi_infra.tokens.backends.redis.calls import Effect, Run
from asgi_infra.tokens.backends.redis.layout import POINTER_BYTES, family_pointer, milliseconds
from asgi_infra.tokens.backends.redis.scripts import script
from asgi_infra.tokens.clock import to_microseconds
from asgi_infra.tokens.identifiers import named_route, route_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgi_infra.tokens.backends.redis.calls import Calls
    from asgi_infra.tokens.backends.redis.layout import Keys
    from asgi_infra.tokens.records import Record

    T = TypeVar("T")

_LIVES = 3


class Places:
    """Finds places, and notes them.

    Args:
        keys: The names of keys.
        in_fields: Whether the server expires the fields of a hash: many pointers then share a key.
        pointers: Whether there are any.
    """

    def __init__(self, keys: Keys, *, in_fields: bool, pointers: bool) -> None:
        self._keys = keys
        self._in_fields = in_fields
        self._pointers = pointers

    async def first(
        self,
        calls: Calls,
        digests: tuple[bytes, ...],
        jti: str,
        user_id: str | None,
        look: Callable[[str], Awaitable[T | None]],
    ) -> T | None:
        """Return the first answer of `look` in the places where a token may be.

        Args:
            calls: For reading pointers.
            digests: What the token may be stored under.
            jti: Its identifier or handle.
            user_id: Whose it is, if that is known; then there is one place.
            look: Takes a route, and returns `None` where there is nothing.
        """
        named = named_route(jti) if user_id is None else route_of(user_id)
        if named is not None:
            found = await look(named)
            if found is not None or user_id is not None:
                return found
        if self._pointers:
            for digest in digests:
                route = await self._read(calls, digest[:POINTER_BYTES])
                if route not in (None, named):
                    found = await look(route)
                    if found is not None:
                        return found
        return None

    async def of_family(self, calls: Calls, family_id: str, user_id: str | None) -> str | None:
        """Return the route of the place where a family is."""
        if user_id is not None:
            return route_of(user_id)
        return await self._read(calls, family_pointer(family_id)) if self._pointers else None

    async def note_token(self, calls: Calls, record: Record, now: int) -> None:
        """Note where an identifier is, unless it says so itself."""
        route = route_of(record.token.user_id)
        if self._pointers and named_route(record.token.jti) != route:
            left = to_microseconds(record.token.expires_at) - now
            await self._write(calls, record.digest[:POINTER_BYTES], route, left)

    async def note_family(self, calls: Calls, record: Record, now: int, *, replaced: tuple[int, int] | None) -> None:
        """Note where a family is; after a rotation only where what was noted before may not last long enough.

        It is noted for three lives of a token, and again in each life since the family began, so that a note that could
        not be written is not missed.

        Args:
            calls: For writing.
            record: The newest token of the family.
            now: The time.
            replaced: Issue and expiry of the token that it has replaced, if it has.
        """
        if not self._pointers:
            return
        token = record.token
        issued, expires = to_microseconds(token.issued_at), to_microseconds(token.expires_at)
        life = max(1, expires - issued)
        if replaced is not None:
            same = (replaced[0] - record.started_at) // life == (issued - record.started_at) // life
            if same and life <= replaced[1] - replaced[0]:
                return
        await self._write(
            calls, family_pointer(token.family_id), route_of(token.user_id), expires - now + _LIVES * life
        )

    async def _read(self, calls: Calls, pointer: bytes) -> str | None:
        if self._in_fields:
            route = await calls.read(self._keys.bucket(pointer), pointer)
        else:
            route = await calls.read(self._keys.pointer(pointer))
        return None if route is None else route.hex()

    async def _write(self, calls: Calls, pointer: bytes, route: str, left: int) -> None:
        key = self._keys.bucket(pointer) if self._in_fields else self._keys.pointer(pointer)
        arguments = (pointer if self._in_fields else b"", bytes.fromhex(route), milliseconds(left))
        await calls.run(Run(script("point"), (key,), arguments), Effect.REPEATABLE)
