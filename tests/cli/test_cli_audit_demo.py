"""The ledger of the demo's shop finds what is wrong with its entries."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_infra.audit import AuditFilter
from asgi_infra.cli.demo import ledger as ledgers
from asgi_infra.cli.demo.client import Reply
from asgi_infra.cli.demo.ledger import Ledger
from asgi_infra.cli.demo.tour import Step, tour_steps

pytestmark = pytest.mark.anyio

LOGIN = Step("log in", "/login", "/login", 201, "POST", {"password": "green-tea"}, recorded="session.login")
REPLY = Reply(201, "r-1", "")


@pytest.fixture
def anyio_backend():
    return "asyncio"  # the demo's server knows no other loop


@pytest.fixture
def ledger(monkeypatch):
    monkeypatch.setattr(ledgers, "at_shutdown", lambda flush: None)
    monkeypatch.setattr(ledgers, "_WAIT", 0.05)
    return Ledger()


async def faults(ledger: Ledger, step: Step = LOGIN, **entry: Any) -> list[str]:
    try:
        if entry:
            named = {"action": "session.login", "request_id": "r-1", "id": "x:completed", **entry}
            await ledger.log.log_action(resource_type="session", **named)
        return [fault async for fault in ledger.faults(step, REPLY, ["t0ken"])]
    finally:
        await ledger.close()


async def test_the_right_entry_has_no_fault_and_the_folder_goes(ledger):
    assert await faults(ledger, result="success") == []
    assert ledger.path is None or not ledger.path.exists()


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({}, "says nothing"),
        ({"result": "failure"}, "says failure"),
        ({"action": "session.logout"}, "calls it session.logout"),
        ({"details": {"seen": "t0ken"}}, "a secret is in the audit log"),
        ({"details": {"seen": "green-tea"}}, "a secret is in the audit log"),
        ({"request_id": "r-2"}, "says nothing"),
    ],
)
async def test_a_wrong_entry_is_told(ledger, entry, fault):
    (told, *_) = await faults(ledger, **entry)
    assert fault in told


async def test_an_entry_of_what_is_not_to_be_recorded_is_told(ledger):
    step = Step("look", "/products", "/products", 200)
    assert "says success" in (await faults(ledger, step, result="success"))[0]


async def test_the_verdict_is_that_of_the_log(ledger, monkeypatch):
    await ledger.log.log_action("a", "t")
    good, told = await ledger.verdict()
    assert good
    assert "verifies: 1 entries" in told
    report = await ledger.log.verify()

    async def broken() -> Any:
        return type("Report", (), {"__bool__": lambda self: False, "problem": "entry 0: changed"})()

    assert report
    monkeypatch.setattr(ledger.log, "verify", broken)
    assert await ledger.verdict() == (False, "the audit log is broken: entry 0: changed")
    assert await ledger.log.count(AuditFilter(action="a")) == 1
    await ledger.close()


def test_the_tour_has_payments_and_a_login_on_record():
    recorded = [step.recorded for step in tour_steps() if step.recorded is not None]
    assert recorded == ["order.pay", "order.pay", "order.pay", "session.login"]
