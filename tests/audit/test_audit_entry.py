from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit import AuditEntry
from asgi_infra.audit.entry import FIELDS, REQUIRED
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.strategies import entries

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
REQUIRED_FIELDS: dict[str, Any] = {
    "id": "entry-1",
    "timestamp": "2026-05-01T12:00:00.000000Z",
    "action": "order.refund",
    "resource_type": "order",
    "result": "success",
}


def make(**fields: Any) -> AuditEntry:
    given = {"timestamp": NOON, "action": "order.refund", "resource_type": "order", "result": "success"}
    return AuditEntry(**{**given, **fields})


@given(entries)
def test_property_08_an_entry_survives_to_dict_and_from_dict(entry: AuditEntry) -> None:
    data = entry.to_dict()
    assert AuditEntry.from_dict(data) == entry
    assert tuple(data) == FIELDS
    through_json = json.loads(json.dumps(data))
    assert AuditEntry.from_dict(through_json) == entry
    assert AuditEntry.from_dict(through_json).to_dict() == data


@given(entries, st.data())
def test_property_08_optional_fields_may_be_missing(entry: AuditEntry, data: st.DataObject) -> None:
    optional = [name for name in FIELDS if name not in REQUIRED]
    missing = data.draw(st.sets(st.sampled_from(optional)))
    kept = {name: value for name, value in entry.to_dict().items() if name not in missing}
    found = AuditEntry.from_dict({**kept, "unknown": "of a later version"})
    assert found == replace(entry, **dict.fromkeys(missing))


@given(st.sets(st.sampled_from(REQUIRED), min_size=1), st.booleans())
def test_property_08_every_missing_required_field_is_named(missing: set[str], is_none: bool) -> None:
    data = dict(REQUIRED_FIELDS)
    for name in missing:
        data[name] = None
        if not is_none:
            del data[name]
    with pytest.raises(ConfigurationError) as caught:
        AuditEntry.from_dict(data)
    named = str(caught.value).partition("missing: ")[2]
    assert set(named.split(", ")) == missing


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("id", "", "id must not be blank"),
        ("id", " \t", "id must not be blank"),
        ("id", 5, "id must be a str, not int"),
        ("id", "x" * 129, "id must be at most 128 bytes of UTF-8, not 129 characters"),
        ("action", "\n", "action must not be blank"),
        ("action", b"order", "action must be a str, not bytes"),
        ("action", "é" * 257, "action must be at most 512 bytes of UTF-8, not 257 characters"),
        ("resource_type", "", "resource_type must not be blank"),
        ("result", ["success"], "result must be a str, not list"),
        ("timestamp", 1777636800, "timestamp must be an aware datetime, not int"),
        ("timestamp", "yesterday", "timestamp must be an aware datetime, not 'yesterday'"),
        ("timestamp", "2026-05-01T12:00:00", "timestamp must be an aware datetime, not a naive one"),
        ("details", ["a", "list"], "details must be a mapping or None, not list"),
        ("user_id", 7, "user_id must be a str or None, not int"),
    ],
)
def test_property_08_a_malformed_field_is_named(name: str, value: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        AuditEntry.from_dict({**REQUIRED_FIELDS, name: value})


def test_property_08_all_malformed_fields_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        AuditEntry.from_dict({"id": " ", "timestamp": "never", "action": 1, "resource_type": "", "result": b"ok"})
    assert all(f"{name} must" in str(caught.value) for name in REQUIRED)


@pytest.mark.parametrize("data", [None, [], "entry", 5])
def test_property_08_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(ConfigurationError, match="data must be a mapping"):
        AuditEntry.from_dict(data)


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), st.integers(-1439, 1439))
def test_property_09_a_timestamp_is_kept_in_utc(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    entry = make(timestamp=aware)
    assert entry.timestamp == aware
    assert entry.timestamp.tzinfo is UTC
    text = entry.to_dict()["timestamp"]
    assert len(text) == len("2026-05-01T12:00:00.000000Z")
    assert datetime.fromisoformat(text) == aware


@given(st.datetimes())
def test_property_09_a_naive_timestamp_is_refused(moment: datetime) -> None:
    with pytest.raises(ConfigurationError, match="timestamp must be an aware datetime, not a naive one"):
        make(timestamp=moment)


def test_property_09_the_second_time_of_an_hour_that_comes_twice_is_told_apart() -> None:
    oslo = ZoneInfo("Europe/Oslo")
    first, second = (make(timestamp=datetime(2026, 10, 25, 2, 30, tzinfo=oslo, fold=fold)) for fold in (0, 1))
    assert second.timestamp - first.timestamp == timedelta(hours=1)


class Undecided(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None


class Broken(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        raise RuntimeError("no time zone data")


@pytest.mark.parametrize(
    "moment",
    [
        NOON.replace(tzinfo=Undecided()),
        NOON.replace(tzinfo=Broken()),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_property_09_a_timestamp_that_utc_can_not_show_is_refused(moment: datetime) -> None:
    with pytest.raises(ConfigurationError, match="timestamp must be an aware datetime"):
        make(timestamp=moment)


class Moment(datetime):
    """A datetime of somebody else's."""


def test_property_09_a_datetime_of_a_subclass_becomes_a_plain_one() -> None:
    found = make(timestamp=Moment(2026, 5, 1, 12, tzinfo=UTC)).timestamp
    assert (type(found), found) == (datetime, NOON)


def test_an_entry_gets_a_new_id() -> None:
    first, second = make(), make()
    assert first.id != second.id
    assert len(first.id) == 36
    assert first.id[14] == "7"


def test_an_entry_is_immutable_hashable_and_can_be_copied() -> None:
    entry = make(details={"total": "9.90"})
    with pytest.raises(FrozenInstanceError):
        entry.action = "order.list"  # type: ignore[misc]
    assert {entry, copy.copy(entry), pickle.loads(pickle.dumps(entry))} == {entry}


def test_later_changes_of_what_was_given_do_not_reach_the_entry() -> None:
    details = {"items": [1]}
    entry = make(details=details)
    details["items"].append(2)
    entry.to_dict()["details"]["items"].append(3)
    assert entry.details == {"items": [1]}


def test_the_repr_shows_nothing_private() -> None:
    text = repr(make(details={"note": "hunter2"}, ip_address="203.0.113.7", user_agent="Mozilla/5.0"))
    assert "order.refund" in text
    assert not any(private in text for private in ("hunter2", "203.0.113.7", "Mozilla"))


class Action(StrEnum):
    REFUND = "order.refund"


def test_a_text_of_a_subclass_becomes_a_plain_one() -> None:
    entry = make(action=Action.REFUND, user_id=Action.REFUND)
    assert (type(entry.action), type(entry.user_id)) == (str, str)
    assert entry.action == "order.refund"


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [("a\x00b", "a\\x00b"), ("a\ud800b", "a\\ud800b"), ("a\r\nb", "a\\x0d\\x0ab"), ("Größe", "Größe"), ("", "")],
)
def test_texts_are_kept_in_a_form_that_every_store_takes(given_text: str, kept: str) -> None:
    entry = make(user_id=given_text, tenant=given_text)
    assert (entry.user_id, entry.tenant) == (kept, kept)
    assert make(user_id=kept).user_id == kept


def test_of_a_long_optional_text_the_beginning_is_kept_and_a_digest() -> None:
    first, second = (make(user_agent="ü" * 5000 + end).user_agent or "" for end in "ab")
    assert first != second
    assert first.startswith("ü" * 128 + "[cut: 10001 bytes, sha256 ")
    assert len(first.encode()) <= 512
    assert make(user_agent=first).user_agent == first
    assert make(user_agent="x" * 512).user_agent == "x" * 512
