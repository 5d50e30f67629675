from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_strategies import identifiers

from asgi_infra.errors import ConfigurationError, InfrastructureError
from asgi_infra.tokens.identifiers import (
    DIGEST_BYTES,
    Hashing,
    digest_in,
    family_of,
    family_route,
    handle_of,
    lineage_of,
    named_route,
    new_family_id,
    new_jti,
    route_of,
    seal,
    unseal,
)

KEYS = [b"a" * 16, b"b" * 32, b"c" * 64]
keyed = pytest.mark.parametrize("keys", [None, KEYS[0], "text of a key, in characters", KEYS], ids=str)
digests = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)


# Making them


def test_identifiers_are_unguessable_and_say_whose_they_are() -> None:
    made = [new_jti("alice") for _ in range(200)]
    assert len(set(made)) == 200
    assert len({lineage_of(jti) for jti in made}) == 200
    assert {named_route(jti) for jti in made} == {route_of("alice")}
    assert all("alice" not in jti for jti in made)
    assert {len(jti) for jti in made} == {16 + 1 + 22 + 1 + 22}
    assert len({new_family_id("alice") for _ in range(200)}) == 200


def test_identifiers_of_one_lineage_name_one_family() -> None:
    first = new_jti("alice")
    others = [new_jti("alice", lineage=lineage_of(first)) for _ in range(5)]
    assert len({first, *others}) == 6
    assert {family_of(jti) for jti in others} == {family_of(first)}
    family, lineage = family_of(first), lineage_of(first)
    assert family is not None
    assert lineage is not None
    assert family_route(family) == family_route(new_family_id("alice")) == route_of("alice")
    assert family_route("given-by-the-application") is None
    # The name is public, the lineage is not.
    assert lineage not in family
    assert family not in first


@given(st.text())
def test_an_identifier_made_elsewhere_names_nothing(text: str) -> None:
    assert (lineage_of(text), family_of(text), named_route(text), digest_in(text)) == (None, None, None, None)


@pytest.mark.parametrize("change", [lambda jti: jti + "\n", lambda jti: " " + jti, str.upper, lambda jti: jti[:-1]])
def test_what_is_almost_an_identifier_is_none(change: Any) -> None:
    jti = change(new_jti("Alice"))
    assert (lineage_of(jti), family_of(jti), named_route(jti)) == (None, None, None)


@given(identifiers, identifiers)
def test_routes_differ_and_fit_into_names_of_keys(one: str, other: str) -> None:
    assert route_of(one).isalnum()
    assert len(route_of(one)) == 16
    assert (route_of(one) == route_of(other)) is (one == other)


# Digests


@keyed
@given(one=st.text(), other=st.text())
def test_a_digest_is_the_same_for_the_same_and_another_for_others(keys: Any, one: str, other: str) -> None:
    hashing = Hashing.of(keys)
    assert len(hashing.digest(one)) == DIGEST_BYTES
    assert hashing.digest(one) == Hashing.of(keys).digest(one)
    assert (hashing.digest(one) == hashing.digest(other)) is (one == other)
    assert hashing.digests(one)[0] == hashing.digest(one)
    assert len(set(hashing.digests(one))) == max(1, len(hashing.keys))


@given(st.text())
def test_each_key_gives_another_digest(text: str) -> None:
    found = [Hashing.of(key).digest(text) for key in (None, *KEYS)]
    assert all(one != other for one, other in combinations(found, 2))
    assert Hashing.of(KEYS).digests(text) == tuple(Hashing.of(key).digest(text) for key in KEYS)


@pytest.mark.parametrize("keys", [b"", b"x" * 15, b"x" * 65, "short", "é" * 33, [], (), [b"x" * 32, b"short"]])
def test_a_key_of_the_wrong_length_is_refused(keys: Any) -> None:
    with pytest.raises(ValueError, match=r"^key must") as caught:
        Hashing.of(keys)
    assert isinstance(caught.value, InfrastructureError)
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize("keys", [5, [5], [None], [[b"x" * 32]], {"key": b"x" * 32}, object()])
def test_a_key_of_the_wrong_type_is_refused(keys: Any) -> None:
    with pytest.raises(ValueError, match=r"^key must be bytes, a str or a list"):
        Hashing.of(keys)


@pytest.mark.parametrize("keys", [[b"x" * 16, b"x" * 16], ["x" * 16, b"y" * 16, b"x" * 16]])
def test_the_same_key_twice_is_refused(keys: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^key must hold each secret once"):
        Hashing.of(keys)


def test_keys_are_not_shown() -> None:
    assert "aaaa" not in repr(Hashing.of(KEYS))


# Handles


@given(digests, st.none() | st.just(route_of("alice")))
def test_a_handle_leads_back_to_the_digest(digest: bytes, route: str | None) -> None:
    handle = handle_of(digest, route)
    assert handle.startswith("~")
    assert digest_in(handle) == digest
    assert named_route(handle) == route
    assert (lineage_of(handle), family_of(handle)) == (None, None)


@given(digests)
def test_what_is_almost_a_handle_is_none(digest: bytes) -> None:
    handle = handle_of(digest)
    for almost in (handle[1:], handle[:-1], handle + "A", handle + "\n", "~" + handle, handle + ".", handle + ".xyz"):
        assert digest_in(almost) is None


# What only some can read


@given(identifiers)
def test_who_has_the_key_can_read_what_was_concealed(jti: str) -> None:
    for number, key in enumerate(KEYS):
        hashing = Hashing.of(key)
        concealed = hashing.conceal(jti)
        assert concealed is not None
        assert concealed != jti.encode()
        assert len(concealed) == len(jti.encode())
        digest = hashing.digest(jti)
        assert hashing.reveal(concealed, digest) == jti
        assert Hashing.of(KEYS).reveal(concealed, digest) == jti
        assert Hashing.of(KEYS[number - 1]).reveal(concealed, digest) is None
    assert Hashing.of(None).conceal(jti) is None
    assert Hashing.of(None).reveal(jti.encode(), Hashing.of(None).digest(jti)) is None


@given(identifiers, st.binary(max_size=300), digests)
def test_what_was_not_concealed_is_not_revealed(jti: str, data: bytes, digest: bytes) -> None:
    hashing = Hashing.of(KEYS)
    assert hashing.reveal(data, digest) is None
    concealed = hashing.conceal(jti)
    assert concealed is not None
    damaged = bytes([concealed[0] ^ 1]) + concealed[1:]
    assert hashing.reveal(damaged, hashing.digest(jti)) is None


@given(identifiers, identifiers, identifiers)
def test_who_presents_the_predecessor_can_read_the_successor(first: str, second: str, stranger: str) -> None:
    sealed = seal(second, by=first)
    assert unseal(sealed, by=first) == second
    if stranger != first and len(second.encode()) >= 16:
        assert unseal(sealed, by=stranger) != second
        assert second.encode() not in sealed


@given(st.binary(max_size=300), identifiers)
def test_what_was_not_sealed_is_text_or_nothing(data: bytes, jti: str) -> None:
    assert isinstance(unseal(data, by=jti), str | None)


def test_identifiers_of_requests_may_hold_what_utf_8_can_not() -> None:
    assert Hashing.of(None).digest("\ud800") != Hashing.of(None).digest("?")
    assert Hashing.of(KEYS).digests("\udfff") != Hashing.of(KEYS).digests("\ud800")
