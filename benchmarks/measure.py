"""Measuring: interleaved batches, medians and their spread.

Every round runs one batch of each subject, in an order that turns with the round and runs backwards every other time,
so that drift and noise meet all of them alike. Each batch gives one figure by the thread's CPU time, which other
processes disturb least, and one by the wall clock. The garbage collector is on, and starts every batch empty.
"""

from __future__ import annotations

import gc
import statistics
from contextvars import copy_context
from dataclasses import dataclass, field
from time import perf_counter_ns, thread_time_ns
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence


@dataclass
class Subject:
    """Something to measure: `run(n)` handles n requests; what `settle` does between batches is not measured."""

    name: str
    group: str
    run: Callable[[int], None]
    settle: Callable[[], None] = lambda: None


@dataclass
class Series:
    """A subject's figures, in microseconds a request, one a round."""

    group: str
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Estimate:
    """A median, between its lower and upper quartile."""

    value: float
    low: float
    high: float
    margin: float = 0.0
    """How far the median itself may be off: 1.57 IQR / sqrt(n), the notch of a box plot, about 95 %."""

    @classmethod
    def of(cls, figures: Sequence[float]) -> Estimate:
        if len(figures) < 2:
            return cls(figures[0], figures[0], figures[0])
        low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(middle, low, high, 1.57 * (high - low) / len(figures) ** 0.5)


def interleave(subjects: Sequence[Subject], *, rounds: int, batch: int) -> dict[str, Series]:
    """Run every subject once a round, after a warm-up, and return each one's figures by name."""
    series = {subject.name: Series(subject.group) for subject in subjects}
    for subject in subjects:
        for _ in range(3):
            subject.run(batch)
            subject.settle()
    gc.collect()
    gc.freeze()  # else every full collection would walk all the packages that happen to be imported here
    try:
        for number in range(rounds):
            turn = number % len(subjects)
            order = [*subjects[turn:], *subjects[:turn]]
            for subject in order if number % 2 == 0 else reversed(order):
                gc.collect()
                wall, cpu = perf_counter_ns(), thread_time_ns()
                subject.run(batch)
                cpu, wall = thread_time_ns() - cpu, perf_counter_ns() - wall
                subject.settle()
                series[subject.name].cpu.append(cpu / batch / 1000)
                series[subject.name].wall.append(wall / batch / 1000)
    finally:
        gc.unfreeze()
    return series


def added(series: Series, bare: Series) -> Estimate:
    """Return what a variant costs above the bare application.

    It is the median of the rounds' differences: a round's batches are neighbours in time, and meet the same noise.
    """
    return Estimate.of([cost - base for cost, base in zip(series.cpu, bare.cpu, strict=True)])


def added_ratio(series: Series, other: Series, bare: Series) -> Estimate:
    """Return how two added costs compare: the median of the rounds' ratios."""
    pairs = zip(series.cpu, other.cpu, bare.cpu, strict=True)
    return Estimate.of([(ours - base) / max(theirs - base, 1e-3) for ours, theirs, base in pairs])


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    return None


def fresh(scope: dict[str, Any]) -> dict[str, Any]:
    return {**scope, "headers": list(scope["headers"]), "state": {}}


def by_hand(app: Any, scopes: Sequence[dict[str, Any]]) -> Callable[[int], None]:
    """Return a driver without an event loop, for applications that never wait; each request has its own context."""

    def run(count: int) -> None:
        for _ in range(count // len(scopes)):
            for scope in scopes:
                step(app(fresh(scope), receive, send))

    return run


def step(coroutine: Any) -> None:
    try:
        copy_context().run(coroutine.send, None)
    except StopIteration:
        return
    raise RuntimeError("the application waits; it needs an event loop")


def on_loop(app: Any, scopes: Sequence[dict[str, Any]], loop: asyncio.AbstractEventLoop) -> Callable[[int], None]:
    """Return a driver on an event loop."""

    async def serve(count: int) -> None:
        for _ in range(count // len(scopes)):
            for scope in scopes:
                await app(fresh(scope), receive, send)

    def run(count: int) -> None:
        loop.run_until_complete(serve(count))

    return run


def connections(app: Any, scope: dict[str, Any], echoes: int) -> Callable[[int], None]:
    """Return a driver of WebSocket connections, each with so many messages to echo."""

    def run(count: int) -> None:
        for _ in range(count):
            incoming: list[dict[str, Any]] = [
                {"type": "websocket.connect"},
                *({"type": "websocket.receive", "text": "hello"} for _ in range(echoes)),
                {"type": "websocket.disconnect", "code": 1000},
            ]
            messages = iter(incoming)

            async def receive_next(messages: Any = messages) -> Any:
                return next(messages)

            step(app(fresh(scope), receive_next, send))

    return run
