from __future__ import annotations

import logging

import pytest

from asgi_infra.logs import configure_logging, shortcut

logger = logging.getLogger("shop.shortcut")


class Seen(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def made(monkeypatch):
    """The records that the standard library has made."""
    made = []
    init = logging.LogRecord.__init__

    def counting(self, *args, **kwargs):
        init(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(logging.LogRecord, "__init__", counting)
    return made


@pytest.fixture
def alone(lines):
    """`configure_logging` in a process where nobody else has a handler."""
    return lambda: configure_logging("DEBUG", stream=lines)


def test_a_record_that_nobody_else_would_see_is_not_made(alone, lines, made):
    alone()
    logger.info("short", extra={"a": 1})
    logger.error("short", exc_info=ValueError("x"))
    assert made == []
    assert lines.messages == ["short", "short"]


def test_another_handler_gets_all_of_the_record(alone, lines):
    alone()
    seen = Seen()
    for owner in (logging.getLogger(), logging.getLogger("shop"), logger):
        owner.addHandler(seen)
        logger.info("to %s", "both", extra={"a": 1})
        owner.removeHandler(seen)
    for record in seen.records:
        assert record.getMessage() == "to both"
        assert record.a == 1
        assert record.funcName == "test_another_handler_gets_all_of_the_record"
        assert record.pathname == __file__
        assert record.threadName == "MainThread"
    assert len(seen.records) == 3
    assert lines.messages == ["to both"] * 3


def test_the_stack_level_of_the_caller_is_kept(alone):
    alone()
    seen = Seen()
    logger.addHandler(seen)

    def helper():
        logger.info("x", stacklevel=2)

    helper()
    logger.removeHandler(seen)
    assert seen.records[0].funcName == "test_the_stack_level_of_the_caller_is_kept"


@pytest.mark.parametrize("owner", ["logger", "handler"])
def test_filters_are_asked(alone, lines, owner):
    alone()
    target = logger if owner == "logger" else shortcut._handler
    keep = lambda record: "no" not in record.getMessage()  # noqa: E731
    target.addFilter(keep)
    logger.info("yes")
    logger.info("no")
    target.removeFilter(keep)
    assert lines.messages == ["yes"]


def test_a_wrapped_method_of_the_standard_library_is_called(alone, lines, monkeypatch):
    alone()
    for name in ("handle", "callHandlers"):
        calls = []
        original = getattr(logging.Logger, name)
        monkeypatch.setattr(
            logging.Logger, name, lambda self, record, o=original, c=calls: (c.append(record), o(self, record))
        )
        logger.info("seen by %s", name)
        assert [record.getMessage() for record in calls] == [f"seen by {name}"]
        monkeypatch.undo()
    assert lines.messages == ["seen by handle", "seen by callHandlers"]


def test_a_record_factory_of_ones_own_is_used(alone, lines):
    alone()
    factory = logging.getLogRecordFactory()

    def own(*args, **kwargs):
        record = factory(*args, **kwargs)
        record.shard = 7
        return record

    logging.setLogRecordFactory(own)
    try:
        logger.info("x")
    finally:
        logging.setLogRecordFactory(factory)
    assert lines.one["shard"] == 7


def test_a_subclass_of_logger_goes_its_own_way(alone, lines):
    class Own(logging.Logger):
        def makeRecord(self, *args, **kwargs):
            record = super().makeRecord(*args, **kwargs)
            record.own = True
            return record

    alone()
    own = Own("own")
    own.parent = logging.getLogger()
    own.info("x")
    assert lines.one["own"] is True


def test_the_level_of_the_handler_and_logging_disable_hold(alone, lines):
    alone()
    shortcut._handler.setLevel(logging.ERROR)
    logger.info("no")
    shortcut._handler.setLevel(logging.NOTSET)
    logging.disable(logging.INFO)
    try:
        logger.info("no")
    finally:
        logging.disable(logging.NOTSET)
    assert lines.all == []


def test_a_logger_that_does_not_propagate_is_left_alone(alone, lines, monkeypatch):
    alone()
    seen = Seen()
    lonely = logging.getLogger("lonely")
    monkeypatch.setattr(lonely, "propagate", False)
    monkeypatch.setattr(lonely, "handlers", [seen])
    lonely.info("theirs")
    assert len(seen.records) == 1
    assert lines.all == []


def test_somebody_elses_wrapper_around_ours_survives_the_close(alone, lines, monkeypatch):
    setup = alone()
    ours = logging.Logger._log
    monkeypatch.setattr(logging.Logger, "_log", lambda self, *args, **kwargs: ours(self, *args, **kwargs))
    theirs = logging.Logger._log
    setup.close()
    assert logging.Logger._log is theirs
    seen = Seen()
    logger.addHandler(seen)
    logger.warning("still works")
    logger.removeHandler(seen)
    assert [record.getMessage() for record in seen.records] == ["still works"]
    monkeypatch.undo()
    logging.Logger._log = shortcut._original
