from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec
import pytest

from asgi_infra.redaction import Redactor

redact = Redactor()


@dataclass
class Account:
    user: str
    password: str
    hidden: str = field(default="zzz-hidden", repr=False)


class Struct(msgspec.Struct):
    token: str
    page: int


class Plain:
    def __init__(self, password: str) -> None:
        self.password = password

    def __repr__(self) -> str:
        return f"Plain of {self.password}"


class SecretText:
    def get_secret_value(self) -> str:
        return "hunter2-secret"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr, and hunter2-secret")


class BrokenMapping(UserDict):
    def __len__(self) -> int:
        raise RuntimeError("no length")


class Colour(enum.Enum):
    RED = "bob@example.org"


Login = namedtuple("Login", "user password")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"mail bob@example.org", b"mail [REDACTED:email]"),
        (bytearray(b"token=abc"), bytearray(b"token=[REDACTED:token]")),
        (memoryview(b"bob@example.org"), b"[REDACTED:email]"),
        (b"\xff\x00 plain \x80", b"\xff\x00 plain \x80"),
        (4111111111111111, "[REDACTED:card]"),
        (4111111111111112, 4111111111111112),
        (10**400, 10**400),
        (decimal.Decimal("1.5"), decimal.Decimal("1.5")),
        (decimal.Decimal("NaN"), decimal.Decimal("NaN")),
        (decimal.Decimal(4111111111111111), "[REDACTED:card]"),
        (pathlib.PurePosixPath("/home/x"), pathlib.PurePosixPath("/home/x")),
        (pathlib.PurePosixPath("/home/bob@example.org"), "/home/[REDACTED:email]"),
        (Colour.RED, "[REDACTED:email]"),
        (uuid.UUID(int=1), uuid.UUID(int=1)),
        (datetime.date(2026, 11, 22), datetime.date(2026, 11, 22)),
        (Account("bob@example.org", "x"), {"user": "[REDACTED:email]", "password": "[REDACTED:password]"}),
        (Struct("abc", 1), {"token": "[REDACTED:token]", "page": 1}),
        (Login("bob", "x"), Login("bob", "[REDACTED:password]")),
        (Plain("hunter2"), "Plain of [REDACTED:password]"),
        (SecretText(), "[REDACTED:secret]"),
        (Broken(), "<Broken: no repr>"),
        (BrokenMapping(), "[REDACTED:error]"),
        (OrderedDict(pin="1234"), {"pin": "[REDACTED:code]"}),
        (MappingProxyType({"pin": 1234}), {"pin": "[REDACTED:code]"}),
        (deque(["bob@example.org"]), ["[REDACTED:email]"]),
        (frozenset(["bob@example.org"]), frozenset(["[REDACTED:email]"])),
        ({"a": 1}.keys(), {"a"}),
        ([(b"Authorization", b"Bearer abc"), (b"accept", b"*")],
         [(b"Authorization", "[REDACTED:authorization]"), (b"accept", b"*")]),
        ({"name": "password", "value": "x"}, {"name": "password", "value": "[REDACTED:password]"}),
        ({"bob@example.org": 1, "al@example.org": 2}, {"[REDACTED:email]": 1, "[REDACTED:email]#2": 2}),
        ({("a", "bob@example.org"): 1}, {("a", "[REDACTED:email]"): 1}),
        ({b"password": "x", 1: "y"}, {b"password": "[REDACTED:password]", 1: "y"}),
        ({"password": None, "pin": "", "token": ["a"]}, {"password": None, "pin": "", "token": "[REDACTED:token]"}),
        ('{"p\\u0061ssword": "x", "n": [1, {"pin": 1234}]}',
         '{"password":"[REDACTED:password]","n":[1,{"pin":"[REDACTED:code]"}]}'),
        ('{"a": 1,  "b": [2]}', '{"a": 1,  "b": [2]}'),
        ('{"password": "first", "password": ""}', '{"password": "[REDACTED:password]", "password": ""}'),
        (b'{"token": "caf\xc3\xa9"}', b'{"token":"[REDACTED:token]"}'),
        ("\ud800 bob@example.org", "\ud800 [REDACTED:email]"),
    ],
)  # fmt: skip
def test_every_kind_of_value_is_understood(value, expected):
    out = redact(value)
    assert type(out) is type(expected)
    assert repr(out) == repr(expected) if out != out else out == expected
    assert repr(redact(out)) == repr(out)


def test_attrs_and_pydantic_objects_are_copied_field_by_field():
    attrs = pytest.importorskip("attrs", reason="attrs is not installed")
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")

    @attrs.define
    class A:
        token: str
        page: int
        hidden: str = attrs.field(default="zzz", repr=False)

    class P(pydantic.BaseModel, extra="allow"):
        password: pydantic.SecretStr
        email: str
        hidden: str = pydantic.Field(default="zzz", repr=False)

    assert redact(A("abc", 1)) == {"token": "[REDACTED:token]", "page": 1}
    assert redact({"p": P(password="hunter2", email="bob@example.org", note="al@example.org")}) == {
        "p": {"password": "[REDACTED:password]", "email": "[REDACTED:email]", "note": "[REDACTED:email]"}
    }


def test_cycles_are_cut_and_shared_values_are_not():
    shared = ["x"]
    cycle: dict = {"a": shared, "b": shared}
    cycle["self"] = cycle
    account = Account("bob", "x")
    account.user = account  # type: ignore[assignment]
    assert redact(cycle) == {"a": ["x"], "b": ["x"], "self": "[CYCLE]"}
    assert redact(account)["user"] == "[CYCLE]"


@pytest.mark.parametrize("kind", [list, tuple])
def test_what_follows_a_private_option_in_the_arguments_of_a_command_is_hidden(kind):
    arguments = kind(["run", "--verbose", "--password", "hunter2", "-token", 5, "--page", "7", "--password"])
    expected = ["run", "--verbose", "--password", "[REDACTED:password]", "-token", "[REDACTED:token]"]
    assert redact(arguments) == kind([*expected, "--page", "7", "--password"])
    assert redact(redact(arguments)) == redact(arguments)


def test_a_tuple_as_key_is_private_if_one_of_its_parts_is():
    assert redact({("user", "password"): "hunter2", ("user", 1): "bob"}) == {
        ("user", "password"): "[REDACTED:password]",
        ("user", 1): "bob",
    }
