"""The life of a token store: options, opening, closing, signs of life."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from asgi_infra.errors import ConfigurationError, TokenStoreError
from asgi_infra.forks import forks, watch
from asgi_infra.options import refuse_unknown_options
from asgi_infra.tokens.backend import TokenBackend
from asgi_infra.tokens.clock import microseconds_now, to_microseconds, utc_now
from asgi_infra.tokens.errors import StoreClosedError
from asgi_infra.tokens.identifiers import digest_in
from asgi_infra.tokens.model import MAX_IDENTIFIER, require_aware
from asgi_infra.tokens.options import Settings, StoreOptions
from asgi_infra.tokens.records import RecordCodec
from asgi_infra.tokens.stats import Counts, StoreStats

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Self, TypeVar, Unpack

    T = TypeVar("T")


class StoreLife(TokenBackend):
    """A store that opens itself when it is first used, and after its end refuses."""

    def __init__(self, **options: Unpack[StoreOptions]) -> None:
        refuse_unknown_options(type(self), options, StoreOptions.__annotations__)
        self._settings = settings = Settings(**options)
        self._hashing = settings.hashing()
        self._codec = RecordCodec(self._hashing, settings)
        self._clock = settings.clock
        self._counts = Counts()
        self._revisions = count(1)
        self._revision = 0
        self._opened_in: int | None = None
        self._closed = False
        self._let_go = False

    @property
    def revision(self) -> int:
        """Another number after each operation of this object that may have ended a life, for caches above it."""
        return self._revision

    @property
    def touch_interval(self) -> float:
        """For how many seconds after a `touch` another one writes nothing."""
        return self._settings.touch_interval

    @property
    def leeway(self) -> float:
        """For how many seconds a deny entry outlives its token."""
        return self._settings.leeway

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Connect, check the server and prepare it; doing it again does nothing.

        Raises:
            TokenStoreError: The server can't be reached, or can't serve.
        """
        if self._closed:
            raise StoreClosedError("the token store has been closed; open a new one")
        if self._opened_in is None:
            watch()
            await self._counted(self._open())
            if self._closed:  # meanwhile
                await self._close_once()
                raise StoreClosedError("the token store has been closed; open a new one")
            self._opened_in = forks()
        elif self._opened_in != forks():
            raise StoreClosedError("the token store was opened before a fork; open a new one in each process")

    async def aclose(self) -> None:
        """Close the store; doing it again does nothing."""
        if not self._closed:
            self._closed = True
            opened, self._opened_in = self._opened_in, None
            if opened is not None and opened == forks():
                await self._close_once()

    async def _close_once(self) -> None:
        ended, self._let_go = self._let_go, True
        if not ended:
            await self._close()

    async def stats(self) -> StoreStats:
        """Return what this store has done since it was opened, and what it holds."""
        await self.open()
        tokens, denied = await self._counted(self._sizes())
        return self._counts.stats(tokens=tokens, denied=denied)

    async def ping(self) -> None:
        """Return when the store answers.

        Raises:
            TokenStoreError: It does not.
        """
        await self.open()
        await self._counted(self._ping())

    def _now(self) -> int:
        clock = self._clock
        return microseconds_now() if clock is utc_now else to_microseconds(require_aware("clock", clock()))

    def _lookup(self, jti: str, *, handles: bool = False) -> tuple[bytes, ...] | None:
        """Return what an identifier from outside may be stored under, or `None` for what can't be stored."""
        if not isinstance(jti, str):
            raise ConfigurationError(f"jti must be a str, not {type(jti).__name__}")
        if not 0 < len(jti) <= MAX_IDENTIFIER:
            return None
        digest = digest_in(jti) if handles else None
        return self._hashing.digests(jti) if digest is None else (digest,)

    async def _counted(self, operation: Coroutine[Any, Any, T]) -> T:
        try:
            return await operation
        except TokenStoreError:
            self._counts.add("failed")
            raise

    async def _ending(self, operation: Coroutine[Any, Any, T]) -> T:
        """Await an operation that may end a token's life, also when it fails: its outcome may be unknown."""
        try:
            return await self._counted(operation)
        finally:
            self._revision = next(self._revisions)
