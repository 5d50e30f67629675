"""What a child process inherits of a logger that its parent has used. In a process of its own: it may hang."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

SETUP = """
import asyncio, faulthandler, os, sys, time, warnings
from asgi_infra.audit import AuditLogger
from asgi_infra.audit.backends.file import FileAuditLogger
from asgi_infra.audit.backends.memory import InMemoryAuditLogger, MemoryStore

warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what this is about
faulthandler.dump_traceback_later(40, exit=True)

class Blocking(MemoryStore):
    blocking = True

async def log(logger, count):
    return [(await logger.log_action("shop.order", "order", id=f"{os.getpid()}-{n}")).seq for n in range(count)]

def forked(work):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0

def idle(logger):
    while logger._committer is not None and not logger._committer._idle:
        time.sleep(0.001)
"""

LOGGERS = {
    "in memory": "InMemoryAuditLogger()",
    "blocking": "AuditLogger(Blocking(100))",
    "in files": "FileAuditLogger(sys.argv[1])",
}


def run(script: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETUP + script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("logger", LOGGERS.values(), ids=LOGGERS)
def test_a_child_logs_again_and_again_and_closes_and_so_does_its_parent(logger: str, tmp_path: Path) -> None:
    run(
        f"""
logger = {logger}
asyncio.run(log(logger, 1))
idle(logger)
forked(lambda: (asyncio.run(log(logger, 3)), asyncio.run(logger.aclose())))
asyncio.run(log(logger, 2))
asyncio.run(logger.aclose())
""",
        str(tmp_path / "log"),
    )


def test_the_child_of_a_child_logs_too() -> None:
    run("""
logger = AuditLogger(Blocking(100))
def generation(depth):
    assert asyncio.run(log(logger, 2))[-1] == 2 * depth + 1
    idle(logger)
    if depth < 3:
        forked(lambda: generation(depth + 1))
generation(0)
""")


def test_what_the_parent_has_queued_is_not_committed_by_the_child() -> None:
    run("""
import threading
gate, entered = threading.Event(), threading.Event()

class Waiting(Blocking):
    def append(self, records):
        entered.set()
        assert gate.wait(30)
        return super().append(records)

logger = AuditLogger(Waiting(100))
parent = threading.Thread(target=lambda: asyncio.run(log(logger, 3)))
parent.start()
assert entered.wait(30)

def child():
    gate.set()
    assert asyncio.run(log(logger, 3)) == [0, 1, 2]

forked(child)
gate.set()
parent.join()
assert asyncio.run(log(logger, 1)) == [0]  # the same id as the parent's first
assert asyncio.run(logger.stats())["size"] == 3
""")
