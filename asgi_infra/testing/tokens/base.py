"""What all tests of token stores stand on: the fixtures."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytest

from asgi_infra.testing.clock import ManualClock
from asgi_infra.tokens import StoredToken
from asgi_infra.tokens.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from asgi_infra.tokens import TokenStore
    from asgi_infra.tokens.clock import Clock

ALICE = "alice"
BOB = "bob"
KEY = b"k" * 32
NEW_KEY = b"n" * 32


class MakeStore(Protocol):
    """Makes a store on the data of this test; it is closed at its end."""

    def __call__(self, **options: Any) -> TokenStore: ...


class Issue(Protocol):
    """Makes a token that the test's clock holds for good for an hour, or for `lifetime` seconds."""

    def __call__(self, user_id: str = ALICE, *, lifetime: float = 3600, **values: Any) -> StoredToken: ...


def issuing(clock: Clock) -> Issue:
    """Return a function that makes tokens by a clock."""

    def issue(user_id: str = ALICE, *, lifetime: float = 3600, **values: Any) -> StoredToken:
        return StoredToken.issue(user_id, lifetime=timedelta(seconds=lifetime), clock=clock, **values)

    return issue


class StoreTests:
    """The fixtures, and what a backend's own test class overrides; see `TokenStoreContract`."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]

    shared: ClassVar[bool] = True

    @pytest.fixture(params=["asyncio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> Any:
        """Override it to run on other event loops too."""
        return request.param

    @classmethod
    def _gives_one_store(cls) -> bool:
        overridden = {name for each in cls.__mro__[: cls.__mro__.index(StoreTests)] for name in vars(each)}
        return "store" in overridden and "store_factory" not in overridden

    @pytest.fixture
    def store_factory(self) -> Callable[..., TokenStore]:
        """Must be overridden, or `store` for a part of the contract."""
        if self._gives_one_store():
            pytest.skip("the test makes stores with options: override the fixture store_factory")
        raise TypeError(f"{type(self).__name__} must override the fixture store_factory, or store")

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock of every store of the test."""
        if self._gives_one_store():
            pytest.skip("the test moves the store's clock: override the fixture store_factory")
        return ManualClock()

    @pytest.fixture
    def issue(self, request: pytest.FixtureRequest) -> Issue:
        """Makes tokens for the test."""
        return issuing(utc_now if self._gives_one_store() else request.getfixturevalue("clock"))

    @pytest.fixture
    async def make_store(
        self, store_factory: Callable[..., TokenStore], clock: ManualClock
    ) -> AsyncIterator[MakeStore]:
        """Makes stores, all on the same data where they share it."""
        async with AsyncExitStack() as stack:

            def make(**options: Any) -> TokenStore:
                store = store_factory(**{"clock": clock, **options})
                stack.push_async_callback(store.aclose)
                return store

            yield make

    @pytest.fixture
    def store(self, make_store: MakeStore) -> TokenStore:
        """A store with the default options."""
        return make_store()

    @pytest.fixture
    def several(self) -> None:
        """Skip a test that needs stores which share their data, where they don't."""
        if not self.shared:
            pytest.skip("the stores of this backend do not share their data")


async def live(store: TokenStore, *tokens: StoredToken) -> list[bool]:
    """Return which tokens are live."""
    return [await store.get(token.jti) is not None for token in tokens]
