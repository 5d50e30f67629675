"""What came of a rotation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgi_infra.tokens.model import StoredToken


class RotationStatus(StrEnum):
    """How a rotation ended."""

    ROTATED = "rotated"
    """This call replaced the token, or is a repetition of the call that did."""
    SUPERSEDED = "superseded"
    """Another call had replaced it within the grace period; `token` is the successor that it got."""
    REUSED = "reused"
    """It had been replaced before that: somebody presents a token for a second time. Its family has been revoked."""
    UNKNOWN = "unknown"
    """It is not stored: never issued, expired, revoked, somebody else's, or used so long ago that nothing is known."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What came of a rotation.

    Attributes:
        status: How it ended.
        token: The successor, as it is stored: for `rotated` and `superseded`, otherwise `None`.
        family_id: The family that was revoked, for `reused`.
        revoked: How many live tokens were revoked, for `reused`.
    """

    status: RotationStatus
    token: StoredToken | None = None
    family_id: str | None = None
    revoked: int = 0

    @property
    def ok(self) -> bool:
        """Whether the caller may go on, with `token`."""
        return self.token is not None
