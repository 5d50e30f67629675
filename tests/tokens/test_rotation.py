from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from asgi_infra.tokens import Rotation, RotationStatus, StoredToken


def test_who_gets_a_token_may_go_on() -> None:
    token = StoredToken.issue("alice", lifetime=timedelta(hours=1))
    assert Rotation(RotationStatus.ROTATED, token=token).ok
    assert Rotation(RotationStatus.SUPERSEDED, token=token).ok
    assert not Rotation(RotationStatus.REUSED, family_id=token.family_id, revoked=1).ok
    assert not Rotation(RotationStatus.UNKNOWN).ok


def test_a_status_is_its_name() -> None:
    assert [str(status) for status in RotationStatus] == ["rotated", "superseded", "reused", "unknown"]
    assert RotationStatus("reused") is RotationStatus.REUSED


def test_a_rotation_can_not_be_changed_and_shows_no_identifier() -> None:
    token = StoredToken.issue("alice", lifetime=timedelta(hours=1), jti="secret-jti")
    rotation = Rotation(RotationStatus.ROTATED, token=token)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rotation.revoked = 1  # type: ignore[misc]
    assert "secret" not in repr(rotation)
