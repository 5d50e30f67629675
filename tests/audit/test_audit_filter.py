from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit import AuditEntry, AuditFilter
from asgi_infra.audit.cursor import Cursor
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.strategies import filters, related_entries

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _expected(wanted: AuditFilter, entry: AuditEntry) -> bool:
    for name in ("user_id", "resource_type", "resource_id", "result", "tenant", "request_id"):
        condition = getattr(wanted, name)
        if condition is not None and condition != getattr(entry, name):
            return False
    if wanted.action is not None:
        levels, wanted_levels = entry.action.split("."), wanted.action.split(".")
        if wanted_levels[-1] == "*":
            if levels[: len(wanted_levels) - 1] != wanted_levels[:-1] or len(levels) < len(wanted_levels):
                return False
        elif levels != wanted_levels:
            return False
    if wanted.since is not None and entry.timestamp < wanted.since:
        return False
    return wanted.until is None or entry.timestamp < wanted.until


@given(filters, related_entries)
def test_property_10_a_filter_matches_what_fulfils_every_condition(wanted: AuditFilter, entry: AuditEntry) -> None:
    assert wanted.matches(entry) is _expected(wanted, entry)


@given(related_entries)
def test_property_10_a_filter_without_conditions_matches_everything(entry: AuditEntry) -> None:
    assert AuditFilter().matches(entry)


@given(st.text(max_size=600), related_entries)
def test_property_10_an_entry_is_found_by_what_was_given_for_it(text: str, entry: AuditEntry) -> None:
    data = {**entry.to_dict(), "user_id": text, "resource_id": text}
    assert AuditFilter(user_id=text, resource_id=text).matches(AuditEntry.from_dict(data))


@pytest.mark.parametrize(
    ("action", "prefix", "exact"),
    [("order.*", "order.", {}), ("order", None, {"action": "order"}), ("a.b.*", "a.b.", {}), (None, None, {})],
)
def test_an_action_is_a_prefix_if_it_ends_in_a_star(action: str | None, prefix: str | None, exact: Any) -> None:
    wanted = AuditFilter(action=action)
    assert (wanted.action_prefix, wanted.exact) == (prefix, exact)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"action": "*"}, "action must have its \\* at the end"),
        ({"action": "order*"}, "action must have its \\* at the end"),
        ({"action": "*.refund"}, "action must have its \\* at the end"),
        ({"action": 5}, "action must be a str or None, not int"),
        ({"user_id": b"alice"}, "user_id must be a str or None, not bytes"),
        ({"since": NOON.replace(tzinfo=None)}, "since must be an aware datetime, not a naive one"),
        ({"until": "today"}, "until must be an aware datetime, not str"),
        ({"since": NOON, "until": NOON - timedelta(microseconds=1)}, "until must not be before since"),
    ],
)
def test_a_wrong_condition_is_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        AuditFilter(**options)


def test_times_are_kept_in_utc() -> None:
    wanted = AuditFilter(since=NOON.astimezone(timezone(timedelta(hours=5))))
    assert wanted.to_dict() == {"since": "2026-05-01T12:00:00.000000Z"}
    assert wanted == AuditFilter(since=NOON)


@given(filters, filters)
def test_the_digest_is_that_of_the_conditions(one: AuditFilter, other: AuditFilter) -> None:
    assert (one.digest() == other.digest()) is (one == other)


# Cursors

numbers = st.integers(0, 2**63)


@given(filters, numbers, numbers, st.booleans())
def test_a_cursor_survives_as_a_text(wanted: AuditFilter, start: int, stop: int, newest_first: bool) -> None:
    cursor = Cursor(start, stop, newest_first)
    text = cursor.text(wanted)
    assert Cursor.parse(text, wanted, newest_first=newest_first) == cursor
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum(), "it can stand in a URL"


@given(numbers, st.data())
def test_a_cursor_that_was_changed_is_refused(start: int, data: st.DataObject) -> None:
    text = Cursor(start, 2**63, newest_first=False).text(AuditFilter())
    at = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(codec="utf-8").filter(lambda drawn: drawn != text[at]))
    with pytest.raises(ConfigurationError, match="after must be"):
        Cursor.parse(text[:at] + character + text[at + 1 :], AuditFilter(), newest_first=False)


@given(st.one_of(st.text(), st.binary(), st.integers(), st.none()))
def test_what_is_no_cursor_is_refused(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="after must be"):
        Cursor.parse(text, AuditFilter(), newest_first=True)


def test_a_cursor_goes_on_after_an_entry_in_its_direction() -> None:
    assert Cursor(0, 10, newest_first=False).after(3) == Cursor(4, 10, newest_first=False)
    assert Cursor(0, 10, newest_first=True).after(3) == Cursor(0, 3, newest_first=True)
