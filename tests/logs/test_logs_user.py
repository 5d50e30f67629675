"""Lines name the user on whose behalf they are written."""

from __future__ import annotations

import logging

from asgi_infra.context import bind
from asgi_infra.logs import StructlogRedactor

logger = logging.getLogger("shop.user")


def test_a_line_names_the_user_of_the_request(configure, lines):
    configure()
    with bind(user_id="alice"):
        logger.info("inside", extra={"order": 7})
    logger.info("outside")
    inside, outside = lines.all
    assert (inside["user_id"], inside["order"]) == ("alice", 7)
    assert "user_id" not in outside


def test_a_user_that_the_line_names_itself_is_kept(configure, lines):
    configure()
    with bind(user_id="alice"):
        logger.info("on behalf of another", extra={"user_id": "bob"})
    assert lines.one["user_id"] == "bob"


def test_a_user_id_is_redacted_like_any_other_field(configure, lines):
    configure()
    with bind(user_id="carol@example.org"):
        logger.info("inside")
    assert "carol" not in lines.one["user_id"]


def test_structlog_names_the_user_too():
    with bind(user_id="alice"):
        assert StructlogRedactor()(None, "info", {"event": "x"})["user_id"] == "alice"
        assert StructlogRedactor()(None, "info", {"event": "x", "user_id": "bob"})["user_id"] == "bob"
    assert "user_id" not in StructlogRedactor()(None, "info", {"event": "x"})
