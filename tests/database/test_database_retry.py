from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.database import (
    Backoff,
    ConnectionFailedError,
    DatabaseSession,
    IntegrityViolationError,
    OutcomeUnknownError,
    PoolExhaustedError,
    SerializationFailureError,
)
from asgi_infra.database.retry import retry

pytestmark = pytest.mark.anyio


class Attempts:
    """Fails with the given errors in turn, then returns how often it was called; remembers the pauses."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0
        self.pauses = []

    async def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls

    async def sleep(self, seconds):
        self.pauses.append(seconds)

    async def run(self, backoff, share=1.0):
        return await retry(self, backoff, sleep=self.sleep, uniform=lambda low, high: low + share * (high - low))


async def test_lost_connections_and_lost_races_are_tried_again_with_growing_ceilings():
    attempts = Attempts(SerializationFailureError("a"), ConnectionFailedError("b"), SerializationFailureError("c"))
    assert await attempts.run(Backoff(base=0.1, longest=0.3)) == 4
    assert attempts.pauses == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "error",
    [
        IntegrityViolationError("x"),
        OutcomeUnknownError("x"),
        PoolExhaustedError("x"),
        ConnectionFailedError("x", retryable=False),
        ValueError("x"),
        KeyboardInterrupt(),
    ],
)
async def test_what_no_retry_can_mend_is_raised_at_once(error):
    attempts = Attempts(error)
    with pytest.raises(type(error)) as caught:
        await attempts.run(Backoff())
    assert caught.value is error
    assert (attempts.calls, attempts.pauses) == (1, [])


async def test_the_last_failure_is_raised_with_the_number_of_attempts():
    failures = [SerializationFailureError(str(number)) for number in range(9)]
    attempts = Attempts(*failures)
    with pytest.raises(SerializationFailureError) as caught:
        await attempts.run(Backoff(attempts=3))
    assert caught.value is failures[2]
    assert caught.value.__notes__ == ["Given up after 3 attempts."]
    assert len(attempts.pauses) == 2


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0.001, 10),
    factor=st.floats(1, 1000),
)
def test_no_pause_is_longer_than_the_longest(attempt, base, factor):
    backoff = Backoff(base=base, longest=base * factor)
    assert 0 < backoff.ceiling(attempt) <= backoff.longest
    assert backoff.ceiling(attempt) <= backoff.ceiling(attempt + 1)


async def test_the_pause_is_drawn_from_the_whole_interval():
    attempts = Attempts(SerializationFailureError("a"))
    await attempts.run(Backoff(base=0.1), share=0.0)
    assert attempts.pauses == [0.0]


async def test_a_task_that_was_cancelled_during_an_attempt_makes_no_other_one():
    class Cancelled(Attempts):
        async def __call__(self):
            asyncio.current_task().cancel()
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:  # as a rollback that ends with the transaction's own error does
                return await super().__call__()

    attempts = Cancelled(SerializationFailureError("a"))
    with pytest.raises(SerializationFailureError):
        await asyncio.create_task(attempts.run(Backoff(base=0.1)))
    assert attempts.calls == 1


async def test_each_attempt_has_a_session_of_its_own_and_only_the_last_is_kept(sqlite_url):
    from sqlalchemy import text

    seen = []

    async def work(session):
        await session.execute(text("INSERT INTO items VALUES (1)"))
        seen.append(session)
        if len(seen) < 3:
            raise SerializationFailureError("lost")
        return "done"

    async with DatabaseSession(sqlite_url) as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE items (id INT)"))
        assert await db.run(work, backoff=Backoff(base=0.001, longest=0.001)) == "done"
        async with db.session() as session:
            assert (await session.execute(text("SELECT count(*) FROM items"))).scalar() == 1
    assert len({id(session) for session in seen}) == 3
