"""Attempts that were never completed are found, and closed once."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from audit_driver import TWO_PHASE, Answer, Log, audited, post

from asgi_infra.audit import AuditFilter
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.audit_orphans import close_orphans, orphans
from asgi_infra.testing import drive

pytestmark = pytest.mark.anyio

NOW = timedelta(0)


async def crashed(log: Any, user: str = "alice") -> None:
    """Leave an attempt without its end, as a process does that is killed."""
    log.failing = ["success"]
    await drive(audited(Answer(), log, TWO_PHASE, actor=lambda exchange: user), post())
    log.failing = ()


async def found(log: Any, **options: Any) -> list[str | None]:
    return [attempt.entry.user_id async for attempt in orphans(log, **{"older_than": NOW, **options})]


async def test_attempts_without_an_end_are_found_and_others_are_not():
    log = Log()
    await crashed(log)
    await drive(audited(Answer(), log, TWO_PHASE, actor=lambda exchange: "bob"), post())
    await log.log_action("audit.erase", "audit_log", result="attempt")
    assert await found(log) == ["alice"]


async def test_young_attempts_may_be_under_way_still():
    log = Log()
    await crashed(log)
    assert await found(log, older_than=timedelta(hours=1)) == []
    later = datetime.now(UTC) + timedelta(hours=2)
    assert await found(log, older_than=timedelta(hours=1), clock=lambda: later) == ["alice"]
    assert await found(log, since=later, clock=lambda: later) == []


async def test_there_may_be_more_than_a_page_of_them(monkeypatch):
    monkeypatch.setattr("asgi_infra.middleware.audit_orphans._PAGE", 2)
    log = Log()
    for user in "abcde":
        await crashed(log, user)
    assert await found(log) == list("abcde")


async def test_closing_an_orphan_twice_closes_it_once():
    log = Log()
    await crashed(log)
    assert await close_orphans(log, older_than=NOW) == 1
    assert await close_orphans(log, older_than=NOW) == 0
    attempt, end = await log.entries()
    assert (end.result, end.user_id, end.action) == ("unknown", "alice", attempt.action)
    assert end.details["attempt"] == 0
    assert await found(log) == []


async def test_a_request_that_ends_after_it_was_closed_has_no_second_end():
    log = Log()

    async def app(scope, receive, send):
        assert await close_orphans(log, older_than=NOW) == 1
        await Answer()(scope, receive, send)

    driven = await drive(audited(app, log, TWO_PHASE), post())
    assert driven.error is None
    assert len(await log.entries()) == 2
    assert len((await log.query(AuditFilter(result="unknown"))).entries) == 1


KILLED = """
import os, sys, anyio
from asgi_infra.audit.backends.file import FileAuditLogger
from asgi_infra.middleware.audit import AuditMiddleware, AuditRule
from asgi_infra.testing import drive, http_scope

async def app(scope, receive, send):
    os.kill(os.getpid(), 9)

async def main():
    logger = FileAuditLogger(sys.argv[1])
    await drive(AuditMiddleware(app, logger=logger, policy=AuditRule(two_phase=True)), http_scope("POST", "/pay"))

anyio.run(main)
"""


@pytest.mark.skipif(os.name != "posix", reason="the log in files is for POSIX systems")
async def test_what_a_process_was_doing_when_it_was_killed_is_an_orphan(tmp_path):
    from asgi_infra.audit.backends.file import FileAuditLogger

    command = [sys.executable, "-c", KILLED, str(tmp_path / "audit")]
    assert (await anyio.run_process(command, check=False)).returncode == -9
    async with FileAuditLogger(tmp_path / "audit", audit_reads=False) as log:
        assert [each.entry.details["path"] async for each in orphans(log, older_than=NOW)] == ["/pay"]
        assert await close_orphans(log, older_than=NOW) == 1
        assert await found(log) == []


@pytest.mark.parametrize("options", [{"older_than": timedelta(seconds=-1)}, {"older_than": 5}])
async def test_wrong_parameters_are_named(options):
    with pytest.raises(ConfigurationError, match=r"^older_than"):
        await close_orphans(Log(), **options)
    with pytest.raises(ConfigurationError, match=r"^logger"):
        await close_orphans("log")  # type: ignore[arg-type]
