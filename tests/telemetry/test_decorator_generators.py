"""The spans of generators and async generators."""

from __future__ import annotations

import asyncio
import gc
import logging
import types
from contextlib import contextmanager

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, StatusCode
from traced_subjects import current_name

from asgi_infra.telemetry import traced

# ---- generators ------------------------------------------------------------------------------------------------


@traced("numbers")
def numbers(log):
    try:
        while True:
            log.append(current_name())
            try:
                received = yield len(log)
            except KeyError as exc:
                received = f"caught {exc}"
            log.append(received)
            if received == "stop":
                return "result"
    finally:
        log.append(f"closed in {current_name()}")


def test_the_span_of_a_generator_lasts_from_the_first_step_to_the_last(spans):
    generator = numbers([])
    assert spans.all == ()
    assert trace.get_current_span() is INVALID_SPAN
    assert next(generator) == 1
    assert spans.all == ()
    with pytest.raises(StopIteration) as stop:
        generator.send("stop")
    assert stop.value.value == "result"
    assert spans.one.status.status_code is StatusCode.UNSET


def test_the_span_of_a_generator_is_current_inside_and_never_in_the_consumer(spans):
    log = []
    generator = numbers(log)
    tracer = trace.get_tracer("test")
    for step in (None, "again"):
        with tracer.start_as_current_span("consumer"):
            generator.send(step)
            assert current_name() == "consumer"
        assert trace.get_current_span() is INVALID_SPAN
    generator.close()
    assert log == ["numbers", "again", "numbers", "closed in numbers"]


def test_send_and_throw_reach_the_generator(spans):
    log = []
    generator = numbers(log)
    next(generator)
    generator.send("sent")
    generator.throw(KeyError("thrown"))
    assert log == ["numbers", "sent", "numbers", "caught 'thrown'", "numbers"]
    with pytest.raises(ValueError, match="not caught"):
        generator.throw(ValueError("not caught"))
    assert spans.one.status.status_code is StatusCode.ERROR
    assert len(spans.one.events) == 1


def test_closing_a_generator_early_is_no_error_and_ends_the_span(spans):
    log = []
    for _ in numbers(log):
        break
    gc.collect()
    assert log[-1] == "closed in numbers"
    assert spans.one.status.status_code is StatusCode.UNSET


def test_a_generator_that_is_never_started_has_no_span(spans):
    numbers([]).close()
    assert spans.all == ()


def test_a_generator_that_refuses_to_close_fails_as_it_would_without_tracing(spans):
    @traced
    def subject():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = subject()
    next(generator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        generator.close()
    assert spans.one.status.status_code is StatusCode.ERROR


def test_what_a_generator_makes_current_stays_current_inside_of_it(spans, caplog):
    tracer = trace.get_tracer("test")

    @traced("outer")
    def subject():
        with tracer.start_as_current_span("inner"):
            yield current_name()
            yield current_name()
        yield current_name()

    seen = []
    for inside in subject():
        seen.append((inside, current_name()))
    assert seen == [("inner", None), ("inner", None), ("outer", None)]
    assert spans.named("inner").parent.span_id == spans.named("outer").context.span_id
    assert caplog.records == []


def test_yield_from_and_context_managers_over_a_traced_generator_work(spans):
    @contextmanager
    @traced("resource")
    def resource():
        yield current_name()

    with resource() as inside:
        assert inside == "resource"
        assert current_name() is None
    with pytest.raises(ZeroDivisionError), resource():
        1 / 0  # noqa: B018
    assert [span.status.status_code for span in spans.all] == [StatusCode.UNSET, StatusCode.ERROR]

    def delegating():
        return (yield from numbers([]))

    generator = delegating()
    next(generator)
    with pytest.raises(StopIteration) as stop:
        generator.send("stop")
    assert stop.value.value == "result"


def test_a_generator_based_coroutine_stays_awaitable(spans):
    @traced("subject")
    @types.coroutine
    def subject():
        yield from asyncio.sleep(0).__await__()
        return current_name()

    async def main():
        return await subject()

    assert asyncio.run(main()) == "subject"
    assert spans.names == ["subject"]


# ---- async generators ------------------------------------------------------------------------------------------


@traced("ticks")
async def ticks(log, pause):
    try:
        while True:
            await pause()
            log.append(current_name())
            try:
                received = yield len(log)
            except KeyError as exc:
                received = f"caught {exc}"
            log.append(received)
            if received == "stop":
                return
    finally:
        await pause()
        log.append(f"closed in {current_name()}")


@pytest.mark.anyio
async def test_the_span_of_an_async_generator_is_never_current_in_the_consumer(spans, pause):
    log = []
    generator = ticks(log, pause)
    tracer = trace.get_tracer("test")
    for step in (None, "again"):
        with tracer.start_as_current_span("consumer"):
            await generator.asend(step)
            assert current_name() == "consumer"
        assert trace.get_current_span() is INVALID_SPAN
        assert "ticks" not in spans.names
    with pytest.raises(StopAsyncIteration):
        await generator.asend("stop")
    assert log == ["ticks", "again", "ticks", "stop", "closed in ticks"]
    assert spans.named("ticks").status.status_code is StatusCode.UNSET


@pytest.mark.anyio
async def test_asend_and_athrow_reach_the_async_generator(spans, pause):
    log = []
    generator = ticks(log, pause)
    await anext(generator)
    await generator.asend("sent")
    await generator.athrow(KeyError("thrown"))
    assert log == ["ticks", "sent", "ticks", "caught 'thrown'", "ticks"]
    with pytest.raises(ValueError, match="not caught"):
        await generator.athrow(ValueError("not caught"))
    assert spans.one.status.status_code is StatusCode.ERROR
    assert len(spans.one.events) == 1


@pytest.mark.anyio
async def test_aclose_is_no_error_and_runs_the_cleanup_inside_of_the_span(spans, pause):
    log = []
    generator = ticks(log, pause)
    await anext(generator)
    await generator.aclose()
    assert log[-1] == "closed in ticks"
    assert spans.one.status.status_code is StatusCode.UNSET
    await generator.aclose()
    assert len(spans.all) == 1


@pytest.mark.anyio
async def test_an_async_generator_that_fails_is_an_error_with_one_event(spans, pause):
    @traced("subject")
    async def subject():
        await pause()
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        async for _ in subject():
            pass
    assert spans.one.status.description == "ValueError: broken"
    assert len(spans.one.events) == 1


@pytest.mark.anyio
async def test_an_async_generator_whose_cleanup_fails_is_an_error(spans, pause):
    @traced("subject")
    async def subject():
        try:
            yield 1
        finally:
            raise ValueError("cleanup")

    generator = subject()
    await anext(generator)
    with pytest.raises(ValueError, match="cleanup"):
        await generator.aclose()
    assert spans.one.status.status_code is StatusCode.ERROR


@pytest.mark.anyio
async def test_cancelling_inside_an_async_generator_is_no_error(spans, pause, caplog):
    @traced("subject")
    async def subject():
        yield 1
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async for _ in subject():
            scope.cancel()
    assert scope.cancelled_caught
    assert spans.one.status.status_code is StatusCode.UNSET
    assert spans.one.events == ()
    assert caplog.records == []


@pytest.mark.anyio
async def test_steps_from_different_tasks_stay_inside_of_the_one_span(spans, pause, caplog):
    log = []
    generator = ticks(log, pause)

    async def step():
        await anext(generator)
        assert trace.get_current_span() is INVALID_SPAN

    for _ in range(3):
        async with anyio.create_task_group() as group:
            group.start_soon(step)
    await generator.aclose()
    assert [entry for entry in log if entry is not None] == ["ticks"] * 3 + ["closed in ticks"]
    assert spans.names == ["ticks"]
    assert caplog.records == []


def test_an_async_generator_that_the_loop_closes_ends_its_span(spans, caplog):
    log = []

    async def main():
        async for _ in ticks(log, lambda: asyncio.sleep(0)):
            break
        gc.collect()
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.DEBUG, "opentelemetry"):
        asyncio.run(main())
    assert log[-1] == "closed in ticks"
    assert spans.one.status.status_code is StatusCode.UNSET
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []
