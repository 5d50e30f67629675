"""What redaction costs: events, texts, queries and exceptions.

Run it alone: `python -m benchmarks.redaction`. The figures are microseconds of CPU time a call, medians of interleaved
batches. An event comes "the same again"; or "live", with a new id, time, path and amount each, as lines of a service
have; or "cold", to a redactor that remembers no text. The figure to reach: the nested event of 25 leaves in at most
20 µs, with values scanned. Where logfire is installed, its scrubber (names only) is measured beside.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import uuid
from contextlib import suppress
from functools import partial
from itertools import count, cycle
from typing import TYPE_CHECKING, Any

from asgi_infra.redaction import Redactor, redact_query
from benchmarks.measure import Estimate, Subject, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMITS = {"nested event, 25 leaves, the same again": 20.0}
_NUMBERS = count(1)
_POOL = 4096  # more than the redactor remembers

TEXTS = {
    "short": "order created",
    "sentence": "the order was created for the customer in the shop of the town",
    "pairs": "request completed: method=GET status=200 duration=12ms",
    "url": "https://example.org/items/42?page=2",
    "e-mail": "mail from bob@example.org arrived",
    "card": "paid with 4111 1111 1111 1111",
    "bearer": "Bearer abcdef0123456789",
    "password": "no login with password=hunter2 for bob",
}


def nested() -> dict[str, Any]:
    """An event of 25 leaves, four of them private."""
    number = next(_NUMBERS)
    return {
        "timestamp": f"2026-03-01T09:{number // 60 % 60:02}:{number % 60:02}.{number % 1_000_000:06}Z",
        "level": "INFO",
        "service": "shop",
        "event": "order placed",
        "request": {
            "id": str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC060)),
            "method": "POST",
            "path": f"/orders/{number}",
            "status": 201,
            "client": f"192.0.2.{number % 256}",
            "headers": {
                "accept": "application/json",
                "user-agent": "Mozilla/5.0 (X11; Linux x86_64)",
                "authorization": "Bearer abcdef0123456789",
                "x-api-key": "0123456789abcdef",
            },
        },
        "user": {"id": number, "email": "bob@example.org", "roles": ["buyer", "editor"]},
        "order": {
            "total": number / 100,
            "currency": "EUR",
            "card_number": "4111 1111 1111 1111",
            "items": [{"sku": "A-1", "count": 2}, {"sku": "B-2", "count": 1}],
            "paid": True,
        },
    }


def flat() -> dict[str, Any]:
    """An event of 10 keys, nothing private."""
    event = nested()
    request = event["request"]
    return {name: event[name] for name in ("timestamp", "level", "service", "event")} | {
        "request_id": request["id"],
        "method": request["method"],
        "path": request["path"],
        "status": request["status"],
        "client": request["client"],
        "duration_s": event["order"]["total"],
    }


def _leaves(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 1 if inner is None else sum(map(_leaves, inner))


def _run(function: Callable[[Any], Any], values: Iterator[Any], times: int) -> None:
    for _ in range(times):
        function(next(values))


def _cold(redactor: Redactor, values: Iterator[Any], times: int) -> None:
    clean = redactor._clean
    for _ in range(times):
        clean.clear()
        redactor(next(values))


def _error() -> Exception:
    try:
        raise ValueError("no login with password=hunter2 for bob@example.org")
    except ValueError as exc:
        return exc


def subjects() -> list[Subject]:
    """What is measured, in groups."""
    made: list[Subject] = []

    def add(group: str, name: str, run: Callable[[int], None]) -> None:
        made.append(Subject(name, group, run))

    for name, make in ((f"nested event, {_leaves(nested())} leaves", nested), ("flat event, 10 keys", flat)):
        pool = [make() for _ in range(_POOL)]
        same = cycle(pool[:1])
        add("events", f"{name}, the same again", partial(_run, Redactor(), same))
        add("events", f"{name}, live", partial(_run, Redactor(), cycle(pool)))
        add("events", f"{name}, pseudonyms", partial(_run, Redactor(pseudonym_key=b"0123456789abcdef"), cycle(pool)))
        add("events", f"{name}, cold", partial(_cold, Redactor(), cycle(pool)))
        with suppress(ImportError):
            scrubber = importlib.import_module("logfire._internal.scrubbing").Scrubber(None)
            add("events", f"{name}, logfire", partial(_run, partial(scrubber.scrub_value, ("event",)), same))
    for name, text in TEXTS.items():
        add("texts", f"{name}, cold", partial(_cold, Redactor(), cycle([text])))
    add("texts", "short, seen before", partial(_run, Redactor(), cycle([TEXTS["short"]])))
    add("texts", "32 kB of words", partial(_run, Redactor().text, cycle(["some words of a long text " * 1200])))
    for name, query in (("nothing private", "page=2&sort=name&q=hello"), ("a token", "page=2&token=abc&q=hello")):
        add("queries", f"query, {name}", partial(_run, redact_query, cycle([query])))
    add("exceptions", "exception with traceback", partial(_run, Redactor().exception, cycle([_error()])))
    return made


def main() -> int:
    """Print the table; the exit code is 1 when a figure to reach is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redaction", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="interleaved batches of each subject")
    parser.add_argument("--batch", type=int, default=500, help="calls in one batch")
    options = parser.parse_args()
    measured = subjects()
    missed = False
    print(f"{'subject':<44}{'µs':>10}   quartiles")
    for each in ("events", "texts", "queries", "exceptions"):
        of_group = [subject for subject in measured if subject.group == each]
        for name, series in interleave(of_group, rounds=options.rounds, batch=options.batch).items():
            estimate = Estimate.of(series.cpu)
            print(f"{name:<44}{estimate.value:>10.2f}   {estimate.low:.2f} to {estimate.high:.2f}")
            missed |= name in LIMITS and estimate.value > LIMITS[name]
    for name, limit in LIMITS.items():
        print(f"to reach: {name} in at most {limit:g}: {'missed' if missed else 'reached'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
