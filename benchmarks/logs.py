"""What a log line costs: `python -m benchmarks.logs [--rounds N] [--batch N] [--json FILE]`.

Every subject writes the same line of ten keys to /dev/null through a system call a line: four that every line has,
the request id, and five fields, of which three are texts that no cache has seen (in "seen before", all are known).
Subjects take turns, so that the noise of the machine meets all of them alike; read the figures as ratios.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from asgi_infra.context import bind
from asgi_infra.logs import configure_logging
from asgi_infra.redaction import Redactor
from benchmarks.measure import Estimate, Subject, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FRESH = 20_000  # many times what a redactor remembers
_TARGETS = {
    "redacted": "at most structlog",
    "not redacted": "at most 8 µs",
    "ten records of a disabled level": "at most that of logging alone",
}


def _fields(number: int) -> dict[str, Any]:
    return {
        "order": f"order {number:x} of acme",
        "customer": f"customer-{number:x}",
        "state": f"paid in {number} ms",
        "amount": number / 8,
        "items": number,
    }


@contextmanager
def _subjects() -> Iterator[list[Subject]]:
    fresh = [_fields(number) for number in range(_FRESH)]
    with open(os.devnull, "wb", buffering=0) as null, bind(request_id="0198c5a2-7d1e-7a3b-9c4d-5e6f70819203"):
        subjects = [
            Subject("redacted", "ours", _ours(fresh, null)),
            Subject("redacted, seen before", "ours", _ours(fresh[:1], null)),
            Subject("redacted, always queued", "ours", _ours(fresh, null, queue="always")),
            Subject("redacted, a handler beside ours", "ours", _ours(fresh, null, beside=True)),
            Subject("not redacted", "ours", _ours(fresh, null, redact=False)),
            Subject("with an exception, redacted", "ours", _ours(fresh, null, error=_raised())),
            Subject("ten records of a disabled level", "ours", _disabled("ours", null)),
            Subject("ten records of a disabled level, logging alone", "peers", _disabled("logging", None)),
            Subject("logging, plain text", "peers", _standard(fresh)),
            Subject("msgspec and a write", "floor", _floor(fresh, null)),
        ]
        structlog = _structlog(fresh)
        if structlog is not None:
            subjects.append(Subject("structlog and orjson, not redacted", "peers", structlog))
        yield subjects


def _ours(
    fresh: list[dict[str, Any]], null: Any, *, beside: bool = False, error: Exception | None = None, **options: Any
) -> Callable[[int], None]:
    logger = logging.getLogger("shop.orders")
    numbers = _endless(len(fresh))
    options = {"redact": Redactor(), **options}  # one for all batches

    def run(count: int) -> None:
        log = configure_logging("INFO", stream=null, **options)
        other = logging.NullHandler()
        if beside:
            logger.addHandler(other)
        info = logger.info
        for _ in range(count):
            info("order placed", extra=fresh[next(numbers)], exc_info=error)
        logger.removeHandler(other)
        log.close()

    return run


def _endless(size: int) -> Iterator[int]:
    while True:
        yield from range(size)


def _raised() -> Exception:
    try:
        raise ValueError("no such order")
    except ValueError as exc:
        return exc


def _disabled(which: str, null: Any) -> Callable[[int], None]:
    logger = logging.getLogger("shop.disabled")

    def run(count: int) -> None:
        log = configure_logging("INFO", stream=null) if which == "ours" else None
        logging.getLogger().setLevel(logging.INFO)
        debug = logger.debug
        for _ in range(count * 10):  # so that setting up, once a batch, does not count
            debug("order placed")
        if log is not None:
            log.close()

    return run


def _standard(fresh: list[dict[str, Any]]) -> Callable[[int], None]:
    logger = logging.getLogger("plain.orders")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger.addHandler(handler)
    numbers = _endless(len(fresh))

    def run(count: int) -> None:
        info = logger.info
        for _ in range(count):
            info("order placed", extra=fresh[next(numbers)])

    return run


def _floor(fresh: list[dict[str, Any]], null: Any) -> Callable[[int], None]:
    encode, write, numbers = msgspec.json.Encoder().encode, null.write, _endless(len(fresh))
    common = {"timestamp": "2026-01-02T03:04:05.678901Z", "level": "INFO", "logger": "shop", "message": "order placed"}
    common["request_id"] = "0198c5a2-7d1e-7a3b-9c4d-5e6f70819203"

    def run(count: int) -> None:
        for _ in range(count):
            write(encode({**common, **fresh[next(numbers)]}) + b"\n")

    return run


def _structlog(fresh: list[dict[str, Any]]) -> Callable[[int], None] | None:
    """The set-up that structlog's documentation calls the fastest, with the same ten keys."""
    try:
        import orjson
        import structlog
    except ImportError:
        return None
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(file=open(os.devnull, "wb")),  # noqa: SIM115
        cache_logger_on_first_use=True,
    )
    logger = structlog.get_logger().bind(logger="shop.orders")
    numbers = _endless(len(fresh))

    def run(count: int) -> None:
        with structlog.contextvars.bound_contextvars(request_id="0198c5a2-7d1e-7a3b-9c4d-5e6f70819203"):
            info = logger.info
            for _ in range(count):
                info("order placed", **fresh[next(numbers)])

    return run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.logs", description="What a log line costs.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(argv)
    with _subjects() as subjects:
        series = interleave(subjects, rounds=options.rounds, batch=options.batch)
    figures = {name: Estimate.of(each.cpu) for name, each in series.items()}
    print("| a line | group | CPU µs, median | quartiles | to reach |\n|---|---|---|---|---|")
    for name, figure in figures.items():
        spread = f"{figure.low:.2f} to {figure.high:.2f}"
        print(f"| {name} | {series[name].group} | {figure.value:.2f} | {spread} | {_TARGETS.get(name, '')} |")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({name: figure.__dict__ for name, figure in figures.items()}, file, indent=2)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
