"""What is asked of a token store, the same for every backend."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING

from asgi_infra.tokens import RotationStatus, StoredToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asgi_infra.tokens import TokenStore

DAY = timedelta(days=1)
# With it a token of ten fields is 200 bytes of JSON, such as others keep for one.
DEVICE = {"device": "phone", "ip": "192.0.2.7"}


def token_of(user: str) -> StoredToken:
    return StoredToken.issue(user, lifetime=DAY, metadata=DEVICE)


async def shared(work: Callable[[int], Awaitable[object]], *, tasks: int, times: int) -> float:
    """Run a piece of work so many times in so many tasks, and return how many were done a second."""
    numbers = iter(range(times))

    async def run() -> None:
        for number in numbers:
            await work(number)

    started = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(run())
    return times / (perf_counter() - started)


@dataclass(frozen=True)
class Race:
    """What rounds of one token and many callers came to."""

    rounds: int
    winners: tuple[int, int]
    """The fewest and the most callers that were told `rotated`."""
    successors: tuple[int, int]
    """The fewest and the most different successors that the callers of a round were given."""
    refused: int
    """How many callers were given none."""


async def race(stores: Sequence[TokenStore], *, rounds: int, callers: int = 64) -> Race:
    """Let callers, spread over stores with the same data, rotate the same token at once."""
    winners, successors, refused = [], [], 0
    for number in range(rounds):
        token = token_of(f"racer-{number}")
        await stores[0].save(token)
        calls = [stores[each % len(stores)].rotate(token.jti, token.successor()) for each in range(callers)]
        rotations = await asyncio.gather(*calls)
        winners.append(sum(rotation.status is RotationStatus.ROTATED for rotation in rotations))
        successors.append(len({rotation.token.jti for rotation in rotations if rotation.token is not None}))
        refused += sum(rotation.token is None for rotation in rotations)
        await stores[0].revoke_all_for_user(token.user_id)
    return Race(rounds, (min(winners), max(winners)), (min(successors), max(successors)), refused)


async def interleavings(store: TokenStore, *, rounds: int, seed: int = 7) -> int:
    """Revoke a family while it is rotated and touched, in random order; return how many were live afterwards."""
    chance = random.Random(seed)
    back = 0

    async def one(number: int) -> None:
        nonlocal back
        token = token_of(f"user-{number}")
        await store.save(token)
        successor = token.successor()

        async def later(work: Awaitable[object]) -> None:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            await work

        calls: list[Awaitable[object]] = [
            store.revoke(token.jti),
            store.rotate(token.jti, successor),
            store.touch(token.jti),
            store.rotate(token.jti, token.successor()),
            store.touch(successor.jti),
        ]
        chance.shuffle(calls)
        await asyncio.gather(*map(later, calls))
        back += len(await store.list_for_user(token.user_id))

    await shared(one, tasks=16, times=rounds)
    return back


async def rotated_session(store: TokenStore, *, rotations: int) -> StoredToken:
    """Rotate one session so many times, and return its last token."""
    token = token_of("walker")
    await store.save(token)
    for _ in range(rotations):
        rotation = await store.rotate(token.jti, token.successor())
        if rotation.token is None:
            raise RuntimeError(f"a rotation ended with {rotation.status}")
        token = rotation.token
    return token


async def rotations_a_second(stores: Sequence[TokenStore], *, tasks: int, times: int) -> float:
    """Return how many rotations a second tasks make, each of its own sessions."""
    tokens = [token_of(f"client-{number}") for number in range(times)]
    for start in range(0, times, 100):
        await asyncio.gather(*(stores[0].save(token) for token in tokens[start : start + 100]))

    async def rotate(number: int) -> None:
        token = tokens[number]
        rotation = await stores[number % len(stores)].rotate(token.jti, token.successor())
        if rotation.status is not RotationStatus.ROTATED:
            raise RuntimeError(f"a rotation ended with {rotation.status}")

    return await shared(rotate, tasks=tasks, times=times)
