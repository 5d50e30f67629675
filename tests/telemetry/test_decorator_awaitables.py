"""The spans of coroutines, and of what functions return."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import logging

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, StatusCode
from traced_subjects import MAKERS, current_name

from asgi_infra.telemetry import traced


@pytest.mark.anyio
async def test_a_coroutine_has_its_span_until_it_returns(spans, pause):
    @traced("subject")
    async def subject():
        await pause()
        return current_name()

    assert await subject() == "subject"
    assert spans.one.status.status_code is StatusCode.UNSET
    assert trace.get_current_span() is INVALID_SPAN


@pytest.mark.anyio
async def test_cancelling_a_coroutine_is_no_error(spans):
    with anyio.move_on_after(0):
        await traced("subject")(anyio.sleep_forever)()
    assert spans.one.status.status_code is StatusCode.UNSET
    assert spans.one.events == ()


@pytest.mark.anyio
async def test_concurrent_coroutines_do_not_see_each_others_spans(spans, pause):
    @traced("subject")
    async def subject(seen):
        for _ in range(3):
            await pause()
            seen.append(trace.get_current_span().get_span_context().span_id)

    results = [[] for _ in range(5)]
    async with anyio.create_task_group() as group:
        for seen in results:
            group.start_soon(subject, seen)
    assert all(len(set(seen)) == 1 for seen in results)
    assert len({seen[0] for seen in results}) == 5


def test_a_coroutine_that_is_closed_by_the_garbage_collector_ends_its_span_quietly(spans, caplog):
    @traced("subject")
    async def subject():
        await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    coroutine = subject()
    contextvars.copy_context().run(coroutine.send, None)
    with caplog.at_level(logging.DEBUG):
        coroutine.close()
    loop.close()
    assert spans.one.status.status_code is StatusCode.UNSET
    assert [record for record in caplog.records if "detach" in record.message] == []


def test_a_function_that_returns_a_coroutine_has_its_span_until_it_is_awaited(spans):
    async def work():
        await asyncio.sleep(0)
        return current_name()

    @traced("subject")
    def subject():
        return work()

    async def main():
        coroutine = subject()
        assert inspect.iscoroutine(coroutine)
        assert spans.all == ()
        return await asyncio.create_task(coroutine)

    assert asyncio.run(main()) == "subject"
    assert spans.names == ["subject"]


def test_a_function_that_returns_a_future_hands_out_that_future(spans):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        subject = traced("subject")(lambda: future)
        assert subject() is future
        assert spans.all == ()
        future.set_result(5)
        assert await future == 5
        await asyncio.sleep(0)
        assert spans.one.status.status_code is StatusCode.UNSET
        spans.clear()

        failing = loop.create_future()
        traced("subject")(lambda: failing)()
        failing.set_exception(ValueError("late"))
        await asyncio.sleep(0)
        assert spans.one.status.description == "ValueError: late"
        assert failing._log_traceback, "asyncio still reports that nobody took the exception"
        with pytest.raises(ValueError, match="late"):
            await failing
        spans.clear()

        cancelled = loop.create_future()
        traced("subject")(lambda: cancelled)()
        cancelled.cancel()
        await asyncio.sleep(0)
        assert spans.one.status.status_code is StatusCode.UNSET

    asyncio.run(main())


def test_a_function_that_returns_another_awaitable_keeps_its_span_until_it_is_awaited(spans):
    class Query:
        sql = "select 1"

        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return current_name()

    async def run():
        query = traced("subject")(lambda: Query())()
        assert query.sql == "select 1"
        assert spans.all == ()
        return await query

    assert asyncio.run(run()) == "subject"
    assert spans.names == ["subject"]


def test_a_result_that_is_a_context_manager_too_is_left_alone(spans):
    class Both:
        def __await__(self):
            return iter(())

        async def __aenter__(self):
            return self

    result = Both()
    assert traced("subject")(lambda: result)() is result
    assert spans.names == ["subject"]


def test_a_function_that_returns_a_generator_has_its_span_until_it_is_exhausted(spans):
    def work():
        yield current_name()

    result = traced("subject")(lambda: work())()
    assert inspect.isgenerator(result)
    assert spans.all == ()
    assert list(result) == ["subject"]
    assert spans.names == ["subject"]


def test_a_function_that_returns_an_async_generator_has_its_span_until_it_is_exhausted(spans):
    async def work():
        yield current_name()

    async def main():
        result = traced("subject")(lambda: work())()
        assert inspect.isasyncgen(result)
        assert spans.all == ()
        return [item async for item in result]

    assert asyncio.run(main()) == ["subject"]
    assert spans.names == ["subject"]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
def test_a_result_that_nobody_takes_up_ends_its_span_when_it_is_collected(spans, kind):
    work = MAKERS[kind]()
    result = traced("subject")(lambda: work(1))()
    assert spans.all == ()
    del result
    gc.collect()
    assert spans.names == ["subject"]
