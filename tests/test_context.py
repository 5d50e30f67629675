from __future__ import annotations

import asyncio
import contextvars

import pytest

from asgi_infra.context import bind, get_request_id


def test_there_is_no_id_outside_of_a_request() -> None:
    assert get_request_id() is None


def test_bind_holds_inside_and_restores_what_was_before() -> None:
    with bind(request_id="outer"):
        with bind(request_id="inner"):
            assert get_request_id() == "inner"
        assert get_request_id() == "outer"
    assert get_request_id() is None


def test_bind_can_say_that_there_is_no_request() -> None:
    with bind(request_id="outer"), bind(request_id=None):
        assert get_request_id() is None


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
def test_bind_restores_whatever_happens_inside(kind: type[BaseException]) -> None:
    with pytest.raises(kind), bind(request_id="failing"):
        raise kind
    assert get_request_id() is None


def test_what_was_started_inside_keeps_the_id_afterwards() -> None:
    with bind(request_id="parent"):
        context = contextvars.copy_context()
    assert context.run(get_request_id) == "parent"
    assert get_request_id() is None


def test_bound_ids_of_tasks_do_not_mix() -> None:
    async def worker(name: str, others: asyncio.Barrier) -> str | None:
        with bind(request_id=name):
            await others.wait()
            return get_request_id()

    async def main() -> list[str | None]:
        others = asyncio.Barrier(5)
        return await asyncio.gather(*(worker(f"job-{number}", others) for number in range(5)))

    assert asyncio.run(main()) == [f"job-{number}" for number in range(5)]
