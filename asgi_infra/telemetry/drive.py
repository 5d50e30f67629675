"""Running coroutines and generators inside of an activity, step by step."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator


class Scope(Protocol):
    """What the drivers use of an activity: entered for each step, finished once."""

    def __enter__(self) -> None: ...

    def __exit__(self, exc_type: Any, exc: Any, tb: Any, /) -> None: ...

    def finish(self, exc: BaseException | None = None) -> None: ...


async def drive_coroutine(activity: Scope, awaitable: Awaitable[Any]) -> Any:
    """Await inside of the activity, and finish it."""
    try:
        with activity:
            result = await awaitable
    except BaseException as exc:
        activity.finish(exc)
        raise
    activity.finish()
    return result


def driver(
    start: Callable[..., tuple[Scope, Generator[Any, Any, Any]]],
) -> Callable[..., Generator[Any, Any, Any]]:
    """Return a generator function that iterates what `start` returns.

    Each step (send, throw, close) is inside of the activity, the consumer's code never is, and the activity is
    finished with the last step.
    """

    def driven(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        activity, generator = start(*args, **kwargs)
        step: Callable[[Any], Any] = generator.send
        argument: Any = None
        while True:
            try:
                with activity:
                    item = step(argument)
            except StopIteration as stop:
                activity.finish()
                return stop.value
            except BaseException as exc:
                activity.finish(exc)
                raise
            finally:
                argument = None  # an exception kept here would be a reference cycle through its traceback
            try:
                argument = yield item
                step = generator.send
            except GeneratorExit:
                try:
                    with activity:
                        result: Any = generator.close()  # type: ignore[func-returns-value]
                except BaseException as exc:
                    activity.finish(exc)
                    raise
                activity.finish()
                if result is not None:  # since Python 3.13, close() returns what the generator returned
                    return result
                raise
            except BaseException as exc:  # noqa: BLE001 - it goes on into the generator
                step, argument = generator.throw, exc

    return driven


def async_driver(
    start: Callable[..., tuple[Scope, AsyncGenerator[Any, Any]]],
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return an async generator function that iterates what `start` returns, as `driver` does."""

    async def driven(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        activity, generator = start(*args, **kwargs)
        step: Callable[[Any], Awaitable[Any]] = generator.asend
        argument: Any = None
        while True:
            try:
                with activity:
                    item = await step(argument)
            except StopAsyncIteration:
                activity.finish()
                return
            except BaseException as exc:
                activity.finish(exc)
                raise
            finally:
                argument = None
            try:
                argument = yield item
                step = generator.asend
            except GeneratorExit:
                try:
                    with activity:
                        await generator.aclose()
                except BaseException as exc:
                    activity.finish(exc)
                    raise
                activity.finish()
                raise
            except BaseException as exc:  # noqa: BLE001 - it goes on into the generator
                step, argument = generator.athrow, exc

    return driven


def hand_over(activity: Scope, result: Any) -> Any:
    """Return what a function returned; the activity ends now, or with the work that the result stands for."""
    if inspect.isgenerator(result) and not is_generator_coroutine(result.gi_code):
        return driver(lambda: (activity, result))()
    if inspect.isasyncgen(result):
        return async_driver(lambda: (activity, result))()
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        awaitable: Any = result
        return drive_coroutine(activity, awaitable)
    kind = type(result)
    if hasattr(kind, "__await__") and not hasattr(kind, "__aenter__"):
        if not hasattr(kind, "add_done_callback"):
            return _DrivenAwaitable(activity, result)
        result.add_done_callback(lambda future: activity.finish(_failure(future)))
        return result
    activity.finish()
    return result


def is_generator_coroutine(code: Any) -> bool:
    """Tell whether a code object is that of a generator that `types.coroutine` made awaitable."""
    return bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


class _DrivenAwaitable:
    """An awaitable whose activity ends when it has been awaited."""

    def __init__(self, activity: Scope, awaitable: Awaitable[Any]) -> None:
        self._activity = activity
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        return drive_coroutine(self._activity, self._awaitable).__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._awaitable, name)


def _failure(future: Any) -> BaseException | None:
    if future.cancelled():
        return None
    # Not future.exception(): asyncio takes that as the exception being handled, and no longer reports it.
    return getattr(future, "_exception", None)
