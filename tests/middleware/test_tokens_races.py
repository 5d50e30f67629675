"""Requests and revocations in any order: who asks after a revocation has returned is never let in."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_driver import Moody, Visited, guarded, issued, new_clock, request

from asgi_infra.testing import drive

steps = st.sampled_from(["ask", "revoke", "revoke user", "rotate", "reissue", "wait", "tick"])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(
    plan=st.lists(st.tuples(steps, st.integers(0, 4), st.integers(0, 1)), max_size=25), seconds=st.sampled_from([0, 60])
)
def test_a_request_that_starts_after_a_revocation_is_refused(backend, plan, seconds):
    """Each question and each answer of the store is held up for so many turns of the event loop."""
    clock = new_clock()
    store = Moody(clock=clock)
    guard = guarded(Visited(), store, cache_seconds=seconds, touch=False, clock=clock)
    delays = {"before": 0, "after": 0}

    async def hold(when: str) -> None:
        for _ in range(delays[when]):
            await anyio.lowlevel.checkpoint()

    async def main() -> None:
        store.before, store.after = (lambda: hold("before")), (lambda: hold("after"))
        tokens = [issued(clock, "alice"), issued(clock, "bob")]
        ended: set[str] = set()
        wrong: list[str] = []
        for token in tokens:
            await store.save(token)

        async def ask(token: Any) -> None:
            was_over = token.jti in ended
            driven = await drive(guard, request(token))
            if was_over and driven.status != 401:
                wrong.append(f"let in with {driven.status} after its end")

        async with anyio.create_task_group() as tasks:
            for step, delay, which in plan:
                token = tokens[which]
                delays["before"], delays["after"] = delay, 4 - delay
                if step == "ask":
                    tasks.start_soon(ask, token)
                elif step == "wait":
                    await anyio.wait_all_tasks_blocked()
                elif step == "tick":
                    await anyio.lowlevel.checkpoint()
                elif step == "reissue":
                    tokens[which] = issued(clock, token.user_id)
                    await store.save(tokens[which])
                elif step == "rotate":
                    rotation = await store.rotate(token.jti, lambda token: token.successor(clock=clock))
                    ended.add(token.jti)
                    tokens[which] = rotation.token or token
                else:
                    if step == "revoke":
                        await store.revoke(token.jti)
                    else:
                        await store.revoke_all_for_user(token.user_id)
                    ended.add(token.jti)
        assert wrong == []
        for token in tokens:
            assert (await drive(guard, request(token))).status == (401 if token.jti in ended else 200)

    anyio.run(main, backend=backend)
