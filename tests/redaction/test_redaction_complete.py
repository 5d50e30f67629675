from __future__ import annotations

import copy
import json
import random
from collections import namedtuple
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redaction_corpus import card, email, iban, jwt, ssn, vendor_key

from asgi_infra.redaction import Redactor

KEY = b"0123456789abcdef"

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


Login = namedtuple("Login", "user password")


@dataclass
class Account:
    user: str
    password: str


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
