from __future__ import annotations

import collections
import sys
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from asgi_infra.redaction import Redactor
from asgi_infra.redaction.keys import KeyRules
from asgi_infra.redaction.secrets import secrets_of

SECRET = "Zq7-hunter-X9w"
kind_of = KeyRules().kind


@dataclass
class Settings:
    password: str
    count: int = 1


class Slotted:
    __slots__ = ("__token", "name", "password")

    def __init__(self, password):
        self.password = password
        self.__token = password


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


Named = collections.namedtuple("Named", "user password")

HOLDERS = {
    "a text": lambda: SimpleNamespace(password=SECRET),
    "a dict": lambda: {"password": SECRET},
    "a dict of bytes": lambda: {b"password": SECRET.encode()},
    "a dict in a dict": lambda: {"database": {"password": SECRET}},
    "a dict in a list": lambda: [{"password": SECRET}],
    "a tuple of headers": lambda: ((b"authorization", SECRET.encode()),),
    "an ASGI scope": lambda: {"type": "http", "headers": [(b"x-api-key", SECRET.encode())]},
    "a list under a private name": lambda: {"passwords": ["other", SECRET]},
    "a set under a private name": lambda: {"tokens": {SECRET}},
    "a dict under a private name": lambda: {"credentials": {"user": "bobby", "value": SECRET}},
    "a dataclass": lambda: Settings(SECRET),
    "slots": lambda: Slotted(SECRET),
    "an object": lambda: Plain(password=SECRET),
    "an object that holds a dict": lambda: Plain(settings={"password": SECRET}),
    "a named tuple": lambda: Named("bob", SECRET),
    "a SecretStr": lambda: {"password": SecretStr(SECRET)},
    "a default dict": lambda: collections.defaultdict(str, password=SECRET),
}


def failing(holder, text):
    def fail(argument):
        raise ValueError(text)

    try:
        fail(holder)
    except ValueError as exc:
        return exc


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_what_a_variable_of_a_frame_holds_under_a_private_name_is_hidden(holder):
    error = failing(holder(), f"no login with <{SECRET}>")
    redact = Redactor()
    assert SECRET not in redact.exception(error)
    assert redact.message(error).startswith("no login with <[REDACTED:")


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_what_an_attribute_of_an_exception_holds_is_hidden(holder):
    error = ValueError(f"no login with <{SECRET}>")
    error.request = holder()
    assert SECRET not in Redactor().exception(error)


QUOTED = {
    "line feeds": "pass\nword-of-bob",
    "quotes": 'it\'s "mine" \\ yours',
    "accents": "pässwörd-öf-bøb",
    "a surrogate": "pass\ud800word",
    "bytes": b"pass\xff\x00word",
    "bytes of UTF-8": "pässwörd".encode(),
    "a bytearray": bytearray(b"password-of-bob"),
    "a number": 9876543210,
}


@pytest.mark.parametrize("show", [str, repr, ascii], ids=lambda show: show.__name__)
@pytest.mark.parametrize("secret", QUOTED.values(), ids=QUOTED)
def test_a_secret_is_found_in_whatever_form_it_is_quoted(secret, show):
    shown = show(bytes(secret) if isinstance(secret, bytearray) else secret)
    error = failing({"password": secret}, f"refused: {shown}!")
    message = Redactor().message(error)
    kernel = shown.strip("b'\"")
    assert kernel not in message
    assert message.startswith("refused: ")
    assert "REDACTED:password" in message


def test_a_key_error_quotes_its_key():
    password = 'it\'s\n"mine"'
    with pytest.raises(KeyError) as caught:
        {}[password]
    assert "mine" not in Redactor().message(caught.value)


def test_attributes_in_slots_are_taken_out_of_what_an_object_prints():
    class Printing(Slotted):
        __slots__ = ()

        def __repr__(self):
            return f"Printing({self.password})"

    assert Redactor()(Printing(SECRET)) == "Printing([REDACTED:password])"


def test_an_object_under_a_private_name_is_looked_into_and_not_taken_whole():
    error = failing({"tokens": Plain(name="the-usual", password=SECRET)}, f"the-usual {SECRET}")
    assert Redactor().message(error) == "the-usual [REDACTED:password]"


def test_nothing_is_computed_to_find_secrets():
    class Lazy:
        @property
        def password(self):
            raise AssertionError("computed")

        def __getattr__(self, name):
            raise RuntimeError(name)

    assert Redactor().message(failing(Lazy(), "plain")) == "plain"


def test_a_cycle_ends():
    cycle = {"password": SECRET}
    cycle["self"] = [cycle, (cycle,)]
    assert Redactor().message(failing(cycle, SECRET)) == "[REDACTED:password]"


def test_a_search_is_bounded():
    wide = [
        {f"name{number}": {"password": f"secret-{number}-{index}"} for number in range(200)} for index in range(200)
    ]
    found = secrets_of(failing(wide, "x"), kind_of)
    assert 0 < len(found) < 10_000


def test_a_dict_that_changes_meanwhile_does_no_harm(monkeypatch):
    class Changing(dict):
        def items(self):
            for item in list(super().items()):
                self[len(self)] = 1
                yield item
            raise RuntimeError("changed")

    assert Redactor().message(failing({"a": Changing(x=1), "password": SECRET}, SECRET)) == "[REDACTED:password]"


def test_short_texts_numbers_and_flags_are_no_secrets():
    error = failing({"password": "abc", "token": 12, "secret": True, "cookie": "     "}, "abc 12 True      end")
    assert Redactor().message(error) == "abc 12 True      end"


def test_modules_and_classes_are_not_looked_into():
    found = secrets_of(failing([sys, threading, Settings, failing], "x"), kind_of)
    assert found == {}
