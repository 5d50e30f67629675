"""Where a request carries its token: in the Authorization header, or in a cookie."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import shown
from asgi_infra.tokens.identity import InvalidTokenError, MalformedCredentialsError, TokenIdentity
from asgi_infra.tokens.model import MAX_IDENTIFIER

if TYPE_CHECKING:
    from asgi_infra.types import Scope

MAX_PRESENTED = 16_384
"""The most characters of a token that a request may present; opaque ones are shorter, see `MAX_IDENTIFIER`."""

_B64TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 6265, section 4.1.1
_COOKIE_VALUE = re.compile(rb"[!#-+\--:<-\[\]-~]+")


class TokenSource(Protocol):
    """Finds the text of a token in a request."""

    @property
    def ambient(self) -> bool:
        """Whether browsers send the token by themselves, also a stale one; see `CookieToken`."""
        ...

    def read(self, scope: Scope) -> str | None:
        """Return the token, or `None` where the request presents none.

        Raises:
            MalformedCredentialsError: It presents something that can't be read.
            InvalidTokenError: It presents something that can't be a token.
        """
        ...


class BearerTokens:
    """Opaque tokens in the Authorization header: what stands there is the `jti` (RFC 6750, section 2.1).

    Other schemes are nobody's token. Two headers, or something behind `Bearer` that is no token, are malformed. Tokens
    in the query or in a form, which the same RFC advises against, are not looked for.

    Example:
        >>> BearerTokens().read({"headers": [(b"authorization", b"Bearer mF_9.B5f-4.1JqM")]})
        'mF_9.B5f-4.1JqM'
    """

    ambient: bool = False

    def __repr__(self) -> str:
        return "BearerTokens()"

    def read(self, scope: Scope) -> str | None:
        """Return the token, or `None`; raises what `TokenSource.read` raises."""
        values: list[bytes] = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if not values:
            return None
        if len(values) > 1:
            raise MalformedCredentialsError("the request has more than one Authorization header")
        scheme, _, rest = values[0].strip().partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        token = rest.strip(b" ")
        if len(token) > MAX_PRESENTED:
            raise InvalidTokenError("the token is too long")
        if not _B64TOKEN.fullmatch(token):
            raise MalformedCredentialsError("what follows Bearer is no token")
        return token.decode("ascii")

    def __call__(self, scope: Scope) -> TokenIdentity | None:
        return _opaque(self.read(scope))


class CookieToken:
    """Opaque tokens in a cookie, whose value is the `jti`.

    Browsers send cookies by themselves. So a stale one does not count as presented where a path does without a token,
    or nobody could reach the login page any more; and requests of other sites carry it: set `SameSite`, and check the
    `Origin` of WebSocket handshakes and unsafe methods.

    Several cookies of the name with different values are no token: one may come from another application of the site.

    Args:
        name: The name of the cookie; with the prefix `__Host-` only this very host can have set it.

    Raises:
        ConfigurationError: `name` can't be the name of a cookie.
    """

    ambient: bool = True

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _COOKIE_NAME.fullmatch(name):
            raise ConfigurationError(f"name must be the name of a cookie, such as '__Host-session', not {shown(name)}")
        self._name = name.encode("ascii")

    def __repr__(self) -> str:
        return f"CookieToken({self._name.decode()!r})"

    def read(self, scope: Scope) -> str | None:
        """Return the token, or `None`; raises what `TokenSource.read` raises."""
        found: set[bytes] = set()
        for header, line in scope["headers"]:
            if header.lower() == b"cookie" and self._name in line:
                for pair in line.split(b";"):
                    name, equals, value = pair.strip(b" \t").partition(b"=")
                    if equals and name == self._name:
                        found.add(value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value)
        if not found:
            return None
        if len(found) > 1:
            raise InvalidTokenError("the request has several cookies of this name")
        (token,) = found
        if len(token) > MAX_PRESENTED or not _COOKIE_VALUE.fullmatch(token):
            raise InvalidTokenError("the cookie holds no token")
        return token.decode("ascii")

    def __call__(self, scope: Scope) -> TokenIdentity | None:
        return _opaque(self.read(scope))


def _opaque(token: str | None) -> TokenIdentity | None:
    if token is None:
        return None
    if len(token) > MAX_IDENTIFIER:
        raise InvalidTokenError("the token is too long")
    return TokenIdentity(jti=token)
