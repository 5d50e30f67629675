from __future__ import annotations

import json
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi_infra.audit.encoding import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, canonical, decode, encode, fit, plain
from asgi_infra.audit.mending import mended
from asgi_infra.testing.audit.strategies import plain_details


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass
class Card:
    holder: str
    number: str = field(repr=False)


class Model(pydantic.BaseModel):
    name: str
    secret: pydantic.SecretStr


class Struct(msgspec.Struct):
    total: float


Point = namedtuple("Point", "x y")


class Raises:
    def __repr__(self) -> str:
        raise ZeroDivisionError

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 1


class Liar(dict[str, Any]):
    def __len__(self) -> int:
        raise ZeroDivisionError

    def items(self) -> Any:
        raise ZeroDivisionError

    def __iter__(self) -> Any:
        raise ZeroDivisionError


FORMS: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (2**53 - 1, 2**53 - 1),
    (2**53, "9007199254740992"),
    (-(2**64), "-18446744073709551616"),
    (10**5000, "[int of 16610 bits]"),
    (0.1, "0.1"),
    (-0.0, "-0.0"),
    (1e22, "1e+22"),
    (float("nan"), "NaN"),
    (float("-inf"), "-Infinity"),
    ("a\ud800", "a\\ud800"),
    (b"\xff\x00", "/wA="),
    (bytearray(b"a"), "YQ=="),
    (datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2))), "2026-05-01T12:00:00.000000Z"),
    (datetime(2026, 5, 1, 14), "2026-05-01T14:00:00.000000"),
    (date(2026, 5, 1), "2026-05-01"),
    (time(12, 30), "12:30:00"),
    (timedelta(minutes=1.5), "90.0 s"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("9.90"), "9.90"),
    (Decimal("NaN"), "NaN"),
    (Fraction(1, 3), "1/3"),
    (PurePosixPath("/tmp/a"), "/tmp/a"),
    (Color.RED, "red"),
    (Level.HIGH, 3),
    ({"b", "a"}, ["a", "b"]),
    (frozenset([2, 10]), [10, 2]),
    ((1, "a"), [1, "a"]),
    (deque([1]), [1]),
    (range(2), [0, 1]),
    (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
    (Card("Ann", "4111"), {"holder": "Ann"}),
    (Model(name="n", secret=pydantic.SecretStr("hunter2")), {"name": "n", "secret": "[secret]"}),
    (Struct(1.5), {"total": "1.5"}),
    (Point(1, 2), {"x": 1, "y": 2}),
    (ValueError("wrong"), "ValueError: wrong"),
    (Color, "<enum 'Color'>"),
    (Raises(), "<Raises: unreadable>"),
    (Liar(a=1), {"a": 1}),
    ({1: "a", "1": "b"}, {"1": "a", "1#2": "b"}),
    ({None: 1, (1, 2): 2, 1.5: 3}, {"null": 1, "[1,2]": 2, "1.5": 3}),
    ({"🎉": 1}, {"\\U0001f389": 1}),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=lambda value: ascii(type(value).__name__))
def test_every_value_has_a_form(value: Any, form: Any) -> None:
    assert plain(value) == form
    assert plain([{"in": value}]) == [{"in": form}]
    assert json.loads(canonical(value)) == form


@given(plain_details)
@example(-0.0)
def test_the_quick_ways_and_the_long_way_agree(value: Any) -> None:
    assert plain(value) == mended(value)


@given(plain_details)
def test_plain_data_comes_back_equal(value: Any) -> None:
    once = plain(value)
    assert plain(once) == once
    assert decode(canonical(value)) == once
    assert canonical(once) == canonical(value)


@given(st.dictionaries(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])), st.text(), max_size=8))
def test_the_bytes_are_those_of_rfc_8785(value: dict[str, str]) -> None:
    by_utf_16 = dict(sorted(plain(value).items(), key=lambda item: item[0].encode("utf-16-be")))
    assert canonical(value) == json.dumps(by_utf_16, ensure_ascii=False, separators=(",", ":")).encode()


def test_the_order_of_keys_and_of_sets_does_not_matter() -> None:
    assert canonical({"b": {"y": 1, "x": 2}, "a": 1}) == b'{"a":1,"b":{"x":2,"y":1}}'


@pytest.mark.parametrize("size", [10, 500, MAX_ITEMS, MAX_ITEMS + 1, 50_000])
@pytest.mark.parametrize("make", [list, dict.fromkeys, set], ids=["list", "dict", "set"])
def test_wide_containers_are_cut_with_a_mark(make: Any, size: int) -> None:
    found = plain(make(range(size)))
    assert len(found) == min(size, MAX_ITEMS)
    if size > MAX_ITEMS:
        assert f"[{size - MAX_ITEMS + 1} more]" in found
    assert plain(found) == found


def test_many_containers_together_are_cut_too() -> None:
    found = plain([[list(range(100)) for _ in range(100)] for _ in range(100)])
    assert len(encode(found)) < 200_000
    assert plain(found) == found


def test_deep_containers_end_in_a_mark() -> None:
    value: Any = 1
    for _ in range(500):
        value = [value]
    found = plain(value)
    assert encode(found) == b"[" * MAX_DEPTH + b'"[too deep]"' + b"]" * MAX_DEPTH
    assert plain(found) == found


def test_cycles_end_in_a_mark() -> None:
    value: dict[str, Any] = {"a": 1}
    value["self"] = [value]
    assert plain(value) == {"a": 1, "self": ["[cycle]"]}


def test_what_occurs_twice_is_no_cycle() -> None:
    shared = [float("nan")]
    assert plain([shared, shared]) == [["NaN"], ["NaN"]]


def test_long_texts_are_cut_with_size_and_digest() -> None:
    found = plain("é" * 10_000_000)
    assert found.startswith("é" * 256 + "[cut: 19999488 bytes, sha256 ")
    assert plain(found) == found
    assert plain("x" * MAX_TEXT) == "x" * MAX_TEXT


def test_many_long_texts_together_are_cut_too() -> None:
    found = plain(["\ud800" * 5_000 for _ in range(50)])
    assert sum(map(len, found)) <= 8 * MAX_TEXT + 50 * 512
    assert plain(found) == found


@given(st.dictionaries(st.text(max_size=50), plain_details, max_size=8), st.integers(128, 2000))
def test_data_is_made_to_fit(value: dict[str, Any], max_bytes: int) -> None:
    data = plain(value)
    found = fit(data, max_bytes)
    assert len(encode(found)) <= max_bytes
    if len(encode(data)) <= max_bytes:
        assert found == data


def test_the_largest_values_give_way_first() -> None:
    found = fit({"small": "kept", "large": ["x" * 600], "text": "y" * 700}, 700)
    assert found["small"] == "kept"
    assert found["large"].startswith("[cut: 604 bytes, sha256 ")
    assert found["text"].startswith("y" * 256 + "[cut: 444 bytes, sha256 ")
