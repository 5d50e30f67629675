from __future__ import annotations

import json

import pytest

from asgi_infra.context import bind
from asgi_infra.logs import StructlogRedactor
from asgi_infra.redaction import Redactor


def test_an_event_is_redacted_and_gets_the_ids():
    event = {"event": "mail to carol@example.org", "password": "hunter2", "nested": {"token": "abc"}}
    with bind(request_id="r-1"):
        redacted = StructlogRedactor()(None, "info", event)
    assert redacted == {
        "event": "mail to [REDACTED:email]",
        "password": "[REDACTED:password]",
        "nested": {"token": "[REDACTED:token]"},
        "request_id": "r-1",
    }
    assert event["password"] == "hunter2"


@pytest.mark.parametrize("how", ["true", "exception", "tuple"])
def test_an_exception_is_rendered_redacted(how):
    try:
        raise ValueError("no login for carol@example.org")
    except ValueError as exc:
        exc_info = {"true": True, "exception": exc, "tuple": (type(exc), exc, exc.__traceback__)}[how]
        redacted = StructlogRedactor()(None, "error", {"event": "failed", "exc_info": exc_info})
    assert redacted["error_type"] == "ValueError"
    assert redacted["error_message"] == "no login for [REDACTED:email]"
    assert "carol" not in redacted["exception"]
    assert "exc_info" not in redacted


def test_no_exception_adds_nothing():
    assert StructlogRedactor()(None, "info", {"event": "x", "exc_info": True}) == {"event": "x"}


def test_a_redactor_of_ones_own_is_used():
    redact = StructlogRedactor(Redactor(keys=["badge"]))
    assert redact(None, "info", {"badge": "b-1"}) == {"badge": "[REDACTED:badge]"}


def test_structlog_takes_it_as_a_processor():
    structlog = pytest.importorskip("structlog", reason="structlog is not installed")
    out = []
    logger = structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[StructlogRedactor(), structlog.processors.JSONRenderer()]
    )
    out.append(json.loads(logger.info("card 4111 1111 1111 1111", api_key="k")))
    assert out == [{"event": "card [REDACTED:card]", "api_key": "[REDACTED:api_key]"}]
