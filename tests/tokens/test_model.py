from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from token_strategies import NOT_FINITE, identifiers, json_values, loaded_tokens

from asgi_infra.errors import InfrastructureError
from asgi_infra.tokens import StoredToken
from asgi_infra.tokens.identifiers import family_of

if TYPE_CHECKING:
    from asgi_infra.testing import ManualClock

HOUR = timedelta(hours=1)


def in_an_hour() -> datetime:
    return datetime.now(UTC) + HOUR


def made(**changes: Any) -> StoredToken:
    return StoredToken(**{"jti": "first", "user_id": "alice", "expires_at": in_an_hour(), **changes})


# What is refused

BAD_IDENTIFIERS = [
    "", " ", "\t\n", "\u3000", "a\0", "a\nb", "a\x7f", "a\x9f", "a\u2028", "\ud800", "x" * 256, None, 5, b"alice",
    ["a"],
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_IDENTIFIERS, ids=lambda bad: ascii(bad)[:20])
@pytest.mark.parametrize("field", ["jti", "user_id", "family_id", "client_id"])
def test_property_04_token_store_input_validation_of_identifiers(field: str, bad: Any) -> None:
    if bad is None and field == "client_id":
        assert made(client_id=None).client_id is None
        return
    if bad == "" and field == "family_id":
        assert made(family_id="").family_id
        return
    with pytest.raises(ValueError, match=f"^{field} must") as caught:
        made(**{field: bad})
    assert isinstance(caught.value, InfrastructureError)


@given(st.text(), st.sampled_from(["jti", "user_id"]))
def test_property_04_token_store_input_validation_of_any_text(text: str, field: str) -> None:
    storable = bool(text.strip()) and len(text) <= 255 and not any(_forbidden(each) for each in text)
    if storable:
        assert getattr(made(**{field: text}), field) == text
    else:
        with pytest.raises(ValueError, match=f"^{field} must") as caught:
            made(**{field: text})
        # Of the faulty value nothing is shown, since it may be a credential.
        assert len(text.strip()) < 4 or text not in str(caught.value)


def _forbidden(character: str) -> bool:
    number = ord(character)
    return number < 0x20 or 0x7F <= number < 0xA0 or number in (0x2028, 0x2029) or 0xD800 <= number < 0xE000


@given(st.timedeltas(timedelta(days=-1000), timedelta(days=1000)))
@example(timedelta(0))
@example(timedelta(microseconds=-1))
def test_property_04_token_store_input_validation_of_the_expiry(ahead: timedelta) -> None:
    now = datetime.now(UTC)
    if ahead > timedelta(minutes=5):
        assert made(expires_at=now + ahead).expires_at == now + ahead
    elif ahead <= timedelta(0):
        with pytest.raises(ValueError, match=r"^expires_at must lie in the future"):
            made(expires_at=now + ahead)
        with pytest.raises(ValueError, match=r"^expires_at must lie in the future"):
            StoredToken.issue("alice", expires_at=now + ahead, clock=lambda: now)


@pytest.mark.parametrize("bad", [None, 5, "2031-01-01T00:00:00Z", datetime(2031, 1, 1), datetime.min])
@pytest.mark.parametrize("field", ["expires_at", "issued_at", "last_used_at"])
def test_property_04_token_store_input_validation_of_moments(field: str, bad: Any) -> None:
    if bad is None and field == "last_used_at":
        assert made(last_used_at=None).last_used_at is None
        return
    with pytest.raises(ValueError, match=f"^{field} must be (an )?aware"):
        made(**{field: bad})


@pytest.mark.parametrize("moment", [datetime.max, datetime.min])
def test_a_moment_that_utc_can_not_hold_is_refused(moment: datetime) -> None:
    zone = timezone(timedelta(hours=-1 if moment is datetime.max else 1))
    with pytest.raises(ValueError, match=r"^issued_at must lie in the years"):
        made(issued_at=moment.replace(tzinfo=zone))


@pytest.mark.parametrize(
    "bad",
    [None, 5, "text", [("a", 1)], {"a": {1, 2}}, {"a": b"bytes"}, {"a": object()}, {"a": "\ud800"}, {"\ud800": 1}]
    + [{"a": number} for number in [*NOT_FINITE, 10**5000]],
)
def test_property_04_token_store_input_validation_of_metadata(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^metadata must"):
        made(metadata=bad)


def test_metadata_that_holds_itself_or_nests_without_end_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for bad in (loop, {"deep": deep}):
        with pytest.raises(ValueError, match=r"^metadata must"):
            made(metadata=bad)


def test_metadata_is_bounded() -> None:
    assert made(metadata={"a": "x" * (4096 - 8)})
    with pytest.raises(ValueError, match=r"^metadata must take at most 4096 bytes as JSON, not 4097$"):
        made(metadata={"a": "x" * (4097 - 8)})


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(-1), 60, "1 h"])
def test_a_lifetime_that_is_none_is_refused(lifetime: Any) -> None:
    with pytest.raises(ValueError, match=r"^lifetime must"):
        StoredToken.issue("alice", lifetime=lifetime)


def test_a_lifetime_or_an_expiry_must_be_given_and_not_both() -> None:
    for options in ({}, {"lifetime": HOUR, "expires_at": in_an_hour()}):
        with pytest.raises(ValueError, match=r"^expires_at must be given, or a lifetime"):
            StoredToken.issue("alice", **options)


@pytest.mark.parametrize("user_id", ["", " ", None, 5, "a\0"])
def test_property_04_token_store_input_validation_when_issued(user_id: Any) -> None:
    with pytest.raises(ValueError, match=r"^user_id must"):
        StoredToken.issue(user_id, lifetime=HOUR)
    with pytest.raises(ValueError, match=r"^family_id must"):
        StoredToken.issue("alice", lifetime=HOUR, family_id="")
    with pytest.raises(ValueError, match=r"^jti must"):
        StoredToken.issue("alice", lifetime=HOUR, jti="")


# What is made


def test_a_token_is_good_until_it_expires(clock: ManualClock) -> None:
    token = StoredToken.issue("alice", lifetime=HOUR, clock=clock)
    assert (token.issued_at, token.expires_at) == (clock(), clock() + HOUR)
    assert not token.is_expired(clock() + HOUR - timedelta(microseconds=1))
    assert token.is_expired(clock() + HOUR)
    token.require_unexpired(clock())


def test_times_are_kept_in_utc() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    token = made(issued_at=datetime(2020, 1, 1, tzinfo=zone))
    assert token.issued_at == datetime(2020, 1, 1, tzinfo=zone)
    assert token.issued_at.tzinfo is UTC


def test_a_token_that_was_issued_has_an_identifier_of_its_own() -> None:
    tokens = [StoredToken.issue("alice", lifetime=HOUR) for _ in range(100)]
    assert len({token.jti for token in tokens}) == len({token.family_id for token in tokens}) == 100
    assert all(family_of(token.jti) == token.family_id for token in tokens)
    assert len({made().family_id for _ in range(100)}) == 100


def test_a_successor_belongs_to_the_family(clock: ManualClock) -> None:
    for jti in (None, "made-elsewhere"):
        token = StoredToken.issue(
            "alice", lifetime=HOUR, jti=jti, client_id="shop-app", metadata={"device": "phone"}, clock=clock
        )
        clock.advance(60)
        successor = token.successor(clock=clock)
        assert successor.jti != token.jti
        assert (successor.user_id, successor.family_id) == ("alice", token.family_id)
        assert (successor.client_id, successor.metadata) == ("shop-app", {"device": "phone"})
        assert (successor.issued_at, successor.expires_at) == (clock(), clock() + HOUR)
        assert successor.last_used_at is None
        assert (family_of(successor.jti) == token.family_id) is (jti is None)
        other = token.successor(lifetime=2 * HOUR, jti="second", metadata={}, clock=clock)
        assert (other.jti, other.expires_at, other.metadata) == ("second", clock() + 2 * HOUR, {})
        assert token.successor(expires_at=clock() + 3 * HOUR, clock=clock).expires_at == clock() + 3 * HOUR


def test_a_token_can_not_be_changed() -> None:
    token = made(metadata={"device": {"names": ["phone"]}})
    with pytest.raises(dataclasses.FrozenInstanceError):
        token.user_id = "bob"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        token.surprise = 1  # type: ignore[attr-defined]
    for change in (
        lambda data: data.update(a=1),
        lambda data: data.__setitem__("a", 1),
        lambda data: data["device"].clear(),
        lambda data: data["device"]["names"].append("laptop"),
        lambda data: data["device"]["names"].sort(),
    ):
        with pytest.raises(TypeError, match="can't be changed"):
            change(token.metadata)
    assert token.metadata == {"device": {"names": ["phone"]}}


def test_what_a_token_was_made_of_may_be_changed_afterwards() -> None:
    given_metadata: dict[str, Any] = {"device": ["phone"]}
    token = made(metadata=given_metadata)
    given_metadata["device"].append("laptop")
    assert token.metadata == {"device": ["phone"]}


def test_a_repr_shows_neither_identifier_nor_metadata() -> None:
    text = repr(made(jti="secret-jti", metadata={"device": "secret-phone"}))
    assert "alice" in text
    assert "secret" not in text


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda token: pickle.loads(pickle.dumps(token))])
def test_a_copy_equals_what_was_copied(again: Any) -> None:
    token = made(metadata={"device": {"names": ["phone"]}}, last_used_at=in_an_hour())
    assert again(token) == token
    assert hash(again(token)) == hash(token)
    with pytest.raises(TypeError):
        again(token).metadata["device"]["names"].append("laptop")


# What is written and read


@given(loaded_tokens())
def test_property_05_stored_token_serialisation_round_trip(token: StoredToken) -> None:
    assert StoredToken.from_dict(token.to_dict()) == token
    text = token.to_json()
    again = StoredToken.from_json(text)
    assert again == token
    assert again.metadata == token.metadata
    assert again.to_json() == text
    assert StoredToken.from_json(text.encode()) == token
    assert json.loads(text) == json.loads(json.dumps(token.to_dict()))
    assert [getattr(again, name).tzinfo for name in ("issued_at", "expires_at")] == [UTC, UTC]


@given(loaded_tokens())
def test_property_05_stored_token_serialisation_round_trip_of_one_for_use(token: StoredToken) -> None:
    if token.expires_at > datetime.now(UTC) + HOUR:
        values = {field.name: getattr(token, field.name) for field in dataclasses.fields(token)}
        made = StoredToken(**values)
        assert made == token
        assert StoredToken.from_json(made.to_json()) == made


def test_property_05_stored_token_serialisation_round_trip_of_an_expired_one() -> None:
    token = StoredToken.issue("alice", lifetime=HOUR, clock=lambda: datetime(2001, 1, 1, tzinfo=UTC))
    assert token.is_expired(datetime.now(UTC))
    assert StoredToken.from_json(token.to_json()) == token
    with pytest.raises(ValueError, match="expires_at"):
        dataclasses.replace(token)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_metadata_is_kept_as_it_was(values: dict[str, Any]) -> None:
    try:
        token = made(metadata=values)
    except ValueError:
        assert any(0xD800 <= ord(each) < 0xE000 for key in values for each in key) or len(json.dumps(values)) > 4000
    else:
        assert token.metadata == values


def test_optional_fields_may_be_missing_and_unknown_ones_are_ignored() -> None:
    data = {"jti": "first", "user_id": "alice", "issued_at": "2020-01-01T00:00:00Z", "expires_at": "2021-01-01T00:00Z"}
    token = StoredToken.from_dict({**data, "of_a_later_release": 1})
    assert (token.client_id, token.last_used_at, token.metadata) == (None, None, {})
    assert token.family_id
    assert StoredToken.from_dict({**data, "client_id": None, "metadata": None, "family_id": None}).metadata == {}


@pytest.mark.parametrize("missing", ["jti", "user_id", "issued_at", "expires_at"])
def test_a_field_that_is_missing_is_named(missing: str) -> None:
    data = made().to_dict()
    for lacking in ({**data, missing: None}, {name: data[name] for name in data if name != missing}):
        with pytest.raises(ValueError, match=f"^{missing} must be given"):
            StoredToken.from_dict(lacking)


anything = st.one_of(json_values, st.binary(max_size=5), st.just("2031-01-01T00:00:00Z"), st.text(max_size=300))


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*made().to_dict(), "unknown"), anything)))
def test_whatever_is_read_is_a_token_or_a_value_error(data: dict[str, Any]) -> None:
    try:
        token = StoredToken.from_dict(data)
    except ValueError as error:
        assert isinstance(error, InfrastructureError)  # noqa: PT017
    else:
        assert StoredToken.from_json(token.to_json()) == token


@given(st.one_of(st.binary(), st.text(), json_values.map(json.dumps)))
@example("[" * 100_000)
@example('{"metadata":' + '{"a":' * 100_000)
@example("\ud800")
@example("")
def test_whatever_text_is_read_is_a_token_or_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^(text|data|jti|user_id|issued_at|expires_at) ") as caught:
        StoredToken.from_json(text)
    assert isinstance(caught.value, InfrastructureError)


@pytest.mark.parametrize("data", [None, [], "text", 5])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"^data must be a mapping"):
        StoredToken.from_dict(data)
    with pytest.raises(ValueError, match=r"^text must be the JSON"):
        StoredToken.from_json(5)  # type: ignore[arg-type]


@given(identifiers)
def test_identifiers_are_kept_as_they_are(text: str) -> None:
    token = made(jti=text, user_id=text, family_id=text, client_id=text)
    assert {token.jti, token.user_id, token.family_id, token.client_id} == {text}
