from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.context import bind, get_client_address, get_request_id, get_user_id

if TYPE_CHECKING:
    from collections.abc import Callable

GETTERS: dict[str, Callable[[], str | None]] = {
    "request_id": get_request_id,
    "user_id": get_user_id,
    "client_address": get_client_address,
}


def _bound() -> dict[str, str | None]:
    return {name: get() for name, get in GETTERS.items()}


def test_there_is_no_value_outside_of_a_request() -> None:
    assert _bound() == dict.fromkeys(GETTERS)


values = st.dictionaries(st.sampled_from(list(GETTERS)), st.none() | st.text())


@given(outer=values, inner=values)
def test_only_what_is_given_is_bound_and_all_of_it_is_restored(
    outer: dict[str, str | None], inner: dict[str, str | None]
) -> None:
    with bind(**outer):
        assert _bound() == {**dict.fromkeys(GETTERS), **outer}
        with bind(**inner):
            assert _bound() == {**dict.fromkeys(GETTERS), **outer, **inner}
        assert _bound() == {**dict.fromkeys(GETTERS), **outer}
    assert _bound() == dict.fromkeys(GETTERS)


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
    with pytest.raises(kind), bind(request_id="failing", user_id="alice", client_address="192.0.2.7"):
        raise kind
    assert _bound() == dict.fromkeys(GETTERS)


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
