"""Reads that share a way to the server."""

from __future__ import annotations

import asyncio

import pytest

from asgi_infra.tokens.backends.redis.reads import MAX_BATCH, Reads

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class SlowNode:
    """Answers each batch after a few ticks, and notes until when it may take."""

    def __init__(self):
        self.batches = []

    async def execute(self, commands, until):
        for _ in range(3):
            await asyncio.sleep(0)
        self.batches.append((int(commands[0][1]), len(commands), until))
        return [b"%d" % until] * len(commands)


async def test_each_batch_has_the_time_of_its_first_read_also_when_some_are_always_waiting():
    node = SlowNode()
    reads = Reads(node, together=False)
    waiting = 6 * MAX_BATCH
    futures = []
    for number in range(20 * MAX_BATCH):
        futures.append(reads.add(str(number), b"", float(number)))
        if number > waiting:
            assert await futures[number - waiting] is not None
    await asyncio.gather(*futures)
    assert [until for _, _, until in node.batches] == [float(first) for first, _, _ in node.batches]
    assert max(size for _, size, _ in node.batches) == MAX_BATCH
