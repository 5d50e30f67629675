from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from token_strategies import identifiers, loaded_tokens

from asgi_infra.tokens import CorruptRecordError, StoredToken
from asgi_infra.tokens.clock import from_microseconds, to_microseconds
from asgi_infra.tokens.identifiers import Hashing, handle_of
from asgi_infra.tokens.options import Settings
from asgi_infra.tokens.records import ANCESTOR_BYTES, MAX_ANCESTORS, Record, RecordCodec

KEY = b"k" * 32
START = datetime(2031, 1, 1, tzinfo=UTC)


def codec(**options: Any) -> RecordCodec:
    settings = Settings(**options)
    return RecordCodec(settings.hashing(), settings)


def upside_down(data: bytes) -> bytes:
    return bytes(255 - byte for byte in data)


ENCRYPTED = {"encrypt": upside_down, "decrypt": upside_down}
digests = st.binary(min_size=16, max_size=16)
moments = st.integers(0, 2**50)


@st.composite
def records(draw: st.DrawFn) -> Record:
    ancestors = draw(st.binary(max_size=ANCESTOR_BYTES * MAX_ANCESTORS))
    return Record(draw(digests), draw(loaded_tokens()), draw(moments), ancestors)


def record(**changes: Any) -> Record:
    token = StoredToken.issue("alice", lifetime=timedelta(hours=1), clock=lambda: START)
    return Record(Hashing.of(KEY).digest(token.jti), token.replaced(**changes), to_microseconds(START))


# Packing


@pytest.mark.parametrize("options", [{}, {"key": KEY}, ENCRYPTED], ids=["plain", "with a key", "encrypted"])
@given(kept=records())
def test_property_05_stored_token_serialisation_round_trip_through_a_store(
    options: dict[str, Any], kept: Record
) -> None:
    packing = codec(**options)
    data = packing.pack(kept)
    assert packing.unpack(data, kept.digest, kept.token.jti) == kept
    listed = packing.unpack(data, kept.digest)
    assert listed == replace(kept, token=kept.token.replaced(jti=listed.token.jti))
    assert listed.token.jti == handle_of(kept.digest)


@given(loaded_tokens())
def test_with_a_key_the_true_identifier_comes_back(token: StoredToken) -> None:
    packing = codec(key=KEY)
    kept = Record(Hashing.of(KEY).digest(token.jti), token, 0)
    assert packing.unpack(packing.pack(kept), kept.digest) == kept


def test_what_is_packed_shows_neither_identifier_nor_encrypted_metadata() -> None:
    kept = record(jti="secret-jti", metadata={"device": "secret-phone"})
    for packing in (codec(**ENCRYPTED), codec(key=KEY, **ENCRYPTED)):
        assert b"secret" not in packing.pack(kept)
    assert b"secret-phone" in codec().pack(kept)


def test_metadata_is_encrypted_where_there_is_some() -> None:
    packing = codec(**ENCRYPTED)
    assert packing.pack_metadata({}) == b""
    assert packing.unpack_metadata(b"") == {}
    assert packing.pack_metadata({"a": 1}) == upside_down(b'{"a":1}')
    assert packing.unpack_metadata(upside_down(b'{"a":1}')) == {"a": 1}


# Damage


def _corrupt(packing: RecordCodec, data: bytes) -> CorruptRecordError:
    with pytest.raises(CorruptRecordError) as caught:
        packing.unpack(data, b"d" * 16)
    assert not caught.value.retryable
    assert caught.value.__cause__ is not None
    return caught.value


@given(st.binary(max_size=400))
@example(b"")
@example(b"\x9a" + b"\xc0" * 10)
@example(b"\x91" * 100_000)
@example(b"\xdd\xff\xff\xff\xff")
def test_what_somebody_else_wrote_is_a_corrupt_record(data: bytes) -> None:
    _corrupt(codec(), data)


@given(records(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_record_is_corrupt_or_another_record(kept: Record, place: int, change: int) -> None:
    packing = codec(key=KEY)
    data = bytearray(packing.pack(kept))
    data[place % len(data)] ^= change
    try:
        found = packing.unpack(bytes(data), kept.digest)
    except CorruptRecordError as error:
        assert kept.token.user_id not in str(error) or len(kept.token.user_id) < 12  # noqa: PT017
    else:
        assert isinstance(found, Record)
        assert isinstance(found.token, StoredToken)


@given(records(), st.integers(0, 10_000))
def test_a_shortened_record_is_corrupt(kept: Record, length: int) -> None:
    data = codec().pack(kept)
    _corrupt(codec(), data[: length % len(data)])


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(), st.binary(), st.just([]),
    st.just({}),
)  # fmt: skip


@given(st.integers(0, 9), anything)
@example(9, 2**40)
@example(4, "5")
@example(2, 1.5)
def test_a_record_with_a_wrong_field_is_corrupt_or_another_record(place: int, value: Any) -> None:
    packing = codec(key=KEY)
    kept = record(client_id="shop-app", metadata={"device": "phone"}, last_used_at=START)
    fields = list(msgspec.msgpack.decode(packing.pack(kept)))
    fields[place] = value
    try:
        found = packing.unpack(msgspec.msgpack.encode(fields), kept.digest)
    except CorruptRecordError as error:
        assert error.__cause__ is not None  # noqa: PT017
    else:
        assert isinstance(found.started_at, int)
        assert isinstance(found.ancestors, bytes)
        assert StoredToken.from_json(found.token.to_json()) == found.token


@pytest.mark.parametrize("data", [b"{", b"[]", b"5", b"null", b"\xff", b'{"a":NaN}'])
def test_metadata_that_is_none_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        codec().unpack_metadata(data)


def test_metadata_that_needs_another_key_is_corrupt() -> None:
    def refuse(data: bytes) -> bytes:
        raise KeyError("no such key")

    kept = record(metadata={"device": "phone"})
    data = codec(**ENCRYPTED).pack(kept)
    for packing in (codec(), codec(encrypt=upside_down, decrypt=refuse), codec(encrypt=bytes, decrypt=lambda _: b"5")):
        _corrupt(packing, data)


def test_a_cancelled_decryption_is_not_taken_for_damage() -> None:
    def interrupted(data: bytes) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        codec(encrypt=upside_down, decrypt=interrupted).unpack_metadata(b"x")


# Time


@pytest.mark.parametrize(
    ("idle", "used", "deadline"), [(None, None, 3600), (600, None, 600), (600, 300, 900), (600, 3500, 3600)]
)
def test_a_token_is_good_until_its_deadline(idle: float | None, used: float | None, deadline: float) -> None:
    kept = record(last_used_at=None if used is None else START + timedelta(seconds=used))
    assert from_microseconds(kept.deadline(Settings(idle_lifetime=idle))) == START + timedelta(seconds=deadline)


# Families


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=40, unique_by=lambda digest: digest[:8]))
def test_a_token_remembers_the_last_sixteen_that_it_replaced(digests: list[bytes]) -> None:
    latest = replace(record(), digest=digests[0])
    for digest in digests[1:]:
        latest = latest.followed_by(replace(record(), digest=digest), Settings())
    remembered = digests[:-1][-MAX_ANCESTORS:]
    assert [digest for digest in digests if latest.remembers(digest)] == remembered
    assert len(latest.ancestors) == ANCESTOR_BYTES * len(remembered)


@given(digests)
def test_a_part_of_an_ancestor_in_the_wrong_place_is_no_ancestor(digest: bytes) -> None:
    kept = replace(record(), ancestors=b"\x01" + digest[:8] + b"\x02" * 7)
    assert kept.remembers(digest) is (digest[:8] in (kept.ancestors[:8], kept.ancestors[8:]))


def test_a_successor_joins_the_family_and_ends_with_it() -> None:
    first, other = record(), record(expires_at=START + timedelta(hours=9))
    followed = first.followed_by(other, Settings())
    assert followed.token == other.token.replaced(family_id=first.token.family_id)
    assert followed.started_at == first.started_at
    assert followed.digest == other.digest
    capped = first.followed_by(other, Settings(absolute_lifetime=7200))
    assert capped.token.expires_at == START + timedelta(hours=2)


@given(identifiers)
def test_what_is_revealed_is_the_identifier_or_a_handle(jti: str) -> None:
    packing, digest = codec(key=KEY), Hashing.of(KEY).digest(jti)
    assert packing.reveal(packing.conceal(jti), digest) == jti
    assert packing.reveal(None, digest) == handle_of(digest)
    assert packing.reveal(b"damaged", digest) == handle_of(digest)
    assert codec().conceal(jti) is None
