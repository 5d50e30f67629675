"""Asking a token store: identical questions at the same time once, and answers kept for as long as that was allowed."""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b
from threading import Lock, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from asgi_infra import faults
from asgi_infra.errors import TokenStoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from asgi_infra.tokens.clock import Clock
    from asgi_infra.tokens.contract import TokenStore
    from asgi_infra.tokens.identity import TokenIdentity
    from asgi_infra.tokens.model import StoredToken

_Key: TypeAlias = "tuple[bytes, str | None, str | None]"

_MAX_CACHED: Final = 10_000


class Answer(NamedTuple):
    """What a store says of a token.

    Attributes:
        live: Whether it is good; `None` when the store has failed.
        stored: The token as it is stored, where it is.
    """

    live: bool | None
    stored: StoredToken | None = None


class _Kept(NamedTuple):
    answer: Answer
    revision: int
    until: float
    expires_at: datetime | None


class _Flight:
    """A question that is on its way."""

    __slots__ = ("answer", "arrived", "revision")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.arrived: Any = None
        self.answer: Answer | None = None


class Lookups:
    """Asks a store about tokens.

    An answer counts only as long as this store object has ended no token's life since the question was asked. So what
    `revoke` and its like did here is seen by the next request, whatever is kept and whatever is on its way.

    Args:
        store: Whom to ask.
        ask: How.
        seconds: For how long an answer is kept; 0 keeps none. Only good tokens are kept, until they expire.
        touched: Within how many seconds the use of a token is noted again: an answer is kept no longer than that, since
            the next one tells that it was noted. `None` where that is no matter.
        clock: Tells whether a token that is kept has expired.
        monotonic: Measures the seconds.
    """

    def __init__(
        self,
        store: TokenStore,
        ask: Callable[[TokenIdentity], Awaitable[TokenIdentity | None]],
        *,
        seconds: float,
        touched: float | None = None,
        clock: Clock,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._ask = ask
        self._seconds = seconds
        self._touched = touched
        self._clock = clock
        self._monotonic = monotonic
        self._lock = Lock()
        self._kept: dict[_Key, _Kept] = {}
        self._flights: dict[tuple[int, _Key], _Flight] = {}

    async def __call__(self, identity: TokenIdentity) -> Answer:
        """Return what the store says of a token."""
        jti = blake2b(identity.jti.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        key = (jti, identity.user_id, identity.generation)
        if self._seconds and (kept := self._found(key)) is not None:
            return kept
        # What waits on an event loop waits in its own thread.
        place = (get_ident(), key)
        while (flight := self._flights.get(place)) is not None and flight.revision == self._store.revision:
            if flight.arrived is None:
                import anyio

                flight.arrived = anyio.Event()
            await flight.arrived.wait()
            if flight.answer is not None:
                return flight.answer
        return await self._fly(place, identity)

    async def _fly(self, place: tuple[int, _Key], identity: TokenIdentity) -> Answer:
        flight = self._flights[place] = _Flight(self._store.revision)
        try:
            try:
                found = await self._ask(identity)
                answer = Answer(found is not None, None if found is None else found.stored)
            except TokenStoreError as exc:
                faults.record("tokens.store", exc, consequence="no token can be checked")
                answer = Answer(None)
            flight.answer = answer
            if self._seconds and answer.live:
                self._keep(place[1], answer, flight.revision)
            return answer
        finally:  # without an answer, those who wait ask for themselves
            if self._flights.get(place) is flight:
                del self._flights[place]
            if flight.arrived is not None:
                flight.arrived.set()

    def _found(self, key: _Key) -> Answer | None:
        kept = self._kept.get(key)
        if kept is None or kept.revision != self._store.revision or kept.until <= self._monotonic():
            return None
        if kept.expires_at is not None and kept.expires_at <= self._clock():
            return None
        return kept.answer

    def _keep(self, key: _Key, answer: Answer, revision: int) -> None:
        # A signed token's own expiry is checked each time by who verifies it, with leeway.
        expires_at = None
        if answer.stored is not None:
            expires_at = answer.stored.expires_at
            if self._touched is not None:
                due_at = (answer.stored.last_used_at or answer.stored.issued_at) + timedelta(seconds=self._touched)
                if due_at <= self._clock():
                    return
                expires_at = min(expires_at, due_at)
        kept = _Kept(answer, revision, self._monotonic() + self._seconds, expires_at)
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = kept
            if len(self._kept) > _MAX_CACHED:
                del self._kept[next(iter(self._kept))]
