"""Functions of every kind, to be traced."""

from __future__ import annotations

from opentelemetry import trace


def current_name():
    return getattr(trace.get_current_span(), "name", None)


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
