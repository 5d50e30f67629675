from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given

from asgi_infra.audit import AuditEntry
from asgi_infra.audit.export import exporter
from asgi_infra.audit.record import LoggedEntry
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import a_full_entry, an_entry
from asgi_infra.testing.audit.strategies import entries


def logged(entry: AuditEntry, *, erased: bool = False) -> LoggedEntry:
    return LoggedEntry(7, bytes(32), entry, erased)


@given(entries)
def test_a_json_line_holds_the_whole_entry(entry: AuditEntry) -> None:
    line = exporter("jsonl").line(logged(entry))
    assert line.count(b"\n") == 1
    data = json.loads(line)
    assert AuditEntry.from_dict(data) == entry
    assert (data["seq"], data["erased"], data["leaf_hash"]) == (7, False, "00" * 32)


@given(entries)
def test_a_csv_row_holds_the_whole_entry_but_no_formula(entry: AuditEntry) -> None:
    writer = exporter("csv")
    text = (writer.header() + writer.line(logged(entry))).decode()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    for name, value in entry.to_dict().items():
        if name == "details":
            assert (json.loads(row[name]) if row[name] else None) == value
        else:
            assert row[name].removeprefix("'") == (value or "").removeprefix("'")
            assert not row[name].startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize(
    ("action", "result", "activity", "status"),
    [
        ("order.create", "success", 1, 1),
        ("audit.read", "denied", 2, 2),
        ("user.update", "failure", 3, 2),
        ("order.delete", "error", 4, 2),
        ("order.refund", "pending", 99, 99),
    ],
)
def test_an_ocsf_event_has_what_its_class_demands(action: str, result: str, activity: int, status: int) -> None:
    event: dict[str, Any] = json.loads(exporter("ocsf").line(logged(a_full_entry(action=action, result=result))))
    assert (event["class_uid"], event["category_uid"]) == (6003, 6)
    assert (event["activity_id"], event["type_uid"], event["status_id"]) == (activity, 600300 + activity, status)
    assert event["time"] == 1777636800000
    assert event["metadata"]["uid"] == "entry-0"
    assert event["metadata"]["original_time"] == "2026-05-01T12:00:00.000000Z"
    assert event["actor"] == {"user": {"uid": "user-1"}}
    assert event["api"] == {"operation": action, "request": {"uid": "request-1"}}
    assert event["src_endpoint"] == {"ip": "203.0.113.7"}
    assert event["resources"] == [{"type": "order", "uid": "order-1"}]
    assert event["unmapped"]["details"] == a_full_entry().details


def test_an_ocsf_event_has_them_even_of_an_entry_without() -> None:
    event = json.loads(exporter("ocsf").line(logged(an_entry(), erased=True)))
    assert all(event[name] for name in ("actor", "api", "src_endpoint", "metadata", "resources"))
    assert event["unmapped"]["erased"] is True
    assert "http_request" not in event


@pytest.mark.parametrize("name", ["xml", "", None, 5, ["csv"]])
def test_an_unknown_format_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="format must be one of"):
        exporter(name)
