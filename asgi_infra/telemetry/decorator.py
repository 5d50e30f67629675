"""`traced`: a span around any function, whatever its kind."""

from __future__ import annotations

import functools
import inspect
import types
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from opentelemetry.trace import SpanKind

from asgi_infra.errors import ConfigurationError
from asgi_infra.telemetry.drive import async_driver, drive_coroutine, driver, hand_over, is_generator_coroutine
from asgi_infra.telemetry.spans import SpanRecipe, begin, current_provider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping

    from asgi_infra.telemetry.scrub import Redact

F = TypeVar("F")
CODE_FUNCTION_NAME = "code.function.name"  # in the semantic conventions from 1.30 on
_CACHE_METHODS = ("cache_info", "cache_clear")  # of `functools.lru_cache`: not in its `__dict__`, which is copied
FunctionKind = Literal["function", "coroutine", "generator", "async generator"]


@overload
def traced(
    name: str | None = None,
    *,
    attributes: Mapping[str, Any] | None = None,
    record: Iterable[str] = (),
    kind: SpanKind = SpanKind.INTERNAL,
    redact: Redact | None = None,
) -> Callable[[F], F]: ...


@overload
def traced(function: F, /) -> F: ...


def traced(
    name: Any = None,
    *,
    attributes: Mapping[str, Any] | None = None,
    record: Iterable[str] = (),
    kind: SpanKind = SpanKind.INTERNAL,
    redact: Redact | None = None,
) -> Any:
    """Give every call of a function its own span, as a child of the span that is current at the call.

    Functions, coroutine functions, generators and async generators are told apart once, here, and stay what they
    are: signature, docstring and the answers of `inspect` are those of the function, and a `staticmethod` or
    `classmethod` stays one. Where no provider is set, the call goes straight through.

    * The span of a generator starts with the first step and ends with the last one; it is current inside the
      generator, and never in the code that iterates. A function that returns a coroutine, a generator or another
      awaitable has a span that lasts until that is done.
    * An `Exception` that leaves the function sets the status to ERROR, with `error.type`, and is recorded as one
      event in its trace, by the innermost traced function. Being closed early or cancelled is no error.
    * Exception messages, stack traces and recorded arguments are redacted before they reach the span.

    Args:
        name: The span's name, by default the function's qualified name; or, as a bare `@traced`, the function.
        attributes: Attributes of every span; `code.function.name` is always among them.
        record: Names of the parameters whose values become attributes `argument.<name>`. Nothing is recorded
            unless it is listed.
        kind: The span's kind.
        redact: Any value in, a redacted copy out; by default a `asgi_infra.redaction.Redactor`.

    Raises:
        ConfigurationError: What is decorated is no function, the name is blank, or `record` names no parameter of it.

    Example:
        >>> @traced("price", record=("sku",))
        ... def price(sku: str, *, voucher: str | None = None) -> int:
        ...     return 1299
        >>> price("book-1")
        1299
    """
    if name is not None and not isinstance(name, str):
        return _decorate(name, None, attributes, record, kind, redact)
    if name is not None and not name.strip():
        raise ConfigurationError("name must not be blank; leave it out to use the function's own name")
    return lambda function: _decorate(function, name, attributes, record, kind, redact)


def function_kind(function: Callable[..., Any]) -> FunctionKind:
    """Return which of the four kinds a function is, seen through `functools.partial` and callable objects.

    Example:
        >>> function_kind(lambda: (yield))
        'generator'
    """
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.isgeneratorfunction(function):
        return "generator"
    if inspect.iscoroutinefunction(function):
        return "coroutine"
    return "function"


def _decorate(
    target: Any,
    name: str | None,
    attributes: Mapping[str, Any] | None,
    record: Iterable[str],
    kind: SpanKind,
    redact: Redact | None,
) -> Any:
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(_decorate(target.__func__, name, attributes, record, kind, redact))
    if not callable(target) or inspect.isclass(target):
        raise ConfigurationError(
            f"traced takes a function or a callable object, got {_describe(target)}; "
            "decorate the methods of a class one by one, and the function beneath a property"
        )
    module, qualified_name = _names(target)
    names = _record_names(target, record)
    recipe = SpanRecipe(
        name=name or qualified_name,
        attributes={CODE_FUNCTION_NAME: f"{module}.{qualified_name}", **(attributes or {})},
        kind=kind,
        signature=inspect.signature(target) if names else None,
        record=names,
        redact=redact,
    )
    wrapped = _WRAPPERS[function_kind(target)](target, recipe)
    for method in _CACHE_METHODS:
        if hasattr(target, method):
            setattr(wrapped, method, getattr(target, method))
    return wrapped


def _wrap_function(function: Callable[..., Any], recipe: SpanRecipe) -> Callable[..., Any]:
    @functools.wraps(function)
    def traced_function(*args: Any, **kwargs: Any) -> Any:
        if current_provider() is None:
            return function(*args, **kwargs)
        activity = begin(recipe, args, kwargs)
        try:
            with activity:
                result = function(*args, **kwargs)
        except BaseException as exc:
            activity.finish(exc)
            raise
        return hand_over(activity, result)

    return traced_function


def _wrap_coroutine(function: Callable[..., Awaitable[Any]], recipe: SpanRecipe) -> Callable[..., Any]:
    @functools.wraps(function)
    async def traced_coroutine(*args: Any, **kwargs: Any) -> Any:
        if current_provider() is None:
            return await function(*args, **kwargs)
        return await drive_coroutine(begin(recipe, args, kwargs), function(*args, **kwargs))

    return traced_coroutine


def _wrap_generator(function: Callable[..., Generator[Any, Any, Any]], recipe: SpanRecipe) -> Callable[..., Any]:
    driven = driver(lambda *args, **kwargs: (begin(recipe, args, kwargs), function(*args, **kwargs)))
    code = getattr(function, "__code__", None)
    return functools.wraps(function)(types.coroutine(driven) if code and is_generator_coroutine(code) else driven)


def _wrap_async_generator(function: Callable[..., AsyncGenerator[Any, Any]], recipe: SpanRecipe) -> Callable[..., Any]:
    driven = async_driver(lambda *args, **kwargs: (begin(recipe, args, kwargs), function(*args, **kwargs)))
    return functools.wraps(function)(driven)


_WRAPPERS: dict[FunctionKind, Callable[[Any, SpanRecipe], Callable[..., Any]]] = {
    "function": _wrap_function,
    "coroutine": _wrap_coroutine,
    "generator": _wrap_generator,
    "async generator": _wrap_async_generator,
}


def _record_names(target: Callable[..., Any], record: Iterable[str]) -> tuple[str, ...]:
    if isinstance(record, str):
        raise ConfigurationError(
            f"record takes parameter names in a sequence, got the str {record!r}; write ({record!r},)"
        )
    names = tuple(record)
    known = inspect.signature(target).parameters if names else {}
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"record names {name!r}, which is no parameter of {_names(target)[1]}; "
                f"it has: {', '.join(known) or 'none'}"
            )
    return names


def _names(target: Any) -> tuple[str, str]:
    while isinstance(target, functools.partial):
        target = target.func
    if not hasattr(target, "__qualname__"):
        target = type(target)
    return getattr(target, "__module__", None) or type(target).__module__, target.__qualname__


def _describe(target: Any) -> str:
    return (
        f"the class {target.__qualname__}"
        if inspect.isclass(target)
        else f"an object of type {type(target).__qualname__}"
    )
