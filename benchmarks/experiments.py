"""What is measured in this process: features, peers, routes, excluded paths, WebSockets, FastAPI, memory."""

from __future__ import annotations

import asyncio
import statistics
import tracemalloc
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import apps, peers
from benchmarks.measure import Subject, by_hand, connections, interleave, on_loop
from benchmarks.tracing import CONDITIONS, Tracing
from benchmarks.variants import ALL, ANYWHERE, BARE, MAIN, ON_STARLETTE, PEERS_TOGETHER, Setting, Variant, named, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Series
    from benchmarks.tracing import Condition


@dataclass(frozen=True)
class Effort:
    """How much is measured: `batch` requests at a time, `rounds` times."""

    rounds: int
    batch: int = 200
    quick: bool = False


@dataclass
class Table:
    """One experiment's series under one condition; `name` is what `--only` knows."""

    name: str
    title: str
    condition: str
    rows: dict[str, Series]
    unit: str = "request"


ROUTES = (1, 100, 1000)


@contextmanager
def _settings(condition: Condition) -> Iterator[Callable[[], Setting]]:
    with ExitStack() as stack:

        def make() -> Setting:
            setting = Setting(Tracing(condition))
            stack.callback(setting.close)
            return setting

        yield make


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


def features(effort: Effort) -> Iterator[Table]:
    """Each of our features, all of them, the floor, and the peers that take any app, around two bare messages."""
    for condition in CONDITIONS:
        scopes = apps.scopes(sampled=condition != "sampled out")
        with _settings(condition) as make:
            subjects = []
            for variant in ANYWHERE:
                setting = make()
                run = by_hand(variant.around(apps.raw, setting), scopes)
                subjects.append(Subject(variant.name, variant.group, run, setting.settle))
            rows = interleave(subjects, rounds=effort.rounds, batch=effort.batch)
        yield Table("features", "around a raw ASGI application", condition, rows)


def on_starlette(effort: Effort) -> Iterator[Table]:
    """All features, the floor, and every peer alone and together, in a Starlette application."""
    for condition in CONDITIONS:
        scopes = apps.scopes(sampled=condition != "sampled out")
        with _settings(condition) as make, _loop() as loop:
            subjects = [_starlette_subject(variant, make(), loop, scopes) for variant in ON_STARLETTE]
            rows = interleave(subjects, rounds=effort.rounds, batch=effort.batch)
        yield Table("peers", "in a Starlette application", condition, rows)


def routes(effort: Effort) -> Iterator[Table]:
    """The last of 1, 100 and 1000 routes of a Starlette application."""
    compared = list(MAIN)
    if not effort.quick:
        compared += named("contrib ASGI, exclude_spans", "fastapi-instrumentator", "starlette-exporter", PEERS_TOGETHER)
    for number in ROUTES:
        batch = max(effort.batch // (1 if number == 1 else 4 if number == 100 else 10), 2) // 2 * 2
        with _settings("sampled") as make, _loop() as loop:
            subjects = [_starlette_subject(variant, make(), loop, apps.scopes(), routes=number) for variant in compared]
            rows = interleave(subjects, rounds=effort.rounds, batch=batch)
        yield Table("routes", f"the last of {number} routes", "sampled", rows)


def _starlette_subject(
    variant: Variant, setting: Setting, loop: asyncio.AbstractEventLoop, scopes: list[Any], *, routes: int = 1
) -> Subject:
    app = apps.starlette(variant.layers(setting), routes=routes)
    return Subject(variant.name, variant.group, on_loop(app, scopes, loop), setting.settle)


def excluded(effort: Effort) -> Iterator[Table]:
    """A path that is excluded from all features; contrib excludes by regular expression."""
    exclude = [apps.EXCLUDED_PATH, "/static/**"]
    compared = [
        Variant(BARE, "bare", lambda setting: []),
        Variant(ALL, "ours", lambda setting: ours(setting, exclude=exclude)),
    ]
    if peers.installed("opentelemetry.instrumentation.asgi"):
        layers = partial(peers.contrib, excluded_urls="/health$,/static/")
        compared.append(Variant("contrib ASGI", "peer", layers))
    scopes = apps.scopes(apps.EXCLUDED_PATH)
    with _settings("sampled") as make:
        subjects = []
        for variant in compared:
            setting = make()
            run = by_hand(variant.around(apps.raw, setting), scopes)
            subjects.append(Subject(variant.name, variant.group, run, setting.settle))
        rows = interleave(subjects, rounds=effort.rounds, batch=effort.batch * 5)
    yield Table("excluded", "an excluded path", "sampled", rows)


def websocket(effort: Effort) -> Iterator[Table]:
    """A WebSocket connection with ten messages echoed."""
    compared = named(BARE, ALL, "contrib ASGI", "contrib ASGI, exclude_spans", "asgi-correlation-id")
    with _settings("sampled") as make:
        subjects = []
        for variant in compared:
            setting = make()
            run = connections(variant.around(apps.echo, setting), apps.websocket_scope(), apps.ECHOES)
            subjects.append(Subject(variant.name, variant.group, run, setting.settle))
        rows = interleave(subjects, rounds=effort.rounds, batch=max(effort.batch // 4, 2))
    yield Table("websocket", f"a WebSocket with {apps.ECHOES} echoes", "sampled", rows, unit="connection")


def on_fastapi(effort: Effort) -> Iterator[Table]:
    """FastAPI's own telemetry, which makes operation spans too, beside ours in FastAPI without it."""
    if not peers.installed("fastapi.telemetry"):
        return
    with _settings("sampled") as make, _loop() as loop:
        subjects = []
        for variant in named(BARE, ALL):
            setting = make()
            app = peers.fastapi_app(setting, telemetry=False)
            for layer in variant.layers(setting):
                app.add_middleware(layer.cls, **layer.kwargs)
            run = on_loop(app, apps.scopes(), loop)
            subjects.append(Subject(variant.name, variant.group, run, setting.settle))
        setting = make()
        run = on_loop(peers.fastapi_app(setting, telemetry=True), apps.scopes(), loop)
        subjects.append(Subject("FastAPI's own telemetry", "peer", run, setting.settle))
        rows = interleave(subjects, rounds=effort.rounds, batch=effort.batch)
    yield Table("fastapi", "in a FastAPI application", "sampled", rows)


EXPERIMENTS: dict[str, Callable[[Effort], Iterator[Table]]] = {
    "features": features,
    "peers": on_starlette,
    "routes": routes,
    "excluded": excluded,
    "websocket": websocket,
    "fastapi": on_fastapi,
}


def memory(effort: Effort) -> dict[str, int]:
    """Return the bytes that each variant holds at the peak of one request, above what the bare application holds."""
    peaks: dict[str, int] = {}
    with _settings("sampled") as make, _loop() as loop:
        for variant in (*MAIN, *named(PEERS_TOGETHER)):
            subject = _starlette_subject(variant, make(), loop, apps.scopes()[:1])
            subject.run(100)
            tracemalloc.start()
            try:
                figures = []
                for _ in range(20 if effort.quick else 100):
                    subject.settle()
                    before = tracemalloc.get_traced_memory()[0]
                    tracemalloc.reset_peak()
                    subject.run(1)
                    figures.append(tracemalloc.get_traced_memory()[1] - before)
            finally:
                tracemalloc.stop()
            peaks[variant.name] = int(statistics.median(figures))
    return {name: peak - peaks[BARE] for name, peak in peaks.items() if name != BARE}
