"""What `traced` adds to a call: without a provider, with a span that is not sampled, and with one that is.

Run it alone: `python -m benchmarks.traced`. The figures are microseconds of CPU time a call (an item, for generators),
medians of interleaved batches; "added" is the difference from the same function without `traced`. The figure to reach
is at most 0.5 µs added to a plain function where no provider is set.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from asgi_infra.telemetry import init_telemetry, reset_telemetry_for_tests, traced
from benchmarks.measure import Estimate, Subject, added, interleave

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 0.5
_ITEMS = 10


class _Discard(SpanExporter):
    """Takes spans and forgets them, so that their queue never fills up."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def function(a: int, b: int) -> int:
    return a


async def coroutine(a: int, b: int) -> int:
    return a


def generator(a: int, b: int) -> Any:
    for _ in range(_ITEMS):
        yield a


async def async_generator(a: int, b: int) -> Any:
    for _ in range(_ITEMS):
        yield a


def _call(target: Callable[..., Any], count: int) -> None:
    for _ in range(count):
        target(1, 2)


def _await(target: Callable[..., Any], count: int) -> None:
    for _ in range(count):
        with suppress(StopIteration):
            target(1, 2).send(None)


def _iterate(target: Callable[..., Any], count: int) -> None:
    for _ in range(count // _ITEMS):
        for _item in target(1, 2):
            pass


def _iterate_async(target: Callable[..., Any], count: int) -> None:
    async def drain() -> None:
        for _ in range(count // _ITEMS):
            async for _item in target(1, 2):
                pass

    with suppress(StopIteration):
        drain().send(None)


KINDS = {function: _call, coroutine: _await, generator: _iterate, async_generator: _iterate_async}


def measure(rounds: int, batch: int) -> dict[str, tuple[Estimate, Estimate]]:
    """Return, by kind, the plain call's figure and what `traced` adds to it."""
    subjects = []
    for target, run in KINDS.items():
        name = target.__name__
        subjects.append(Subject(name, name, partial(run, target)))
        subjects.append(Subject(f"{name} traced", name, partial(run, traced(target))))
    series = interleave(subjects, rounds=rounds, batch=batch)
    names = [target.__name__ for target in KINDS]
    return {name: (Estimate.of(series[name].cpu), added(series[f"{name} traced"], series[name])) for name in names}


def main() -> int:
    """Print the table; the exit code is 1 when the figure to reach is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traced", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="interleaved batches of each subject")
    parser.add_argument("--batch", type=int, default=20_000, help="calls in one batch without a provider")
    options = parser.parse_args()
    reset_telemetry_for_tests()
    settings: list[tuple[str, int, dict[str, Any]]] = [
        ("no provider", options.batch, {}),
        ("not sampled", options.batch // 10, {"exporters": "none", "sampler": "always_off"}),
        ("sampled", options.batch // 10, {"exporters": [_Discard()], "max_queue_size": 1_000_000, "redact": False}),
    ]
    print(f"{'setting':<14}{'kind':<18}{'plain':>9}{'added':>9}   quartiles of added")
    missed = False
    for setting, batch, arguments in settings:
        if arguments:
            init_telemetry(**arguments, replace=True)
        for kind, (plain, extra) in measure(options.rounds, max(batch, 100)).items():
            print(f"{setting:<14}{kind:<18}{plain.value:9.3f}{extra.value:9.3f}   {extra.low:.3f} to {extra.high:.3f}")
            missed |= setting == "no provider" and kind == "function" and extra.value > LIMIT
    reset_telemetry_for_tests()
    print(f"to reach: at most {LIMIT} added to a function without a provider: {'missed' if missed else 'reached'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
