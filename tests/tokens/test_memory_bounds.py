from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_infra.testing import ManualClock
from asgi_infra.tokens import InMemoryTokenStore, StoredToken, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = ManualClock()()


def issue(issued: float, ends: float, user_id: str = "alice") -> StoredToken:
    """Return a token that was issued, and ends, so many seconds after the start."""
    return StoredToken.issue(
        user_id,
        expires_at=START + timedelta(seconds=ends),
        clock=lambda: START + timedelta(seconds=issued),
    )


async def left(store: InMemoryTokenStore, tokens: list[StoredToken]) -> list[int]:
    return [number for number, token in enumerate(tokens) if await store.get(token.jti) is not None]


# Property 6: what goes first


@given(
    bound=st.integers(1, 8),
    tokens=st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 1000)), max_size=30, unique_by=lambda pair: pair[0]),
    waits=st.lists(st.integers(0, 200), min_size=30, max_size=30),
)
def test_property_06_eviction_order_expired_first_then_the_oldest_by_issue(
    bound: int, tokens: list[tuple[int, int]], waits: list[int]
) -> None:
    async def compare() -> None:
        clock = ManualClock()
        store = InMemoryTokenStore(max_entries=bound, clock=clock)
        expected: list[StoredToken] = []
        evicted = 0
        for (issued, lifetime), wait in zip(tokens, waits, strict=False):
            clock.advance(wait)
            token = issue(issued, issued + lifetime)
            if token.is_expired(clock()):
                continue
            await store.save(token)
            expected = [each for each in expected if not each.is_expired(clock())]
            if len(expected) == bound:
                expected.remove(min(expected, key=lambda each: each.issued_at))
                evicted += 1
            expected.append(token)
            stats = await store.stats()
            assert stats.tokens is not None
            assert stats.tokens <= bound
            assert stats.evicted == evicted
            # What is kept is listed in the order of issue.
            listed = await store.list_for_user("alice")
            assert listed == sorted(expected, key=lambda each: each.issued_at, reverse=True)

    anyio.run(compare)


async def _fill(store: InMemoryTokenStore, tokens: list[StoredToken]) -> None:
    for token in tokens:
        await store.save(token)


@pytest.mark.anyio
async def test_property_06_eviction_order_in_the_order_of_saving() -> None:
    clock = ManualClock()
    store = InMemoryTokenStore(max_entries=3, clock=clock)
    tokens = [issue(number, 1000) for number in range(6)]
    for number, token in enumerate(tokens):
        await store.save(token)
        assert await left(store, tokens) == list(range(max(0, number - 2), number + 1))


@pytest.mark.anyio
async def test_property_06_eviction_order_is_by_issue_and_not_by_expiry_or_use() -> None:
    clock = ManualClock()
    store = InMemoryTokenStore(max_entries=3, clock=clock, touch_interval=0)
    tokens = [issue(2, 30), issue(0, 1000), issue(1, 60)]
    await _fill(store, tokens)
    clock.advance(10)
    assert await store.touch(tokens[1].jti)
    await store.save(issue(10, 1000))
    assert await left(store, tokens) == [0, 2]
    await store.save(issue(10, 1000))
    assert await left(store, tokens) == [0]


@pytest.mark.anyio
async def test_property_06_eviction_order_spares_the_live_while_something_has_expired() -> None:
    clock = ManualClock()
    store = InMemoryTokenStore(max_entries=4, clock=clock)
    tokens = [issue(0, 1000), issue(1, 10), issue(2, 1000), issue(3, 10)]
    await _fill(store, tokens)
    clock.advance(10)
    await store.save(issue(10, 1000))
    await store.save(issue(10, 1000))
    assert await left(store, tokens) == [0, 2]
    assert (await store.stats()).evicted == 0


@pytest.mark.anyio
@pytest.mark.parametrize("restored", [False, True])
async def test_a_full_store_still_answers_who_repeats_a_rotation(restored: bool, tmp_path: Path) -> None:
    clock = ManualClock()
    store = InMemoryTokenStore(max_entries=4, clock=clock, snapshot=tmp_path / "tokens")
    oldest, *others = tokens = [issue(number, 1000) for number in range(4)]
    await _fill(store, tokens)
    clock.advance(10)
    successor = oldest.successor(clock=clock)
    assert (await store.rotate(oldest.jti, successor)).status == "rotated"
    if restored:
        await store.aclose()
        store = InMemoryTokenStore(max_entries=4, clock=clock, snapshot=tmp_path / "tokens")
        await store.save(issue(10, 1000))
    assert (await store.rotate(oldest.jti, successor)).status == "rotated"
    assert (await store.rotate(oldest.jti, oldest.successor(clock=clock))).status == "superseded"
    assert await store.get(successor.jti) is not None
    assert await left(store, others) == ([2] if restored else [1, 2])


@pytest.mark.anyio
async def test_what_was_evicted_leaves_no_trace() -> None:
    store = InMemoryTokenStore(max_entries=2, clock=ManualClock())
    tokens = [issue(number, 1000, f"user-{number}") for number in range(50)]
    await _fill(store, tokens)
    for token in tokens[:-2]:
        assert await store.list_for_user(token.user_id) == []
        assert await store.revoke_family(token.family_id) == 0
    assert (await store.stats()).tokens == 2
    await store.save(tokens[0])
    assert await left(store, tokens) == [0, 49]


def _threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run work in threads of their own event loops, all at once."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    async def go(number: int) -> Any:
        return await work(number)

    def run(number: int) -> None:
        barrier.wait()
        results[number] = anyio.run(go, number)

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_property_06_eviction_order_holds_with_threads() -> None:
    store = InMemoryTokenStore(max_entries=50, clock=ManualClock())
    tokens = [[issue(number + thread / 10, 1000) for number in range(200)] for thread in range(4)]
    _threads(4, lambda thread: _fill(store, tokens[thread]))

    async def look() -> None:
        stats = await store.stats()
        assert (stats.tokens, stats.saved, stats.evicted) == (50, 800, 750)
        listed = await store.list_for_user("alice")
        assert len(listed) == 50
        for own in tokens:
            # Of each thread's tokens, which it saved in order, a tail is left.
            kept = await left(store, own)
            assert kept == list(range(200 - len(kept), 200))

    anyio.run(look)


@pytest.mark.anyio
async def test_deny_entries_that_matter_are_never_dropped() -> None:
    clock = ManualClock()
    store = InMemoryTokenStore(max_entries=3, clock=clock, leeway=0)
    for number in range(3):
        await store.deny(f"denied-{number}", clock.after(10 + number))
    with pytest.raises(StoreFullError) as caught:
        await store.deny("denied-3", clock.after(100))
    assert not caught.value.retryable
    assert not await store.is_denied("denied-3")
    await store.deny("denied-0", clock.after(50))
    clock.advance(11)
    await store.deny("denied-3", clock.after(100))
    assert [number for number in range(4) if await store.is_denied(f"denied-{number}")] == [0, 2, 3]


@pytest.mark.parametrize("bound", [0, -1, True, 1.5, "10", None])
def test_a_wrong_bound_is_refused(bound: Any) -> None:
    with pytest.raises(ValueError, match=r"^max_entries must"):
        InMemoryTokenStore(max_entries=bound)


# Property 7: all of a user


@given(
    mine=st.integers(0, 12),
    theirs=st.integers(0, 5),
    used=st.integers(0, 5),
    keep=st.booleans(),
)
def test_property_07_revoke_all_for_user_is_complete(mine: int, theirs: int, used: int, keep: bool) -> None:
    async def compare() -> None:
        store = InMemoryTokenStore(clock=ManualClock())
        own = [issue(number, 1000) for number in range(mine)]
        others = [issue(number, 1000, "bob") for number in range(theirs)]
        await _fill(store, own + others)
        for number in range(min(used, mine)):
            rotation = await store.rotate(own[number].jti, issue(100 + number, 1000))
            assert rotation.token is not None
            own.append(rotation.token)
        kept = own[-1].jti if keep and own else None
        revoked = await store.revoke_all_for_user("alice", except_jti=kept)
        assert revoked == mine - (kept is not None)
        assert await left(store, own) == ([len(own) - 1] if kept else [])
        assert len(await store.list_for_user("alice")) == (kept is not None)
        assert await left(store, others) == list(range(theirs))

    anyio.run(compare)


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 40))
def test_property_07_revoke_all_for_user_is_complete_under_concurrent_saves(saves: int, before: int) -> None:
    store = InMemoryTokenStore(clock=ManualClock())
    first = [issue(number, 1000) for number in range(before)]
    during = [[issue(number, 1000) for number in range(saves)] for _ in range(2)]
    others = [issue(number, 1000, "bob") for number in range(3)]
    anyio.run(_fill, store, first + others)

    async def work(thread: int) -> int:
        if thread < 2:
            await _fill(store, during[thread])
            return 0
        return await store.revoke_all_for_user("alice")

    revoked = _threads(3, work)[2]

    async def look() -> None:
        assert await left(store, first) == []
        assert await left(store, others) == [0, 1, 2]
        listed = await store.list_for_user("alice")
        # Everything was either revoked in that one step, or saved after it.
        assert revoked + len(listed) == before + 2 * saves
        for own in during:
            kept = await left(store, own)
            assert kept == list(range(saves - len(kept), saves))

    anyio.run(look)


def test_property_07_revoke_all_for_user_leaves_nothing_to_rotate_with_threads() -> None:
    store = InMemoryTokenStore(clock=ManualClock())
    tokens = [issue(number, 1000) for number in range(60)]
    anyio.run(_fill, store, tokens)

    async def work(thread: int) -> None:
        if thread == 3:
            await store.revoke_all_for_user("alice")
            return
        for token in tokens[thread::3]:
            current: StoredToken | None = token
            for _ in range(3):
                if current is not None:
                    current = (await store.rotate(current.jti, issue(500, 1000))).token

    _threads(4, work)

    async def look() -> None:
        assert await store.list_for_user("alice") == []
        assert (await store.stats()).revoked == 60

    anyio.run(look)
