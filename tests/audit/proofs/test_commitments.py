"""A commitment opens with its own value and salt only, and tells nothing without them."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs import ProofError, commit, new_salt, verify_commitment
from asgi_infra.errors import ConfigurationError

salts = st.binary(min_size=32, max_size=32)


@given(st.binary(max_size=200), salts)
def test_a_commitment_opens_with_its_value_and_salt(value: bytes, salt: bytes) -> None:
    commitment = commit(value, salt)
    assert commitment == b64encode(sha256(salt + value).digest()).decode()
    verify_commitment(commitment, value, salt)


@given(st.binary(max_size=50), salts, st.data())
def test_a_commitment_opens_with_nothing_else(value: bytes, salt: bytes, data: st.DataObject) -> None:
    commitment = commit(value, salt)
    other_value = data.draw(st.binary(max_size=50).filter(lambda other: other != value))
    other_salt = data.draw(salts.filter(lambda other: other != salt))
    for arguments in (
        (commitment, other_value, salt),
        (commitment, value, other_salt),
        (commit(other_value, salt), value, salt),
        (commitment + "=", value, salt),
        (commitment, salt[-1:] + value, salt[:-1]),
        ("", value, salt),
        ("\ud800é", value, salt),
    ):
        with pytest.raises(ProofError, match="not the one that was committed to"):
            verify_commitment(*arguments)


def test_salts_are_long_and_never_the_same() -> None:
    made = {new_salt() for _ in range(100)}
    assert len(made) == 100
    assert {len(salt) for salt in made} == {32}
    assert commit(b"203.0.113.7", new_salt()) != commit(b"203.0.113.7", new_salt())


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_salt_has_32_bytes(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"salt must be 32 bytes, not {size}"):
        commit(b"", bytes(size))
