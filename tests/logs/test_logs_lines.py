from __future__ import annotations

import dataclasses
import json
import logging
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asgi_infra.logs import configure_logging

logger = logging.getLogger("shop.lines")


class BadRepr:
    def __repr__(self):
        raise RuntimeError("no")

    __str__ = __repr__


class BadHash(str):
    def __hash__(self):
        raise RuntimeError("no")


class Meta(type):
    @property
    def __name__(cls):
        raise RuntimeError("no")


class Nameless(metaclass=Meta):
    __repr__ = BadRepr.__repr__


@dataclasses.dataclass
class Holder:
    value: object


def cycle():
    inner = {}
    inner["self"] = [inner, inner]
    return inner


def wide_cycle():
    wide = []
    wide.extend([wide] * 500)
    return wide


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


JUNK = [
    BadRepr(),
    cycle(),
    wide_cycle(),
    Holder(cycle()),
    Holder(BadRepr()),
    "\ud800 lone",
    b"\xff\x00",
    bytearray(b"abc"),
    memoryview(b"abc"),
    10**5000,
    -(10**30),
    2**64,
    float("nan"),
    float("inf"),
    complex(1, 2),
    Decimal("NaN"),
    {(1, 2): "tuple", None: 1, BadRepr(): 2, 1.5: 3, b"x": 4, "\ud800": 5},
    {1, "a", (2, 3)},
    object(),
    object,
    lambda: None,
    UUID(int=5),
    datetime(2026, 1, 2, tzinfo=UTC),
    timedelta(seconds=5),
    "line\nfeed\r\x1b[31m\x00\u2028",
    "x" * 200_000,
    iter([1]),
    ValueError("inside"),
    Ellipsis,
]


@contextmanager
def logging_to(stream, **options):
    setup = configure_logging("DEBUG", stream=stream, **options)
    try:
        yield setup
    finally:
        setup.close()


def the_line(stream):
    text = stream.text
    assert text.endswith("\n")
    assert text.count("\n") == 1
    line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(line, dict)
    assert line["level"]
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
    stream.clear()
    return line


@pytest.mark.parametrize("redact", [True, False])
@pytest.mark.parametrize("index", range(len(JUNK)))
def test_junk_anywhere_gives_exactly_one_valid_line(configure, lines, redact, index):
    configure(redact=redact)
    junk = JUNK[index]
    logger.info(junk)
    assert the_line(lines)["logger"] == "shop.lines"
    logger.info("%s and %r", junk, junk)
    the_line(lines)
    logger.info("%d", junk)
    the_line(lines)
    logger.info("field", extra={"junk": junk, "fine": 1})
    line = the_line(lines)
    assert line["message"] == "field"
    assert line["fine"] == 1
    try:
        raise ValueError(junk)
    except ValueError:
        logger.exception("raised")
    assert the_line(lines)["error_type"] == "ValueError"


@pytest.mark.parametrize("redact", [True, False])
def test_an_object_whose_class_has_no_name_gives_one_line(configure, lines, redact):
    configure(redact=redact)
    logger.info("odd", extra={"junk": Nameless()})
    assert the_line(lines)["message"] == "odd"
    logger.info(Nameless())
    the_line(lines)


@pytest.mark.parametrize("redact", [True, False])
def test_a_very_deep_value_gives_one_line(configure, lines, redact):
    configure(redact=redact)
    value = deep()
    logger.info("deep", extra={"value": value})
    assert the_line(lines)["message"] == "deep"
    while value:  # taken apart here, because freeing it recursively is hard on small stacks
        value = value[0]


@dataclasses.dataclass(frozen=True)
class Junk:
    """Stands for a piece of junk, which Hypothesis could not show."""

    index: int


def real(value):
    if isinstance(value, Junk):
        return JUNK[value.index]
    if isinstance(value, list):
        return [real(item) for item in value]
    if isinstance(value, dict):
        return {key: real(item) for key, item in value.items()}
    return value


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=30)
    | st.binary(max_size=20)
    | st.integers(0, len(JUNK) - 1).map(lambda index: Junk(index))
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4),
    max_leaves=12,
)
TAKEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
extras = st.dictionaries(st.text(st.characters(codec=None), max_size=12).filter(lambda k: k not in TAKEN), anything)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(message=anything, args=st.lists(anything, max_size=3), extra=extras, redact=st.booleans(), handled=st.booleans())
def test_every_record_gives_exactly_one_valid_json_line(lines, message, args, extra, redact, handled):
    other = logging.NullHandler()
    if handled:
        logging.getLogger().addHandler(other)
    try:
        with logging_to(lines, redact=redact):
            logger.warning(real(message), *real(args), extra=real(extra))
        the_line(lines)
    finally:
        logging.getLogger().removeHandler(other)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(message=anything, extra=extras)
@example(message=None, extra={"cursor": "\x7f\x9b2J"})
def test_the_schemas_and_the_console_hold_everything_too(lines, message, extra):
    lines.clear()
    for options in ({"schema": "ecs"}, {"schema": "otel"}, {"schema": "gcp"}):
        with logging_to(lines, **options):
            logger.warning(real(message), extra=real(extra))
        (line,) = lines.text.split("\n")[:-1]
        assert json.loads(line)
        lines.clear()
    with logging_to(lines, format="console", colors=False):
        logger.warning(real(message), extra=real(extra))
    text = lines.text
    assert text.count("\n") == 1
    assert text[:-1].isprintable() or all(c.isprintable() or ord(c) > 0x9F for c in text[:-1])
    lines.clear()


def test_a_plain_line_holds_what_was_said(configure, lines):
    configure(service="shop", fields={"zone": "eu"})
    logger.info("order %s has %d items", "o-1", 3, extra={"amount": 12.5, "paid": True, "note": None})
    line = lines.one
    datetime.fromisoformat(line.pop("timestamp"))
    assert line == {
        "level": "INFO",
        "message": "order o-1 has 3 items",
        "logger": "shop.lines",
        "service": "shop",
        "zone": "eu",
        "amount": 12.5,
        "paid": True,
        "note": None,
    }


def test_the_time_is_that_of_the_call(configure, lines):
    configure()
    before = datetime.now(UTC)
    logger.info("now")
    assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(lines.one["timestamp"]) <= datetime.now(UTC)


def test_a_field_with_the_name_of_one_of_ours_gets_an_underscore(configure, lines):
    configure()
    logger.info("kept", extra={"level": "loud", "level_": "x", "timestamp": "never", "trace_id": "mine"})
    line = lines.one
    assert (line["level"], line["level__"], line["level_"]) == ("INFO", "loud", "x")
    assert line["timestamp_"] == "never"
    assert line["trace_id_"] == "mine"


def test_one_mapping_gives_the_arguments_by_name(configure, lines):
    configure()
    logger.info("%(who)s paid %(amount).2f", {"who": "acme", "amount": 3})
    assert lines.one["message"] == "acme paid 3.00"


def test_arguments_that_do_not_fit_are_shown_after_the_message(configure, lines):
    configure()
    logger.info("%d items", "three")
    logger.info("nothing", "left over")
    assert lines.messages == [
        "%d items (arguments that don't fit: str)",
        "nothing (arguments that don't fit: str)",
    ]


def test_extra_may_not_overwrite_what_a_record_has(configure):
    configure()
    taken = {"message": "other"}
    with pytest.raises(KeyError, match="overwrite"):
        logger.info("no", extra=taken)


def test_an_exception_has_its_type_message_and_traceback(configure, lines):
    configure()
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as exc:
        exc.add_note("a note")
        logger.exception("failed")
        logger.error("given", exc_info=exc)
        logger.log(logging.ERROR, "as a tuple", exc_info=sys.exc_info())
    for line in lines.all:
        assert line["error_type"] == "RuntimeError"
        assert line["error_message"] == "outer"
        for part in ("KeyError: 'inner'", "direct cause", "RuntimeError: outer", "a note", "test_logs_lines.py"):
            assert part in line["exception"]
    assert len(lines.all) == 3


def test_exc_info_without_an_exception_adds_nothing(configure, lines):
    configure()
    logger.error("none", exc_info=True)
    assert lines.one.keys() == {"timestamp", "level", "logger", "message"}


def test_stack_info_is_a_field(configure, lines):
    configure()
    logger.info("here", stack_info=True)
    assert "test_stack_info_is_a_field" in lines.one["stack"]


def test_the_caller_is_told_on_request_and_is_the_caller(configure, lines):
    configure(caller=True)
    logger.info("here")
    line = lines.one
    assert line["file"] == __file__
    assert line["function"] == "test_the_caller_is_told_on_request_and_is_the_caller"
    assert "logger.info" in Path(__file__).read_text().splitlines()[line["line"] - 1]


def test_records_made_elsewhere_are_rendered(configure, lines):
    configure()
    logging.getLogger("far").handle(
        logging.makeLogRecord({"name": "far", "levelno": 30, "msg": "sent", "exc_text": "Traceback: far", "shard": 2})
    )
    line = lines.one
    assert (line["logger"], line["level"], line["shard"], line["stack"]) == ("far", "WARNING", 2, "Traceback: far")


@pytest.mark.parametrize(("number", "name"), [(5, "DEBUG"), (25, "INFO"), (35, "WARNING"), (99, "CRITICAL")])
def test_other_levels_count_as_the_one_that_they_reach(configure, lines, number, name):
    configure()
    logging.getLogger().setLevel(1)
    logger.log(number, "odd")
    assert lines.one["level"] == name
