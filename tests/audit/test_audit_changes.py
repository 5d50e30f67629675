from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit import changes
from asgi_infra.audit.encoding import plain
from asgi_infra.testing.audit.strategies import plain_details


@dataclass
class Address:
    city: str


@dataclass
class Order:
    status: str
    to: Address
    secret: str = field(default="", repr=False)


class Model(pydantic.BaseModel):
    status: str


class Thing:
    def __init__(self, status: str) -> None:
        self.status = status
        self._cache = object()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"status": "new"}, {"status": "paid"}),
        (Model(status="new"), Model(status="paid")),
        (Thing("new"), Thing("paid")),
        (Thing("new"), {"status": "paid"}),
    ],
    ids=["mapping", "pydantic", "object", "mixed"],
)
def test_fields_that_differ_are_told(before: Any, after: Any) -> None:
    assert changes(before, after) == {"status": {"before": "new", "after": "paid"}}


def test_a_field_in_a_field_has_a_path() -> None:
    before, after = Order("new", Address("Oslo"), "a"), Order("new", Address("Bergen"), "b")
    assert changes(before, after) == {"to.city": {"before": "Oslo", "after": "Bergen"}}


def test_fields_that_come_and_go_have_one_side() -> None:
    assert changes({"a": 1, "b": None}, {"b": None, "c": 2}) == {"a": {"before": 1}, "c": {"after": 2}}


def test_what_is_made_or_deleted_lists_all_fields() -> None:
    assert changes(None, {"a": 1}) == {"a": {"after": 1}}
    assert changes({"a": 1}, None) == {"a": {"before": 1}}
    assert changes(None, None) == {}


def test_values_of_another_type_differ() -> None:
    assert changes({"a": 1}, {"a": True}) == {"a": {"before": 1, "after": True}}
    assert changes({"a": 1}, {"a": {"b": 1}}) == {"a": {"before": 1, "after": {"b": 1}}}
    assert changes([1], [1, 2]) == {"value": {"before": [1], "after": [1, 2]}}


def test_dots_in_names_do_not_make_two_paths_one() -> None:
    before, after = ({"a.b": n, "a": {"b": n}, "a\\": {"b": n}} for n in (0, 1))
    assert set(changes(before, after)) == {"a\\.b", "a.b", "a\\\\.b"}


mappings = st.dictionaries(st.text(max_size=3), plain_details, max_size=4)


@given(mappings)
def test_equal_states_have_no_changes(state: dict[str, Any]) -> None:
    assert changes(state, dict(state)) == {}


@given(mappings, mappings)
def test_changes_are_plain_and_the_reverse_of_the_reverse(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = changes(before, after)
    assert plain(found) == found
    reverse = changes(after, before)
    assert found.keys() == reverse.keys()
    for path, sides in found.items():
        assert sides != {}
        swapped = {"before": "after", "after": "before"}
        assert {swapped[side]: value for side, value in sides.items()} == reverse[path]
