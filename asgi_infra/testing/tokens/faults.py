# ruff: noqa: PT017, S101
"""Answers that never arrive: what a store on a server must do about them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest

from asgi_infra.testing.proxy import CuttingProxy
from asgi_infra.testing.tokens.base import ALICE, StoreTests, live
from asgi_infra.testing.tokens.races import assert_one_winner, together
from asgi_infra.tokens import OutcomeUnknownError, RotationStatus, StoreUnavailableError, TokenStoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asgi_infra.testing.clock import ManualClock
    from asgi_infra.testing.tokens.base import Issue, MakeStore
    from asgi_infra.tokens import TokenStore

TRIES = 8


async def insist(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a call as an application would: as long as the error says that it may."""
    for _ in range(TRIES):
        try:
            return await call()
        except TokenStoreError as error:
            assert getattr(error, "retryable", False), f"{type(error).__name__} is not retryable"
    raise AssertionError("the store has not recovered")


class LostRepliesContract(StoreTests):
    """What a store on a server promises when the server, or the way to it, fails; needs asyncio.

    A subclass overrides two fixtures:

    - `upstream`: the host and the port of a server that runs.
    - `store_factory_at`: a callable that takes a host, a port and the options of a store, and returns a store on that
      server, on the data of this test. Its time-outs should be short, since some tests wait for them.

    Attributes:
        lost_replies: Of how many replies of each operation, at most, one is lost; 12.
        patience: After how many seconds a store that gets no answer must have given up; 30.

    Example:
        >>> class TestMyStoreWithFaults(LostRepliesContract):
        ...     @pytest.fixture
        ...     def upstream(self, server):
        ...         return "127.0.0.1", server.port
        ...
        ...     @pytest.fixture
        ...     def store_factory_at(self):
        ...         return lambda host, port, **options: MyTokenStore(f"my://{host}:{port}", timeout=1, **options)
    """

    lost_replies: ClassVar[int] = 12
    patience: ClassVar[float] = 30

    @pytest.fixture
    def upstream(self) -> tuple[str, int]:
        """Must be overridden."""
        raise TypeError(f"{type(self).__name__} must override the fixture upstream")

    @pytest.fixture
    def store_factory_at(self) -> Callable[..., TokenStore]:
        """Must be overridden."""
        raise TypeError(f"{type(self).__name__} must override the fixture store_factory_at")

    @pytest.fixture
    def store_factory(
        self, store_factory_at: Callable[..., TokenStore], upstream: tuple[str, int]
    ) -> Callable[..., TokenStore]:
        """Makes stores that reach the server without the proxy."""
        return partial(store_factory_at, *upstream)

    @pytest.fixture
    async def proxy(self, upstream: tuple[str, int]) -> AsyncIterator[CuttingProxy]:
        """Stands between the server and the stores that `make_far` makes."""
        async with CuttingProxy(*upstream) as proxy:
            yield proxy

    @pytest.fixture
    async def make_far(
        self, store_factory_at: Callable[..., TokenStore], proxy: CuttingProxy, clock: ManualClock
    ) -> AsyncIterator[MakeStore]:
        """Makes stores that reach the server through the proxy."""
        stores: list[TokenStore] = []

        def make(**options: Any) -> TokenStore:
            stores.append(store_factory_at(proxy.host, proxy.port, **{"clock": clock, **options}))
            return stores[-1]

        yield make
        proxy.resume()
        for store in stores:
            await store.aclose()

    @pytest.fixture
    def far(self, make_far: MakeStore) -> TokenStore:
        """A store whose server is behind the proxy."""
        return make_far()

    # A lost reply

    async def test_a_rotation_whose_reply_was_lost_can_be_repeated(
        self, make_far: MakeStore, store: TokenStore, proxy: CuttingProxy, issue: Issue
    ) -> None:
        far = make_far(grace=0)
        for nth in range(1, self.lost_replies + 1):
            token, successor = issue(), issue()
            await store.save(token)
            await insist(far.ping)
            call = partial(far.rotate, token.jti, successor)
            lost = await _losing(proxy, nth, call)
            rotation = await insist(call)
            assert rotation.status is RotationStatus.ROTATED
            assert await live(store, token, successor) == [False, True]
            assert len(await store.list_for_user(ALICE)) == 1
            await store.revoke_all_for_user(ALICE)
            if not lost:
                break

    async def test_a_save_whose_reply_was_lost_says_what_is_known(
        self, far: TokenStore, store: TokenStore, proxy: CuttingProxy, issue: Issue
    ) -> None:
        for nth in range(1, self.lost_replies + 1):
            token = issue()
            await insist(far.ping)
            cuts = proxy.cuts
            proxy.cut_reply(nth)
            try:
                await far.save(token)
            except OutcomeUnknownError as error:
                assert error.__cause__ is not None
                found = await store.get(token.jti)
                assert found in (None, token)
            except StoreUnavailableError as error:
                assert error.__cause__ is not None
                assert await store.get(token.jti) is None
            else:
                assert await store.get(token.jti) == token
            proxy.resume()
            assert len(await store.list_for_user(ALICE)) <= 1
            await store.revoke_all_for_user(ALICE)
            if proxy.cuts == cuts:
                break

    @pytest.mark.parametrize("by", ["token", "family", "user"])
    async def test_a_revocation_whose_reply_was_lost_can_be_repeated(
        self, far: TokenStore, store: TokenStore, proxy: CuttingProxy, issue: Issue, by: str
    ) -> None:
        for nth in range(1, self.lost_replies + 1):
            token, other = issue(), issue("bob")
            await store.save(token)
            await store.save(other)
            await insist(far.ping)
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "token": partial(far.revoke, token.jti),
                "family": partial(far.revoke_family, token.family_id, user_id=ALICE),
                "user": partial(far.revoke_all_for_user, ALICE),
            }
            lost = await _losing(proxy, nth, calls[by])
            await insist(calls[by])
            assert await live(store, token, other) == [False, True]
            if not lost:
                break

    async def test_whatever_reply_was_lost_the_call_can_be_repeated(
        self, make_far: MakeStore, proxy: CuttingProxy, issue: Issue, clock: ManualClock
    ) -> None:
        far = make_far(touch_interval=0)
        token = issue()
        await far.save(token)
        generation = await far.generation(ALICE)
        await far.deny("denied-before", clock.after(60))
        clock.advance(1)
        calls: list[tuple[Callable[[], Awaitable[Any]], Any]] = [
            (partial(far.is_revoked, token.jti), False),
            (partial(far.touch, token.jti), True),
            (partial(far.deny, "denied", clock.after(60)), None),
            (partial(far.is_denied, "denied-before"), True),
            (partial(far.generation, ALICE), generation),
            (partial(far.is_current, ALICE, generation), True),
            (far.purge_expired, 0),
            (far.ping, None),
        ]
        for call, expected in calls:
            for nth in range(1, self.lost_replies + 1):
                await insist(far.ping)
                lost = await _losing(proxy, nth, call)
                assert await insist(call) == expected
                if not lost:
                    break
        assert await far.is_denied("denied")

    async def test_a_request_that_did_not_arrive_changed_nothing_and_can_be_repeated(
        self, far: TokenStore, store: TokenStore, proxy: CuttingProxy, issue: Issue
    ) -> None:
        token, successor = issue(), issue()
        await store.save(token)
        await insist(far.ping)
        call = partial(far.rotate, token.jti, successor)
        proxy.cut_request()
        try:
            await call()
        except TokenStoreError as error:
            assert getattr(error, "retryable", False)
            assert await live(store, token, successor) == [True, False]
        proxy.resume()
        assert (await insist(call)).status is RotationStatus.ROTATED
        assert await live(store, token, successor) == [False, True]

    # A server that is away

    async def test_a_server_that_is_away_is_an_error_and_when_it_is_back_all_is_well(
        self, far: TokenStore, store: TokenStore, proxy: CuttingProxy, issue: Issue
    ) -> None:
        token = issue()
        await store.save(token)
        for used in (False, True):
            proxy.refusing = True
            proxy.cut()
            calls: list[Callable[[], Awaitable[Any]]] = [
                far.ping if used else far.open,
                far.ping,
                partial(far.get, token.jti),
                partial(far.rotate, token.jti, issue()),
                partial(far.revoke, token.jti),
                partial(far.is_denied, "denied"),
            ]
            for call in calls:
                with anyio.fail_after(self.patience), pytest.raises(TokenStoreError) as caught:
                    await call()
                assert isinstance(caught.value, TokenStoreError if used else StoreUnavailableError)
                assert getattr(caught.value, "retryable", False)
                assert caught.value.__cause__ is not None
            proxy.resume()
            assert await insist(partial(far.get, token.jti)) == token
        assert len(await store.list_for_user(ALICE)) == 1
        assert (await far.stats()).failed >= len(calls)

    async def test_a_server_that_does_not_answer_is_given_up(
        self, far: TokenStore, store: TokenStore, proxy: CuttingProxy, issue: Issue
    ) -> None:
        token, successor = issue(), issue()
        await store.save(token)
        await far.ping()
        proxy.stall()
        with anyio.fail_after(self.patience), pytest.raises(TokenStoreError) as caught:
            await far.rotate(token.jti, successor)
        assert getattr(caught.value, "retryable", False)
        proxy.resume()
        assert (await insist(partial(far.rotate, token.jti, successor))).status is RotationStatus.ROTATED
        assert await live(store, token, successor) == [False, True]

    async def test_a_caller_who_gives_up_on_a_stalled_server_leaves_the_store_whole(
        self, far: TokenStore, store: TokenStore, proxy: CuttingProxy, issue: Issue
    ) -> None:
        token, others = issue(), [issue() for _ in range(4)]
        for each in (token, *others):
            await store.save(each)
        await insist(far.ping)
        proxy.stall()
        with anyio.move_on_after(0.05) as scope:
            await far.get(token.jti)
        assert scope.cancelled_caught
        proxy.resume()
        # An answer that came too late must not be taken for that to another question.
        for each in others * 4:
            assert await insist(partial(far.get, each.jti)) == each
        assert await insist(partial(far.get, "never-saved")) is None

    # Under load

    async def test_one_caller_wins_when_connections_are_cut_in_the_middle(
        self, far: TokenStore, store: TokenStore, proxy: CuttingProxy, issue: Issue, clock: ManualClock
    ) -> None:
        for nth in range(1, self.lost_replies + 1):
            token = issue()
            await store.save(token)
            proxy.cut_reply(nth)
            rotations = await together(
                *[
                    partial(insist, partial(far.rotate, token.jti, lambda old: old.successor(clock=clock)))
                    for _ in range(16)
                ]
            )
            proxy.resume()
            assert len({rotation.token for rotation in rotations}) == 1
            # The winner may have been one whose reply was lost, and who comes second when it asks again.
            assert {rotation.status for rotation in rotations} <= {RotationStatus.ROTATED, RotationStatus.SUPERSEDED}
            assert len(await store.list_for_user(ALICE)) == 1
            await store.revoke_all_for_user(ALICE)

    async def test_one_caller_wins_over_a_slow_line(
        self, far: TokenStore, store: TokenStore, proxy: CuttingProxy, issue: Issue
    ) -> None:
        token = issue()
        await store.save(token)
        await far.open()
        proxy.delay = 0.02
        successor = assert_one_winner(await together(*[partial(far.rotate, token.jti, issue()) for _ in range(8)]))
        assert await far.get(successor.jti) == successor


async def _losing(proxy: CuttingProxy, nth: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Make a call whose n-th reply is lost; returns whether it has so many."""
    cuts = proxy.cuts
    proxy.cut_reply(nth)
    try:
        await call()
    except TokenStoreError as error:
        assert getattr(error, "retryable", False), f"{type(error).__name__} is not retryable"
        assert isinstance(error, (OutcomeUnknownError, StoreUnavailableError))
        assert error.__cause__ is not None
    finally:
        proxy.resume()
    return proxy.cuts > cuts
