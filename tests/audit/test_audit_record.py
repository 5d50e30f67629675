from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.encoding import encode
from asgi_infra.audit.errors import AuditIntegrityError
from asgi_infra.audit.mending import utc_text
from asgi_infra.audit.proofs.commitments import commit
from asgi_infra.audit.record import MAX_ENTRY_BYTES, Sealer, Stored, private_fault, unseal
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import a_full_entry, an_entry
from asgi_infra.testing.audit.strategies import entries

if TYPE_CHECKING:
    from asgi_infra.audit import AuditEntry

PRIVATE = ("details", "ip_address", "user_agent")
sealers = st.sampled_from([Sealer(), Sealer(["user_id"])])


@given(sealers, entries)
def test_what_is_sealed_is_unsealed(sealer: Sealer, entry: AuditEntry) -> None:
    record = sealer.seal(entry)
    stored = Stored(7, record.leaf, record.private)
    logged = unseal(stored)
    assert (logged.seq, logged.entry, logged.erased) == (7, entry, False)
    assert logged.leaf_hash == record.leaf_hash == sha256(b"\x00" + record.leaf).digest()
    assert private_fault(stored) is None


@given(sealers, entries)
def test_of_an_erased_entry_everything_else_is_left(sealer: Sealer, entry: AuditEntry) -> None:
    record = sealer.seal(entry)
    logged = unseal(Stored(7, record.leaf, None))
    left = replace(entry, **dict.fromkeys(sealer.private_fields))
    assert (logged.entry, logged.erased) == (left, left != entry or entry.details is not None)
    assert private_fault(Stored(7, record.leaf, None)) is None


@given(entries)
def test_a_leaf_is_canonical_and_holds_commitments_alone(entry: AuditEntry) -> None:
    record = Sealer().seal(entry)
    leaf = json.loads(record.leaf)
    assert encode(leaf) == record.leaf
    assert leaf["timestamp"] == utc_text(entry.timestamp)
    private = json.loads(record.private or b"{}")
    assert leaf.get("committed", {}) == {
        name: commit(encode(getattr(entry, name)), bytes.fromhex(salt)) for name, (salt, _) in private.items()
    }
    assert private.keys() == {name for name in PRIVATE if getattr(entry, name) is not None}
    assert not leaf.keys() & set(PRIVATE)


def test_equal_values_do_not_look_equal() -> None:
    sealer = Sealer()
    assert len({sealer.seal(a_full_entry()).leaf for _ in range(300)}) == 300


def test_a_private_user_is_not_in_the_leaf() -> None:
    entry = a_full_entry(user_id="alice-in-wonderland")
    assert b"alice" in Sealer().seal(entry).leaf
    record = Sealer("user_id").seal(entry)
    assert b"alice" not in record.leaf
    assert b"alice" in (record.private or b"")


@given(st.integers(0, 100_000), st.sampled_from(["x", "\x01", "ü", '"', "\ud800"]), st.booleans())
def test_no_entry_is_larger_than_it_may_be(size: int, character: str, large: bool) -> None:
    text = character * size
    fields: dict[str, Any] = dict.fromkeys(("user_id", "tenant", "user_agent", "request_id", "resource_id"), text)
    details = {str(at): text for at in range(20)}
    entry = an_entry(action=character * 80 + ".", details=details, **fields)
    limit = MAX_ENTRY_BYTES if large else 16_384
    record = Sealer(max_entry_bytes=limit).seal(entry)
    assert record.size <= limit
    logged = unseal(Stored(0, record.leaf, record.private))
    assert replace(logged.entry, details=None) == replace(entry, details=None)
    assert isinstance(logged.entry.details, dict)
    assert private_fault(Stored(0, record.leaf, record.private)) is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"private_fields": ["tenant"]}, r"private_fields must be of .*, not \['tenant'\]"),
        ({"max_entry_bytes": 16_383}, "max_entry_bytes must be from 16384 to 65535, not 16383"),
        ({"max_entry_bytes": 65_536}, "max_entry_bytes must be from 16384 to 65535, not 65536"),
        ({"max_entry_bytes": True}, "max_entry_bytes must be an int, not bool"),
        ({"max_entry_bytes": "65535"}, "max_entry_bytes must be an int, not str"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Sealer(**options)


@given(st.data())
def test_a_private_part_that_was_changed_is_found(data: st.DataObject) -> None:
    record = Sealer().seal(a_full_entry())
    private = bytearray(record.private or b"")
    at = data.draw(st.integers(0, len(private) - 1))
    private[at] ^= data.draw(st.integers(1, 255))
    fault = private_fault(Stored(0, record.leaf, bytes(private)))
    before, after = json.loads(record.private or b""), _parsed(bytes(private))
    assert (fault is None) is (before == after), "another spelling of the same salts and values is no harm"


def _parsed(data: bytes) -> Any:
    try:
        parsed = json.loads(data)
        return {name: [bytes.fromhex(salt).hex(), value] for name, (salt, value) in parsed.items()}
    except (ValueError, TypeError, AttributeError):
        return None


def test_the_private_part_of_another_entry_is_found() -> None:
    one, other = (Sealer().seal(a_full_entry(number)) for number in range(2))
    assert private_fault(Stored(0, one.leaf, other.private)) == "a private field is not what the leaf commits to"
    few = Sealer().seal(an_entry(details={}))
    assert private_fault(Stored(0, one.leaf, few.private)) == (
        "the private part has other fields than the leaf commits to"
    )


@pytest.mark.parametrize(
    ("leaf", "private"),
    [
        (b"", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"schema_version":1}', None),
        (b'{"schema_version":2}', None),
        (b'{"schema_version":1,"committed":{"details":"x"}}', b"{}"),
        (b'{"schema_version":1,"committed":{"details":"x"}}', b'{"details":[]}'),
        (b"\xff", b"\xff"),
    ],
)
def test_bytes_that_are_no_entry_are_told(leaf: bytes, private: bytes | None) -> None:
    with pytest.raises(AuditIntegrityError, match="entry 7"):
        unseal(Stored(7, leaf, private))
    assert private is None or private_fault(Stored(7, leaf, private))


def test_the_time_is_written_in_one_way() -> None:
    entry = an_entry(timestamp=datetime(2026, 5, 1, tzinfo=UTC))
    assert json.loads(Sealer().seal(entry).leaf)["timestamp"] == "2026-05-01T00:00:00.000000Z"
