"""Rules: which exchange they are for, what goes together, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from audit_driver import Answer, Log, audited, post

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.audit_policy import DEFAULT_POLICY, AuditRule, Policy
from asgi_infra.testing import drive, http_scope

pytestmark = pytest.mark.anyio

NOBODY = AuditRule(level="none")


async def actions(*rules: AuditRule, scope: Any = None, status: int = 200, **options: Any) -> list[str]:
    log = Log()
    scope = post() if scope is None else scope
    await drive(audited(Answer(status), log, *rules, **options), scope)
    return [entry.action for entry in await log.entries()]


async def test_the_first_rule_that_fits_counts_and_without_one_nothing_is_recorded():
    first, second = AuditRule(methods="PUT", action="first"), AuditRule(methods=["post"], action="second")
    assert await actions(first, second, AuditRule(action="third")) == ["second"]
    assert await actions(NOBODY, second) == []
    assert await actions(first) == []


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/admin/**", "/admin/users", True),
        ("/admin/**", "/public", False),
        ("/admin/**", "//ADMIN/users", True),
        ("/admin/**", "/static/../admin/users", True),
        ("/admin/**", "/%61dmin/users", True),
        ("/admin/*", "/admin/users/7", False),
    ],
)
async def test_a_path_is_recorded_whatever_the_application_may_make_of_it(pattern, path, fits):
    assert await actions(AuditRule(paths=pattern, action="hit")) == []
    assert await actions(AuditRule(paths=pattern, action="hit"), scope=post(path)) == ["hit"] * fits


@pytest.mark.parametrize(
    ("path", "left_out"),
    [("/static/a.js", True), ("/STATIC/a.js", False), ("/static/../orders", False), ("//static/a.js", False)],
)
async def test_a_path_is_left_out_to_the_letter_only(path, left_out):
    rules = (AuditRule(paths="/static/**", level="none"), AuditRule(action="hit"))
    assert await actions(*rules, scope=post(path)) == ([] if left_out else ["hit"])


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("/orders/{id}", True), ("/orders/*", True), ("/{orders,carts}/{id}", True), ("/carts/{id}", False)],
)
async def test_routes_are_patterns_over_templates(pattern, fits):
    scope = post(path_template="/orders/{id}")
    assert await actions(AuditRule(routes=pattern, action="hit"), scope=scope) == ["hit"] * fits
    assert await actions(AuditRule(routes=pattern, action="hit")) == []


@pytest.mark.parametrize(
    ("statuses", "status", "fits"),
    [(404, 404, True), ([401, "5xx"], 503, True), ("4xx", 200, False), ("2xx", 200, True), ("5xx", 499, False)],
)
async def test_statuses_are_numbers_and_classes(statuses, status, fits):
    assert await actions(AuditRule(statuses=statuses, action="hit"), status=status) == ["hit"] * fits


async def test_a_request_that_fails_without_a_status_counts_as_500():
    log, app = Log(), Answer()
    app.error = LookupError()
    await drive(audited(app, log, AuditRule(statuses="4xx", level="none"), AuditRule(statuses="5xx")), post())
    assert (await log.one()).result == "error"


@pytest.mark.parametrize(
    ("users", "user", "fits"),
    [("alice", "alice", True), (["bob"], "alice", False), ([None], None, True), (["alice", None], None, True)],
)
async def test_users_are_exact_and_none_is_for_nobody(users, user, fits):
    found = await actions(AuditRule(users=users, action="hit"), actor=lambda exchange: user)
    assert found == ["hit"] * fits


async def test_an_attempt_is_decided_by_what_is_known_before_and_always_completed():
    log = Log()
    rules = (AuditRule(statuses=404, level="none"), AuditRule(two_phase=True))
    await drive(audited(Answer(404), log, *rules), post())
    assert [entry.result for entry in await log.entries()] == ["attempt", "failure"]


async def test_a_rule_in_two_phases_behind_another_one_is_not_for_the_request():
    log = Log()
    await drive(audited(Answer(), log, AuditRule(action="first"), AuditRule(two_phase=True)), post())
    assert (await log.one()).action == "first"
    log = Log()
    await drive(audited(Answer(), log, AuditRule(users="bob", two_phase=True)), post())
    assert await log.entries() == []


def test_the_default_leaves_out_safe_methods_alone():
    policy = Policy(DEFAULT_POLICY)
    recorded = [
        method
        for method in ("GET", "HEAD", "OPTIONS", "TRACE", "POST", "WEBSOCKET", "X")
        if policy.candidates(method, http_scope(method))
    ]
    assert recorded == ["POST", "WEBSOCKET", "X"]


def test_one_rule_is_a_policy_and_a_rule_can_be_changed():
    rule = AuditRule(paths="/a")
    assert Policy(rule).rules == (rule,)
    assert replace(rule, paths="/b").may_be_for("POST", post("/b"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"level": "all"}, "level"),
        ({"when": "never"}, "when"),
        ({"on_failure": "ignore"}, "on_failure"),
        ({"two_phase": 1}, "two_phase"),
        ({"two_phase": True, "routes": "/a"}, "two_phase"),
        ({"two_phase": True, "statuses": 200}, "two_phase"),
        ({"action": " "}, "action"),
        ({"resource_type": 7}, "resource_type"),
        ({"methods": [""]}, "methods"),
        ({"methods": 7}, "methods"),
        ({"paths": "orders"}, "require"),
        ({"routes": "orders"}, "patterns"),
        ({"routes": 7}, "routes"),
        ({"users": [" "]}, "users"),
        ({"statuses": "6xx"}, "statuses"),
        ({"statuses": [True]}, "statuses"),
        ({"statuses": 99}, "statuses"),
    ],
)
def test_a_rule_that_can_not_be_right_is_refused_by_name(options, named):
    with pytest.raises(ConfigurationError, match=f"^{named}"):
        AuditRule(**options)
