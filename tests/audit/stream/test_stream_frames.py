from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.record import Record, Sealer
from asgi_infra.audit.stream.frames import from_frame, leaf_hash_of, to_frame
from asgi_infra.testing.audit.base import a_full_entry, an_entry
from asgi_infra.testing.audit.strategies import entries

SEALED = Sealer().seal(a_full_entry())


def framed(leaf: bytes, private: bytes | None = None) -> bytes:
    return to_frame(Record(a_full_entry(), leaf, private, sha256(b"\x00" + leaf).digest()))


@given(entries)
def test_a_record_comes_back_as_it_was(entry: object) -> None:
    record = Sealer(["user_id"]).seal(entry)  # type: ignore[arg-type]
    data = to_frame(record)
    assert from_frame(data) == record
    assert leaf_hash_of(data) == record.leaf_hash


def test_no_byte_can_be_changed_and_no_end_cut() -> None:
    data = to_frame(SEALED)
    for at in range(len(data)):
        with pytest.raises(AuditIntegrityError):
            from_frame(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        if at != len(data) - len(SEALED.private or b""):  # there the private part has been erased, and the flag tells
            with pytest.raises(AuditIntegrityError):
                from_frame(data[:at])


@given(st.binary(max_size=300))
def test_what_others_send_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(AuditIntegrityError):
        from_frame(data)
    leaf_hash_of(data)


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"null",
        b"{}",
        b'{"schema_version":1}',
        b"\xff",
        b"[" * 10_000,
        json.dumps(json.loads(Sealer().seal(an_entry()).leaf), sort_keys=True).encode(),
        Sealer().seal(an_entry()).leaf.replace(b'"schema_version":1', b'"schema_version":2'),
        Sealer().seal(an_entry()).leaf.replace(b"2026-05-01T", b"2026-05-99T"),
    ],
)
def test_a_leaf_that_is_none_is_refused(leaf: bytes) -> None:
    with pytest.raises(AuditIntegrityError):
        from_frame(framed(leaf))


def test_another_private_part_is_refused() -> None:
    other = Sealer().seal(a_full_entry())
    assert SEALED.leaf != other.leaf
    with pytest.raises(AuditIntegrityError, match="not what the leaf commits to"):
        from_frame(framed(SEALED.leaf, other.private))
    for strange in (b"[" * 10_000, b"", b"null", b'{"details":7}'):
        with pytest.raises(AuditIntegrityError):
            from_frame(framed(SEALED.leaf, strange))


def test_an_entry_that_is_too_large_for_any_log_is_refused() -> None:
    with pytest.raises(AuditIntegrityError, match="more than 65535 bytes"):
        from_frame(framed(b'"' + b"x" * 70_000 + b'"'))
