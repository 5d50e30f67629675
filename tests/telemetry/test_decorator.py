from __future__ import annotations

import asyncio
import functools
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from traced_subjects import MAKERS, make_function

from asgi_infra.errors import ConfigurationError
from asgi_infra.telemetry import traced
from asgi_infra.telemetry.decorator import function_kind

# ---- kinds -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("cached", [functools.cache, functools.lru_cache(maxsize=2)])
def test_a_cached_function_keeps_the_methods_of_its_cache(spans, cached):
    doubled = traced(cached(lambda number: 2 * number))
    assert [doubled(3), doubled(3)] == [6, 6]
    assert doubled.cache_info().hits == 1
    doubled.cache_clear()
    assert doubled.cache_info().currsize == 0
    assert doubled.cache_parameters()["typed"] is False
