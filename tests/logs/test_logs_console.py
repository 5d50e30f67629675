from __future__ import annotations

import io
import logging
import os
import pty
import re

import pytest

from asgi_infra.context import bind
from asgi_infra.logs import configure_logging
from asgi_infra.logs.console import wants_colors

logger = logging.getLogger("shop.console")


def test_a_line_reads_well(configure, lines):
    configure("INFO", "console", service="shop")
    with bind(request_id="r-1"):
        logger.info("order %s placed", "o-1", extra={"items": 3, "note": "two words", "password": "hunter2"})
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} INFO     shop\.console  order o-1 placed  "
        r"service=shop items=3 note='two words' password=\[REDACTED:password\] request_id=r-1\n",
        lines.text,
    )


def test_a_traceback_follows_on_lines_of_its_own(configure, lines):
    configure("INFO", "console")
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("failed")
    first, second, *_, last = lines.text.splitlines()
    assert first.endswith("ERROR    shop.console  failed")
    assert second == "  Traceback (most recent call last):"
    assert last == "  ValueError: odd"


def test_nothing_logged_can_forge_a_line_or_move_the_cursor(configure, lines):
    configure("INFO", "console")
    logger.info("in\n12:00:00.000 INFO root  forged\x1b[2J\r\x9b", extra={"k\ney": "v\nalue", "esc": "\x1b[0m"})
    assert lines.text.count("\n") == 1
    assert lines.text[:-1].isprintable()
    assert r"\x1b[2J\r\x9b" in lines.text


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main, other = pty.openpty()
    with open(other, "w") as stream:
        yield main, stream
    os.close(main)


def test_a_terminal_has_colours(terminal):
    main, stream = terminal
    assert wants_colors(stream)
    setup = configure_logging("INFO", "console", stream=stream)
    logger.info("colourful")
    setup.flush()
    assert b"\x1b[32mINFO" in os.read(main, 10_000)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_none_has_no_colours(terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not wants_colors(terminal[1])


def test_an_empty_no_color_says_nothing(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    assert wants_colors(terminal[1])


def test_what_is_no_terminal_has_no_colours(tmp_path):
    with open(tmp_path / "closed", "w") as closed:
        pass
    for stream in (None, io.StringIO(), closed, object()):
        assert not wants_colors(stream)


@pytest.mark.parametrize("colors", [True, False])
def test_colours_can_be_decided(configure, lines, colors):
    configure("INFO", "console", colors=colors)
    logger.warning("x")
    assert ("\x1b[" in lines.text) is colors
