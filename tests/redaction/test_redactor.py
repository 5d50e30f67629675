from __future__ import annotations

import copy
import datetime
import decimal
import enum
import json
import pathlib
import random
import threading
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redaction_corpus import card, email, iban, jwt, ssn, vendor_key

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction import Pattern, Redactor

redact = Redactor()
KEY = b"0123456789abcdef"


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


def test_names_and_forms_are_replaced_and_all_else_is_copied():
    event = {
        "user": "bob@example.org",
        "Password": "hunter2",
        "count": 3,
        "ok": True,
        "none": None,
        "deep": [{"X-Api-Key": "k"}, ("a", 1.5), {"q": {"z", "bob@example.org"}}],
    }
    assert redact(event) == {
        "user": "[REDACTED:email]",
        "Password": "[REDACTED:password]",
        "count": 3,
        "ok": True,
        "none": None,
        "deep": [{"X-Api-Key": "[REDACTED:api_key]"}, ("a", 1.5), {"q": {"z", "[REDACTED:email]"}}],
    }


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


def test_what_goes_over_a_limit_is_not_shown():
    small = Redactor(max_depth=2, max_items=3, max_chars=128)
    assert small([[["secret value"]]]) == [["[UNSCANNED depth]"]]
    assert small(list("abcde")) == ["a", "b", "[UNSCANNED 3 items]"]
    assert small({"a": 1, "b": 2, "c": 3, "d": 4}) == {"a": 1, "b": 2, "[UNSCANNED 2 items]": "[UNSCANNED 2 items]"}
    long = small("word " * 100)
    assert long.startswith("word word")
    assert long.endswith(" chars]")
    assert len(long) <= 160
    assert small("x" * 300) == "[UNSCANNED 300 chars]"
    assert small(b"x" * 300) == b"[UNSCANNED 300 chars]"
    assert str(small([["a"] * 3] * 40)).count("'a'") <= 60


@pytest.mark.parametrize("secret", ["4111 1111 1111 1111", "GB29 NWBK 6016 1331 9268 19", "bob@example.org"])
def test_a_cut_leaves_no_half_of_a_value(secret):
    for before in range(138, 280, 3):
        out = Redactor(max_chars=256)(("ab " * 100)[:before] + secret + " end" * 100)
        assert secret[:7] not in out
        assert secret[-7:] not in out


def test_pseudonyms_are_stable_and_keyed():
    one, two, other = Redactor(pseudonym_key=KEY), Redactor(pseudonym_key=KEY), Redactor(pseudonym_key=b"x" * 32)
    text = "bob@example.org"
    assert one(text) == two(text) == one({"email": text})["email"] != other(text)
    assert one(text) != one("al@example.org")
    assert one(one(text)) == one(text)
    assert one(text) == "[email:3d6bb1]"


def test_the_last_four_are_shown_where_asked():
    keeper = Redactor(keep_last={"card"}, pseudonym_key=KEY)
    out = keeper({"card_number": "4111-1111-1111-1234", "text": "paid with 4111 1111 1111 1111"})
    assert out == {"card_number": "[REDACTED:card:1234]", "text": "paid with [REDACTED:card:1111]"}
    assert keeper(out) == out
    assert keeper({"card_number": "1234"})["card_number"] == "[REDACTED:card]"


def test_names_are_configurable():
    own = Redactor(keys={"customer ref": "reference"}, safe_keys=["session_id"])
    assert own({"customerRef": "a", "session_id": "b"}) == {"customerRef": "[REDACTED:reference]", "session_id": "b"}
    assert own("customer_ref=abc session_id=b") == "customer_ref=[REDACTED:reference] session_id=b"


def test_what_was_replaced_is_counted_by_kind_and_never_by_value():
    counting = Redactor()
    counting({"a": "bob@example.org", "password": "x", "b": ["al@example.org"]})
    assert counting.counts == {"email": 2, "password": 1}


def test_a_check_that_raises_hides_the_text_and_is_counted():
    def fail(text: str) -> bool:
        raise RuntimeError(text)

    failing = Redactor(patterns=[Pattern("odd", "x+y", check=fail)])
    assert failing("a xy") == "[REDACTED:error]"
    assert failing(["a xy", 1]) == "[REDACTED:error]"
    assert failing.counts == {"error": 2}


def test_attributes_of_spans_keep_their_types():
    attributes = {
        "http.request.header.authorization": ("Bearer abc",),
        "url.query": "page=2&sig=abc",
        "http.response.status_code": 200,
        "tags": ("a", "bob@example.org"),
    }
    assert redact.attributes(attributes) == {
        "http.request.header.authorization": "[REDACTED:authorization]",
        "url.query": "page=2&sig=[REDACTED:query]",
        "http.response.status_code": 200,
        "tags": ("a", "[REDACTED:email]"),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_depth": 0},
        {"max_depth": 101},
        {"max_items": True},
        {"max_chars": "10"},
        {"max_chars": 1},
        {"pseudonym_key": b"short"},
        {"pseudonym_key": "0123456789abcdef"},
        {"keep_last": "card"},
        {"keep_last": ["Not A Kind"]},
        {"without": ["nonsense"]},
        {"patterns": ["x"]},
        {"keys": "password"},
        {"keys": {"a": "Bad Kind"}},
        {"safe_keys": [""]},
    ],
)
def test_wrong_parameters_are_refused_by_name(arguments):
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        Redactor(**arguments)


def test_a_pseudonym_key_is_not_shown_when_it_is_refused():
    with pytest.raises(ConfigurationError) as caught:
        Redactor(pseudonym_key=b"hunter2")
    assert "hunter2" not in str(caught.value)


def test_threads_may_share_a_redactor():
    shared, wrong = Redactor(), []

    def work(number: int) -> None:
        for index in range(300):
            out = shared({f"key{number}.{index}": f"user{index}@example.org", "password": str(index)})
            if "example.org" in str(out) or out["password"] != "[REDACTED:password]":
                wrong.append(out)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_caches_are_bounded():
    bounded = Redactor()
    for number in range(10_000):
        bounded({f"key {number}": f"harmless text {number}"})
    assert len(bounded._clean) <= 4096
    assert len(bounded._known_keys) <= 4096


def test_no_cache_holds_what_was_private():
    fresh = Redactor()
    fresh({"a": "bob@example.org", "password": "hunter2-secret", "al@example.org": 1})
    held = repr(fresh._clean) + repr(fresh._known_keys) + repr(fresh._keys._cache)
    assert not [secret for secret in ("bob@example.org", "hunter2") if secret in held]


# Property 13: redaction is complete.

MAKERS = [
    email,
    card,
    lambda chance: card(chance, separator="-"),
    iban,
    lambda chance: iban(chance, grouped=True),
    ssn,
    jwt,
    lambda chance: vendor_key(chance, "github"),
    lambda chance: vendor_key(chance, "aws"),
    lambda chance: vendor_key(chance, "stripe"),
    lambda _: "+44 20 7946 0958",
]
FORMED = st.builds(lambda make, seed: make(random.Random(seed)), st.sampled_from(MAKERS), st.integers(0, 10**6))
NAMES = st.sampled_from(["password", "userPassword", "X-Api-Key", "client_secret", "refreshToken", "Set-Cookie", "pin"])
NAMED = st.text("abcdefghijkmnpqrstuvwxyz23456789", min_size=8, max_size=30).map("zq".__add__)
HARMLESS_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\"'`\\=:,<>[](){}|@;&?"), max_size=12)
FRAMES = st.sampled_from(["{}", "seen {} here", "({})", "\u00e9 {} \u00e9", "line\n{}\nline", "x={}", '"{}"'])


class Holder:
    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"<Holder of {self.value!r}>"


def _as_error(text: str) -> Exception:
    try:
        try:
            raise KeyError(text)
        except KeyError as exc:
            raise ValueError("outer") from exc
    except ValueError as exc:
        exc.add_note(f"note {text}")
        return exc


@st.composite
def planted(draw):
    """A text that holds a secret which its form gives away, and the secret."""
    secret = draw(FORMED)
    text = draw(FRAMES).format(secret)
    wrap = draw(st.sampled_from(["text", "bytes", "json", "error", "object", "dataclass", "key", "tuple", "set"]))
    value = {
        "text": lambda: text,
        "bytes": lambda: text.encode(),
        "json": lambda: json.dumps({"a": [text, 1]}),
        "error": lambda: _as_error(text),
        "object": lambda: Holder(text),
        "dataclass": lambda: Account(text, "x"),
        "key": lambda: {text: 1},
        "tuple": lambda: (1, text, None),
        "set": lambda: {text},
    }[wrap]()
    return value, [secret]


@st.composite
def named(draw):
    """A value under a private name, in the places where names are."""
    name, secret = draw(NAMES), draw(NAMED)
    value = draw(
        st.sampled_from(
            [
                {name: secret},
                {name: [secret, {"x": secret}]},
                {name: secret.encode()},
                {name.encode(): secret},
                [(name, secret)],
                {"name": name, "value": secret},
                json.dumps({name: secret}),
                json.dumps({"a": {name: {"deep": secret}}}),
                f"{name}={secret} and more",
                f"failed: {name}: {secret}; retry",
                f"{{'{name}': '{secret}'}}",
                f"/path?a=1&{name}={secret}&b=2",
                ValueError(f"bad {name}={secret}"),
                f"{name}={secret}".encode(),
                Holder({name: secret}),
            ]
        )
    )
    return value, [secret]


@st.composite
def anywhere(draw):
    """A nested value with secrets planted in it, and the secrets."""
    parts = draw(st.lists(st.one_of(planted(), named()), min_size=1, max_size=4))
    secrets = [secret for _, found in parts for secret in found]
    leaves: st.SearchStrategy = st.one_of(
        st.sampled_from([value for value, _ in parts]),
        HARMLESS_TEXT,
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.binary(max_size=6),
    )
    tree = draw(
        st.recursive(
            leaves,
            lambda inner: st.one_of(
                st.lists(inner, max_size=4),
                st.lists(inner, max_size=3).map(tuple),
                st.dictionaries(HARMLESS_TEXT, inner, max_size=4),
                inner.map(lambda value: Account("bob", value)),
                inner.map(lambda value: Login(value, "x")),
            ),
            max_leaves=12,
        )
    )
    return {"all": [value for value, _ in parts], "tree": tree}, secrets


REDACTORS = [Redactor(), Redactor(pseudonym_key=KEY), Redactor(ip=True, local_variables=True)]


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(anywhere(), st.sampled_from(REDACTORS))
def test_property_13_redaction_is_complete_wherever_secrets_are_planted(case, redactor):
    value, secrets = case
    out = redactor(value)
    shown = repr(out) + str(out)
    for secret in secrets:
        assert secret not in shown, (secret, out)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(anywhere(), st.sampled_from(REDACTORS))
def test_property_13_redaction_is_idempotent_and_leaves_its_input_alone(case, redactor):
    value, _ = case
    before = repr(value)
    once = redactor(value)
    assert repr(value) == before
    assert repr(redactor(copy.deepcopy(once))) == repr(once)


@settings(deadline=None)
@given(st.text(max_size=300), st.sampled_from([*REDACTORS, Redactor(max_chars=128, max_items=2, max_depth=1)]))
def test_property_13_redaction_of_any_text_is_idempotent(text, redactor):
    once = redactor(text)
    assert redactor(once) == once


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["password", "=", ":", " ", '"', "'", "bob@example.org", "4111111111111111", "{", "}", "[", "]", ",", "\\",
             ";", "token", "a", "1", "\n", "[REDACTED:email]", "://", "@", "<", ">", "--", "Bearer ", "[email:9f3c2a]",
             "eyJhbGciOi.eyJz.x"]
        ),
        max_size=14,
    ).map("".join),
    st.sampled_from([*REDACTORS, Redactor(max_chars=128, keep_last={"card"})]),
)  # fmt: skip
def test_property_13_redaction_is_idempotent_on_the_grammar_of_its_rules(text, redactor):
    once = redactor(text)
    assert redactor(once) == once
    assert "bob@example.org" not in once


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=40) | st.binary(max_size=40),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
        max_leaves=40,
    )
)
def test_property_13_redaction_within_tight_limits_is_idempotent(value):
    tight = Redactor(max_depth=3, max_items=3, max_chars=128)
    once = tight(value)
    assert repr(tight(once)) == repr(once)
