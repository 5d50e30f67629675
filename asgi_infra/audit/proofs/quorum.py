"""How many witnesses must have signed a checkpoint, and which (the quorum of C2SP tlog-policy)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.audit.proofs.errors import QuorumError
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from asgi_infra.audit.proofs.notes import VerifiedNote
    from asgi_infra.audit.proofs.signing import Verifier


class Quorum:
    """At least `threshold` of the members: witnesses, or groups of them that have a quorum of their own.

    Args:
        threshold: How many members must have signed, at least 1.
        members: Keys of witnesses, and quorums. No witness may be there twice, not even under another name.

    Raises:
        ConfigurationError: The threshold can't be met, or would be met by nobody, or a witness is there twice.

    Example:
        ```python
        europe = Quorum(2, [first, second, third])
        both = Quorum(2, [europe, Quorum(1, [fourth, fifth])])
        ```
    """

    def __init__(self, threshold: int, members: Iterable[Verifier | Quorum]) -> None:
        self.members = tuple(members)
        if not 1 <= threshold <= len(self.members):
            raise ConfigurationError(
                f"threshold must be from 1 to the number of members ({len(self.members)}), not {threshold}"
            )
        self.threshold = threshold
        seen: set[bytes] = set()
        for witness in self.witnesses():
            if witness.public_key in seen:
                raise ConfigurationError(
                    f"members must be different witnesses; the key of {witness.name} is there twice"
                )
            seen.add(witness.public_key)

    def witnesses(self) -> Iterator[Verifier]:
        """Yield the keys of all witnesses, for `open_checkpoint(..., witnesses=...)`."""
        for member in self.members:
            if isinstance(member, Quorum):
                yield from member.witnesses()
            else:
                yield member

    def is_met(self, note: VerifiedNote) -> bool:
        """Tell whether enough of the members have signed."""
        return self._signed(note) >= self.threshold

    def check(self, note: VerifiedNote) -> None:
        """Check that enough of the members have signed.

        Raises:
            QuorumError: Too few have.
        """
        signed = self._signed(note)
        if signed < self.threshold:
            raise QuorumError(f"{signed} of {len(self.members)} members have signed; {self.threshold} must have")

    def _signed(self, note: VerifiedNote) -> int:
        return sum(
            member.is_met(note) if isinstance(member, Quorum) else note.is_signed_by(member) for member in self.members
        )

    def __repr__(self) -> str:
        return f"Quorum({self.threshold}, {list(self.members)!r})"
