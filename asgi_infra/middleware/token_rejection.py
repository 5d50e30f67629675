"""How a request without a good token is refused: RFC 6750, section 3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.refusal import Refusal, unavailable
from asgi_infra.options import shown

_QUOTABLE = re.compile(r"[ !#-\[\]-~]{0,255}")  # what stands in a quoted string without a backslash

_TITLES = {400: "Bad Request", 401: "Unauthorized"}
_DESCRIPTIONS = {
    "invalid_token": "The access token is expired, revoked or otherwise not valid.",
    "invalid_request": "The request does not carry its access token in a way that can be read.",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a request was refused.

    Attributes:
        status: 401; 400 for a malformed request; 503 where the store has failed.
        error: The code of RFC 6750, section 3.1, or `None`: where there was no token at all, a client is told no more
            than that one is needed, and of a store that has failed nothing either.
        reason: What was wrong, for yourself: it may tell more than who presents a token should know.
    """

    status: int
    error: Literal["invalid_token", "invalid_request"] | None
    reason: str


class Rejections:
    """Makes the answers.

    Args:
        realm: Names what is protected, in the challenge; 255 printable ASCII characters at most, without quotes.

    Raises:
        ConfigurationError: `realm` can't stand in a header.
    """

    def __init__(self, realm: str | None) -> None:
        if realm is not None and (not isinstance(realm, str) or not _QUOTABLE.fullmatch(realm)):
            raise ConfigurationError(
                f"realm must be printable ASCII without quotes and backslashes, not {shown(realm)}"
            )
        self._realm = [] if realm is None else [f'realm="{realm}"']
        self._made: dict[tuple[int, str | None], Refusal] = {}

    def answer(self, rejection: Rejection) -> Refusal:
        """Return what answers in place of the application."""
        key = (rejection.status, rejection.error)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(*key)
        return made

    def _make(self, status: int, error: str | None) -> Refusal:
        if status == 503:
            return unavailable("Tokens can't be checked at the moment. Try again later.")
        parameters = list(self._realm)
        members, detail = {}, "An access token is needed."
        if error is not None:
            detail = _DESCRIPTIONS[error]
            parameters += [f'error="{error}"', f'error_description="{detail}"']
            members["error"] = error
        challenge = " ".join(["Bearer", ", ".join(parameters)] if parameters else ["Bearer"])
        headers = [(b"www-authenticate", challenge.encode("ascii"))]
        return Refusal(status, _TITLES[status], detail, headers=headers, members=members)
