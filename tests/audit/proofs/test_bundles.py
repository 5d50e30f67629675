"""Entry bundles hold entries as they are, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs.bundles import MAX_ENTRY, decode_entries, encode_entries
from asgi_infra.audit.proofs.errors import TileError
from asgi_infra.errors import ConfigurationError

bundles = st.lists(st.binary(max_size=300), min_size=1, max_size=256)


@given(bundles)
def test_entries_come_back_as_they_were(entries: list[bytes]) -> None:
    data = encode_entries(entries)
    assert decode_entries(data) == decode_entries(data, len(entries)) == entries


@given(bundles, st.integers(0, 255))
def test_a_bundle_grows_by_appending(entries: list[bytes], cut: int) -> None:
    assert encode_entries(entries[:cut]) + encode_entries(entries[cut:]) == encode_entries(entries)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_bundle_or_refused(data: bytes) -> None:
    try:
        entries = decode_entries(data)
    except TileError:
        return
    assert encode_entries(entries) == data


def test_lengths_are_two_bytes_big_endian() -> None:
    assert encode_entries([b"a" * 258, b""]) == b"\x01\x02" + b"a" * 258 + b"\x00\x00"
    assert len(encode_entries([bytes(MAX_ENTRY)])) == MAX_ENTRY + 2
    with pytest.raises(ConfigurationError, match="at most 65535 bytes"):
        encode_entries([bytes(MAX_ENTRY + 1)])


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
def test_a_torn_bundle_is_refused_and_the_place_named(cut: int) -> None:
    data = encode_entries([b"first", b"last"])
    with pytest.raises(TileError, match="ends within entry 1"):
        decode_entries(data[:-cut])


def test_a_bundle_has_as_many_entries_as_it_must() -> None:
    data = encode_entries([b""] * 3)
    for width in (2, 4):
        with pytest.raises(TileError, match=f"must have {width} entries, not 3"):
            decode_entries(data, width)
    with pytest.raises(TileError, match="must have at least 1 entries, not 0"):
        decode_entries(b"")
    with pytest.raises(TileError, match="more than 256"):
        decode_entries(encode_entries([b""] * 257))
