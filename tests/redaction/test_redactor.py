from __future__ import annotations

import threading

import pytest

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction import Pattern, Redactor

redact = Redactor()
KEY = b"0123456789abcdef"


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


def test_every_kind_may_keep_its_last_four_and_an_unknown_one_is_answered_with_the_one_that_was_meant():
    own = Pattern("customer_number", r"C-[0-9]{8}")
    known = {"card", "phone", "ip", "password", "token", "secret", "input", "unknown", "query"}
    Redactor(keep_last=known | {"customer_number", "reference"}, keys={"ref no": "reference"}, patterns=[own])
    Redactor(keep_last={"ref_no"}, keys=["ref no"])
    with pytest.raises(
        ConfigurationError, match=r"^keep_last names unknown kinds: \['cardd'\].*did you mean 'card'\?$"
    ):
        Redactor(keep_last={"cardd"})


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
        {"keep_last": ["cardd"]},
        {"keep_last": {"reference": True}},
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
    assert len(bounded._values._known_keys) <= 4096


def test_no_cache_holds_what_was_private():
    fresh = Redactor()
    fresh({"a": "bob@example.org", "password": "hunter2-secret", "al@example.org": 1})
    held = repr(fresh._clean) + repr(fresh._values._known_keys) + repr(fresh._values._keys._cache)
    assert not [secret for secret in ("bob@example.org", "hunter2") if secret in held]
