from __future__ import annotations

import io
import json
import logging

import pytest
from _pytest.logging import LogCaptureHandler

from asgi_infra.logs import configure_logging, get_logging


class Lines(io.BytesIO):
    """A stream in memory, and what was written to it."""

    @property
    def text(self):
        return self.getvalue().decode()

    @property
    def all(self):
        return [json.loads(line) for line in self.text.split("\n")[:-1]]

    @property
    def one(self):
        (line,) = self.all
        return line

    @property
    def messages(self):
        return [line["message"] for line in self.all]

    def clear(self):
        self.seek(0)
        self.truncate()


def close_logging():
    setup = get_logging()
    if setup is not None:
        setup.close()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Take off the handlers that pytest puts on the root logger for the time of a test: they raise on junk."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if not isinstance(handler, LogCaptureHandler)]
    return (yield)


@pytest.fixture(autouse=True)
def _plain_process():
    """As in a process without tests: nothing else is on the root logger, and everything is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    close_logging()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(params=["short way", "standard way"])
def way(request):
    """Both ways of a record: past the standard library's records, and with them since somebody else has a handler."""
    if request.param == "standard way":
        logging.getLogger().addHandler(logging.NullHandler())
    return request.param


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def configure(lines, way):
    """`configure_logging` with the lines in memory."""

    def configure(level="DEBUG", *args, **options):
        return configure_logging(level, *args, **{"stream": lines, **options})

    return configure
