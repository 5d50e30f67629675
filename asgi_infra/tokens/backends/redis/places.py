"""In which user's place a token is, for callers who know nothing but its identifier, or its family.

An identifier that this package made names the place, and so does a family's name. For others there are pointers: small
entries outside of the user's slot. A pointer is written before what it points to and may outlive it, which does no
harm: it only says where to look.

Since each user has a slot, no server sees all tokens, and yet an identifier made elsewhere is one user's at a time. Who
wants to store a token under it

1. writes a claim, with a name of its own, into the user's slot,
2. sets the pointer to it, if there is none yet; otherwise goes where it points to, in one step looks for a token and
   withdraws the claim there, then replaces that very pointer, and where it is another by now begins again,
3. stores the token, in one step that needs the claim and removes it.

The pointer only ever leaves a claim that can no longer become a token, so of those who set it the last one succeeds.
"""

from __future__ import annotations

from secrets import token_bytes
from typing import TYPE_CHECKING, TypeVar

from asgi_infra.tokens.backends.redis.calls import Effect, Run
from asgi_infra.tokens.backends.redis.layout import POINTER_BYTES, family_pointer, milliseconds
from asgi_infra.tokens.backends.redis.scripts import script
from asgi_infra.tokens.clock import to_microseconds
from asgi_infra.tokens.identifiers import family_route, named_route, route_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgi_infra.tokens.backends.redis.calls import Calls
    from asgi_infra.tokens.backends.redis.layout import Keys
    from asgi_infra.tokens.records import Record

    T = TypeVar("T")

_CLAIMED = 600_000  # ms: many times as long as it takes
_ROUTE_BYTES = 8


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
        noted = await self._read(calls, family_pointer(family_id)) if self._pointers else None
        return noted or family_route(family_id)

    async def claim(
        self,
        calls: Calls,
        record: Record,
        others: tuple[bytes, ...],
        now: int,
        withdraw: Callable[[str, str | None], Awaitable[bool]],
    ) -> str | None:
        """Note where an identifier is, unless it says so itself.

        Args:
            calls: For reading and writing pointers.
            record: What is to be stored under it.
            others: What the same identifier would be stored under with older keys.
            now: The time.
            withdraw: Takes a route and the key of a claim there, if any; removes the claim, unless a token is stored
                there, and returns whether one is.

        Returns:
            The key of the claim; there is nothing under it when the identifier is taken. `None` if none is needed.
        """
        route, named = route_of(record.token.user_id), named_route(record.token.jti)
        if not self._pointers or named == route:
            return None
        name = token_bytes(8)
        claim = self._keys.claim(route, name)
        for other in [named, *[await self._read(calls, digest[:POINTER_BYTES]) for digest in others]]:
            if other is not None and await withdraw(other, None):
                return claim
        # Not a read, but repeating it does no harm either.
        await calls.command(claim, "SET", claim, b"", "PX", _CLAIMED)
        pointer = record.digest[:POINTER_BYTES]
        left = milliseconds(to_microseconds(record.token.expires_at) - now)
        noted: bytes | int = b""
        while True:
            arguments = (self._field(pointer), bytes.fromhex(route) + name, left, noted)
            noted = await calls.run(Run(script("claim"), (self._key(pointer),), arguments), Effect.REPEATABLE)
            if isinstance(noted, int):
                return claim
            there = noted[:_ROUTE_BYTES].hex()
            if noted and await withdraw(there, self._keys.claim(there, noted[_ROUTE_BYTES:])):
                await calls.command(claim, "UNLINK", claim)
                return claim

    async def leads_to(self, calls: Calls, record: Record) -> bool:
        """Return whether the pointer to an identifier leads to this record's user."""
        return await self._read(calls, record.digest[:POINTER_BYTES]) == route_of(record.token.user_id)

    async def note_family(self, calls: Calls, record: Record, now: int) -> None:
        """Note where a family is, unless its name says so itself.

        Args:
            calls: For writing.
            record: The newest token of the family.
            now: The time.
        """
        token = record.token
        route = route_of(token.user_id)
        if not self._pointers or family_route(token.family_id) == route:
            return
        pointer, left = family_pointer(token.family_id), milliseconds(to_microseconds(token.expires_at) - now)
        arguments = (self._field(pointer), bytes.fromhex(route), left)
        await calls.run(Run(script("point"), (self._key(pointer),), arguments), Effect.REPEATABLE)

    async def _read(self, calls: Calls, pointer: bytes) -> str | None:
        noted = await calls.read(self._key(pointer), self._field(pointer))
        return None if noted is None else noted[:_ROUTE_BYTES].hex()

    def _key(self, pointer: bytes) -> str:
        return self._keys.bucket(pointer) if self._in_fields else self._keys.pointer(pointer)

    def _field(self, pointer: bytes) -> bytes:
        return pointer if self._in_fields else b""
