"""What a request is called must not keep it out of the log, however long it is."""

from __future__ import annotations

import pytest
from audit_driver import Answer, Log, audited, post

from asgi_infra.middleware.audit import AuditRule, annotate
from asgi_infra.testing import drive

pytestmark = pytest.mark.anyio

LONG = "/" + "a" * 5_000


@pytest.mark.parametrize("name", ["action", "resource_type", "resource_id"])
@pytest.mark.parametrize("rule", [{}, {"on_failure": "proceed"}, {"two_phase": True}])
@pytest.mark.parametrize("path", [LONG, "/" + "ü" * 2_000])
async def test_a_name_that_a_client_makes_too_long_is_cut(name, rule, path):
    log, app = Log(), Answer()
    named = AuditRule(**{name: lambda exchange: f"shop.{exchange.path}"}, **rule)
    driven = await drive(audited(app, log, named), post(path))
    assert (driven.status, app.calls) == (200, 1)
    entry = (await log.entries())[-1]
    assert entry.result == "success"
    assert getattr(entry, name).startswith("shop./")
    assert "[cut: " in getattr(entry, name)


@pytest.mark.parametrize("name", ["action", "resource_type", "resource_id", "tenant"])
async def test_an_annotation_that_is_too_long_is_cut(name):
    log, answer = Log(), Answer()

    async def app(scope, receive, send):
        annotate(scope, **{name: LONG})
        await answer(scope, receive, send)

    driven = await drive(audited(app, log), post())
    assert driven.status == 200
    assert getattr(await log.one(), name).startswith("/aaa")
