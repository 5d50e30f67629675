from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import logging
import types
from contextlib import contextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode

from asgi_infra.errors import ConfigurationError
from asgi_infra.telemetry import traced
from asgi_infra.telemetry.decorator import function_kind


def current_name():
    return getattr(trace.get_current_span(), "name", None)


# ---- kinds -----------------------------------------------------------------------------------------------------


def make_function():
    def subject(a, b=2):
        """Doc of the subject."""
        return (a, b, current_name())

    return subject


def make_coroutine():
    async def subject(a, b=2):
        """Doc of the subject."""
        return (a, b, current_name())

    return subject


def make_generator():
    def subject(a, b=2):
        """Doc of the subject."""
        yield (a, b, current_name())

    return subject


def make_async_generator():
    async def subject(a, b=2):
        """Doc of the subject."""
        yield (a, b, current_name())

    return subject


MAKERS = {
    "function": make_function,
    "coroutine": make_coroutine,
    "generator": make_generator,
    "async generator": make_async_generator,
}

QUESTIONS = (
    inspect.isfunction,
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    inspect.signature,
    inspect.getdoc,
    inspect.isroutine,
)


class Callable_:
    def __init__(self, function):
        self.function = function


def as_plain(function):
    return function, lambda wrapped: wrapped


def as_partial(function):
    return functools.partial(function, b=7), lambda wrapped: wrapped


def as_method(function):
    def bind(wrapped):
        holder = type("Holder", (), {"subject": wrapped})
        return holder().subject

    return inspect_with_self(function), bind


def as_static(function):
    return staticmethod(function), lambda wrapped: type("Holder", (), {"subject": wrapped})().subject


def as_class_method(function):
    return classmethod(inspect_with_self(function)), lambda wrapped: type("Holder", (), {"subject": wrapped}).subject


def as_callable_object(function):
    holder = type("Holder", (), {"__call__": inspect_with_self(function)})
    return holder(), lambda wrapped: wrapped


def inspect_with_self(function):
    """The same function with one more parameter in front, of the same kind."""
    if inspect.isasyncgenfunction(function):

        async def subject(self, a, b=2):
            async for item in function(a, b):
                yield item

    elif inspect.isgeneratorfunction(function):

        def subject(self, a, b=2):
            yield from function(a, b)

    elif inspect.iscoroutinefunction(function):

        async def subject(self, a, b=2):
            return await function(a, b)

    else:

        def subject(self, a, b=2):
            return function(a, b)

    return subject


SHAPES = (as_plain, as_partial, as_method, as_static, as_class_method, as_callable_object)


def consume(kind, result):
    async def drain():
        if kind != "async generator":
            return await result
        (item,) = [item async for item in result]
        return item

    if kind == "function":
        return result
    if kind == "generator":
        (item,) = result
        return item
    return asyncio.run(drain())


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("kind", MAKERS)
def test_property_12_function_type_detection_every_kind_in_every_shape(kind, shape, spans):
    subject, bind = shape(MAKERS[kind]())
    wrapped = traced("subject")(subject)
    assert type(wrapped) is type(subject) if isinstance(subject, (staticmethod, classmethod)) else callable(wrapped)

    @given(a=st.integers(), b=st.one_of(st.none(), st.text()))
    def same_answers(a, b):
        spans.clear()
        call = bind(wrapped)
        assert function_kind(call) == kind
        expected = consume(kind, bind(subject)(a, b=b))
        assert expected[:2] == (a, b)
        assert consume(kind, call(a, b=b)) == (a, b, "subject")
        assert spans.names == ["subject"]
        assert spans.one.status.status_code is StatusCode.UNSET

    same_answers()


@pytest.mark.parametrize("kind", MAKERS)
def test_property_12_function_type_detection_preserves_what_inspect_says(kind):
    subject = MAKERS[kind]()
    wrapped = traced(subject)
    for question in QUESTIONS:
        assert question(wrapped) == question(subject), question.__name__
    assert wrapped.__qualname__ == subject.__qualname__
    assert wrapped.__module__ == subject.__module__
    assert wrapped.__wrapped__ is subject
    assert function_kind(subject) == function_kind(wrapped) == kind


def test_property_12_function_type_detection_happens_once_at_decoration(monkeypatch, spans):
    wrapped = {kind: traced(make()) for kind, make in MAKERS.items()}
    monkeypatch.setattr("asgi_infra.telemetry.decorator.function_kind", lambda _: pytest.fail("asked again"))
    for kind, function in wrapped.items():
        assert consume(kind, function(1))[:2] == (1, 2)
    assert len(spans.all) == 4


@pytest.mark.parametrize("kind", MAKERS)
def test_without_a_provider_every_kind_works_and_no_span_is_current(kind):
    assert consume(kind, traced(MAKERS[kind]())(1)) == (1, 2, None)


# ---- names, attributes, arguments ------------------------------------------------------------------------------


def test_the_name_is_the_qualified_name_and_the_function_is_an_attribute(spans):
    class Shop:
        @traced
        def price(self):
            return 3

    assert Shop().price() == 3
    qualified = Shop.price.__qualname__
    assert spans.one.name == qualified
    assert spans.one.attributes == {"code.function.name": f"{__name__}.{qualified}"}
    assert spans.one.kind is SpanKind.INTERNAL


def test_name_attributes_and_kind_can_be_given(spans):
    @traced("charge", attributes={"payment.provider": "example"}, kind=SpanKind.CLIENT)
    def subject():
        return 1

    subject()
    assert spans.one.name == "charge"
    assert spans.one.attributes["payment.provider"] == "example"
    assert spans.one.kind is SpanKind.CLIENT


def test_the_name_can_be_given_by_keyword(spans):
    @traced(name="charge")
    def pay():
        return 1

    assert pay() == 1
    assert spans.names == ["charge"]


def test_traced_can_be_called_without_arguments(spans):
    @traced()
    def subject():
        return 1

    assert subject() == 1
    assert len(spans.all) == 1


def test_only_listed_arguments_are_recorded_with_their_defaults(spans):
    @traced("subject", record=("sku", "count", "tags"), redact=lambda value: value)
    def subject(sku, password, count=3, *, tags=()):
        return sku

    subject("book", "hunter2", tags=["a", "b"])
    attributes = dict(spans.one.attributes)
    attributes.pop("code.function.name")
    assert attributes == {"argument.sku": "book", "argument.count": 3, "argument.tags": ("a", "b")}


def test_recorded_arguments_pass_the_redactor_with_their_names(spans):
    seen = []

    def redact(value):
        seen.append(value)
        return {key: "[REDACTED]" if key == "password" else item for key, item in value.items()}

    traced("subject", record=("user", "password"), redact=redact)(lambda user, password: None)("ada", "hunter2")
    assert seen == [{"user": "ada", "password": "hunter2"}]
    assert spans.one.attributes["argument.user"] == "ada"
    assert spans.one.attributes["argument.password"] == "[REDACTED]"
    assert "hunter2" not in spans.one.to_json()


def test_a_redactor_that_raises_withholds_what_it_should_have_redacted(spans):
    def redact(value):
        raise RuntimeError("broken")

    @traced("subject", record=("user",), redact=redact)
    def subject(user):
        raise ValueError(f"no such user {user}")

    with pytest.raises(ValueError, match=r"no such user ada@example\.org"):
        subject("ada@example.org")
    assert "ada@example.org" not in spans.one.to_json()
    assert spans.one.attributes["argument.user"] == "[REDACTED:error]"


def test_arguments_of_other_types_become_bounded_text(spans):
    class Odd:
        def __repr__(self):
            return "x" * 100_000

    traced("subject", record=("value", "mixed", "raw"), redact=lambda value: value)(lambda value, mixed, raw: 0)(
        Odd(), [1, "a"], b"bytes"
    )
    assert len(spans.one.attributes["argument.value"]) < 20_000
    assert spans.one.attributes["argument.mixed"] == "[1, 'a']"
    assert spans.one.attributes["argument.raw"] == "b'bytes'"


def test_a_call_with_wrong_arguments_fails_as_it_would_without_tracing(spans):
    @traced(record=("a",), redact=lambda value: value)
    def subject(a):
        return a

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        subject()
    assert spans.one.attributes["error.type"] == "TypeError"


def test_arguments_are_not_looked_at_when_the_span_is_not_recorded():
    trace.set_tracer_provider(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    subject = traced("subject", record=("a",), redact=lambda _: pytest.fail("looked at"))(lambda a: a)
    assert subject(5) == 5


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("",), {}, "name must not be blank"),
        (("  ",), {}, "name must not be blank"),
        ((), {"name": " "}, "name must not be blank"),
        ((), {"record": "sku"}, r"write \('sku',\)"),
        ((), {"record": ("nope",)}, "'nope', which is no parameter of .* it has: a, b"),
    ],
)
def test_wrong_options_are_refused_at_decoration(arguments, options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        traced(*arguments, **options)(make_function())
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("target", [int, 5, property(lambda self: 1)])
def test_what_is_no_function_is_refused(target):
    with pytest.raises(ConfigurationError, match="traced takes a function"):
        traced(target)


# ---- nesting, errors -------------------------------------------------------------------------------------------


def test_spans_nest_and_the_context_is_restored(spans):
    @traced("inner")
    def inner():
        return current_name()

    @traced("outer")
    def outer():
        return (inner(), current_name())

    assert outer() == ("inner", "outer")
    assert trace.get_current_span() is INVALID_SPAN
    assert spans.names == ["inner", "outer"]
    assert spans.named("inner").parent.span_id == spans.named("outer").context.span_id


def test_an_exception_is_recorded_once_in_the_trace_and_marks_every_span_it_leaves(spans):
    @traced("inner")
    def inner():
        raise KeyError("gone")

    @traced("outer")
    def outer():
        inner()

    with pytest.raises(KeyError) as caught:
        outer()
    assert caught.value.args == ("gone",)
    for name in ("inner", "outer"):
        span = spans.named(name)
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "KeyError: 'gone'"
        assert span.attributes["error.type"] == "KeyError"
    assert [event.name for event in spans.named("inner").events] == ["exception"]
    assert spans.named("outer").events == ()
    event = spans.named("inner").events[0]
    assert event.attributes["exception.type"] == "KeyError"
    assert event.attributes["exception.message"] == "'gone'"
    assert 'raise KeyError("gone")' in event.attributes["exception.stacktrace"]


def test_an_exception_that_is_raised_again_in_another_trace_is_recorded_there_too(spans):
    error = ValueError("again")

    @traced("subject")
    def subject():
        raise error

    for _ in range(2):
        with pytest.raises(ValueError, match="again"):
            subject()
    assert [len(span.events) for span in spans.all] == [1, 1]


def test_exceptions_of_other_modules_carry_their_module(spans):
    with pytest.raises(ConfigurationError):
        traced(lambda: (_ for _ in ()).throw(ConfigurationError("wrong")).__next__())()
    assert spans.one.attributes["error.type"] == "asgi_infra.errors.ConfigurationError"


def test_exceptions_that_cannot_be_shown_or_marked_are_recorded_all_the_same(spans):
    class Stubborn(Exception):
        def __str__(self):
            raise RuntimeError("no text")

        def __setattr__(self, name, value):
            raise AttributeError(name)

    with pytest.raises(Stubborn):
        traced("subject")(lambda: (_ for _ in ()).throw(Stubborn()).__next__())()
    assert spans.one.status.description == "Stubborn: <message not available>"
    assert len(spans.one.events) == 1


@pytest.mark.parametrize(
    "leaving", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, StopIteration]
)
def test_leaving_by_control_flow_is_no_error(spans, leaving):
    def subject():
        raise leaving

    with pytest.raises(leaving):
        traced(subject)()
    assert spans.one.status.status_code is StatusCode.UNSET
    assert spans.one.events == ()


def test_a_provider_that_fails_does_not_fail_the_function():
    class Broken(trace.TracerProvider):
        def get_tracer(self, *args, **kwargs):
            raise RuntimeError("no tracer")

    trace.set_tracer_provider(Broken())
    assert traced(lambda: 5)() == 5
    assert list(traced(make_generator())(1)) == [(1, 2, None)]


def test_should_the_api_rename_its_global_tracing_works_on(monkeypatch, spans):
    provider = trace.get_tracer_provider()
    monkeypatch.delattr(trace, "_TRACER_PROVIDER")
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    assert traced("subject")(lambda: current_name())() == "subject"
    assert spans.names == ["subject"]


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


@pytest.fixture
def pause():
    return functools.partial(anyio.sleep, 0)


# ---- coroutines and what functions return ----------------------------------------------------------------------


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
