from __future__ import annotations

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError

from asgi_infra.redaction import Redactor

SECRET = "Zq7-hunter-X9w"


class Card(BaseModel):
    pin: int
    note: int = 1


class Login(BaseModel):
    password: int = 0
    count: int = 0
    cards: list[Card] = []


class Vault(BaseModel):
    pepper: SecretStr = Field(default=SecretStr(""), min_length=30)
    hidden: int = Field(default=0, repr=False)
    shown: int = 0


class House(BaseModel):
    vaults: list[Vault] = []


def error_of(model, value):
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return caught.value


def all_texts(error):
    redact = Redactor()
    return "\n".join([redact.message(error), redact.exception(error), str(redact(error)), redact.text(str(error))])


PRIVATE = [
    {"password": SECRET},
    {"password": [SECRET]},
    {"password": {"a": SECRET}},
    {"cards": [{"pin": SECRET}]},
    {"cards": [{"pin": 1}, {"pin": {"deep": [SECRET]}}]},
    {"password": SECRET * 20},
    {"count": {"password": SECRET}},
    {"count": [{"user": "bob", "api_key": SECRET, "more": "x" * 60}]},
    {"count": {"more": "x" * 60, "password": SECRET}},
]


@pytest.mark.parametrize("value", PRIVATE, ids=str)
def test_what_a_validation_error_quotes_of_a_private_field_is_hidden(value):
    texts = all_texts(error_of(Login, value))
    assert SECRET not in texts
    assert "hunter" not in texts  # what is left of a quote that was cut
    assert "Input should be a valid" in texts


def test_the_quotes_of_other_fields_stay():
    text = Redactor().message(error_of(Login, {"password": SECRET, "count": "many"}))
    assert "input_value='many', input_type=str" in text
    assert "input_value=[REDACTED:password], input_type=str" in text


@pytest.mark.parametrize("field", ["pepper", "hidden"])
@pytest.mark.parametrize("make", [lambda vault: Vault(**vault), Vault.model_validate], ids=["call", "validate"])
def test_fields_that_their_model_hides_are_hidden_in_its_errors(field, make):
    with pytest.raises(ValidationError) as caught:
        make({field: SECRET, "shown": "many"})
    redact = Redactor()
    assert SECRET in str(caught.value)
    assert SECRET not in redact.message(caught.value) + redact.exception(caught.value)
    assert "'many'" in redact.message(caught.value)


def test_fields_that_a_model_within_the_model_hides_are_hidden_too():
    assert SECRET not in Redactor().message(error_of(House, {"vaults": [{"pepper": SECRET}]}))


def test_models_keep_what_they_hide():
    redacted = Redactor()(Vault.model_construct(pepper=SecretStr(SECRET), hidden=SECRET, shown=3))
    assert redacted == {"pepper": "[REDACTED:secret]", "shown": 3}


def test_groups_and_causes_are_covered():
    try:
        try:
            raise error_of(Login, {"password": SECRET})
        except ValidationError as exc:
            raise ExceptionGroup("both", [exc, error_of(Login, {"cards": [{"pin": SECRET * 9}]})]) from exc
    except ExceptionGroup as group:
        text = Redactor().exception(group)
    assert "hunter" not in text
    assert "both (2 sub-exceptions)" in text


def test_the_errors_as_data_are_covered():
    error = error_of(Login, {"password": SECRET, "cards": [{"pin": [SECRET]}], "count": "many"})
    redacted = Redactor()(error.errors())
    assert SECRET not in str(redacted)
    assert [each["input"] for each in redacted] == ["[REDACTED:password]", "many", "[REDACTED:code]"]


def test_a_key_of_a_mapping_is_a_name_too():
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_python({"password": SECRET})
    assert SECRET not in Redactor().text(str(caught.value))


def test_errors_of_others_with_methods_of_that_name_do_no_harm():
    class OddError(Exception):
        def errors(self):
            raise RuntimeError(SECRET)

    class OtherError(Exception):
        def errors(self):
            return [1, {"loc": 5}]

    assert Redactor().message(OddError("plain")) == "plain"
    assert Redactor().message(OtherError("plain")) == "plain"


def test_log_lines_are_covered(caplog):
    redact = Redactor()
    record = logging.makeLogRecord({"msg": "refused: %s", "args": (error_of(Login, {"password": SECRET}),)})
    assert SECRET not in redact.text(f"refused: {redact.message(record.args[0])}")
    assert SECRET not in redact(repr([error_of(Login, {"password": SECRET})]))


@given(st.lists(st.sampled_from(["[type=a, input_value=", ", input_type=", "\npassword\n", "  x ", "...", "\\n"])))
@example(["[type=a, input_value=", "\npassword\n", "...", "[type=a, input_value=", "  x ", ", input_type="])
def test_any_order_of_its_parts_is_redacted_once_and_for_all(parts):
    redact = Redactor()
    once = redact.text("".join(parts))
    assert redact.text(once) == once


@pytest.mark.parametrize(
    "unit", ["password\n x [type=a, input_value=", "[type=a, input_value=, input_type=", "input_value="]
)
def test_the_search_for_quotes_ends_on_a_megabyte_of_hostile_text(unit):
    text = Redactor(max_chars=10_000_000).text(unit * (1_000_000 // len(unit)))
    assert len(text) < 10_000_000
