"""Signed JWTs as tokens: verified by RFC 8725 (best practices), with joserfc.

The algorithms are chosen by you, never by the token; each takes keys of its own kind only, and secrets and public keys
are never accepted side by side, so there is nothing to confuse. Keys come from you alone: the header's `jku`, `jwk`,
`x5u` and `x5c` are ignored, and a `crit` that demands an extension is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_hook, require_integer, require_number, shown
from asgi_infra.tokens.clock import Clock, utc_now
from asgi_infra.tokens.identity import InvalidTokenError, MalformedCredentialsError, TokenIdentity
from asgi_infra.tokens.jwt_keys import Keys, VerificationKeys, require_algorithms
from asgi_infra.tokens.model import require_identifier
from asgi_infra.tokens.presented import MAX_PRESENTED, BearerTokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.tokens.presented import TokenSource
    from asgi_infra.types import Scope

_LATEST = 253402300799.0  # the last second of the year 9999


class JWTVerifier:
    """Reads signed JWTs from requests, and verifies them.

    Args:
        keys: What verifies the signatures: a PEM, a JWK or a JWK Set as dictionaries, or several of them; for HS
            algorithms a secret of at least as many bytes as the hash has (RFC 7518, section 3.2). Or a function that
            returns the present ones; it is called for every token, and a new object means new keys.
        algorithms: Those that are accepted, such as `["ES256"]`; `none` never is.
        issuer: Who must have issued the token, one or several; `None` for anybody who has a key.
        audience: Who this service is, in the token's `aud`, one name or several. With `None` only tokens that name no
            audience are accepted (RFC 7519, section 4.1.3).
        leeway: By how many seconds clocks may differ, for `exp`, `nbf` and `iat`; 30 by default, at most 300.
        types: Values of the header's `typ` that are accepted; a missing one counts as `JWT`. By default `at+jwt`
            (RFC 9068) and `JWT`.
        user_claim: Which claim names the user.
        generation_claim: Which claim holds the user's generation, see `TokenStore.generation`.
        max_length: The most characters of a token, 8192 by default.
        source: Where the token is: `BearerTokens()`, `CookieToken(...)`, or another `TokenSource`.
        clock: Returns the time now.

    Raises:
        ConfigurationError: An option is wrong, or no key fits an algorithm; it is a `ValueError`, and no key is shown.
        MissingExtraError: joserfc is not installed.

    Example:
        >>> verifier = JWTVerifier(jwks, algorithms=["ES256"], issuer="https://id.example.org", audience="shop")
    """

    def __init__(
        self,
        keys: Keys | Callable[[], Keys],
        *,
        algorithms: Sequence[str],
        issuer: str | Sequence[str] | None,
        audience: str | Sequence[str] | None,
        leeway: float = 30.0,
        types: Sequence[str] = ("at+jwt", "JWT"),
        user_claim: str = "sub",
        generation_claim: str = "gen",
        max_length: int = 8192,
        source: TokenSource | None = None,
        clock: Clock = utc_now,
    ) -> None:
        require_number("leeway", leeway, 300, "a number of seconds from 0 to 300")
        require_integer("max_length", max_length, minimum=1)
        require_hook("clock", clock)
        if max_length > MAX_PRESENTED:
            raise ConfigurationError(f"max_length must be at most {MAX_PRESENTED}, not {shown(max_length)}")
        for name, claim in (("user_claim", user_claim), ("generation_claim", generation_claim)):
            if not isinstance(claim, str) or not claim:
                raise ConfigurationError(f"{name} must be the name of a claim, not {shown(claim)}")
        self._keys = VerificationKeys(keys, require_algorithms(algorithms))
        self._issuers = _names("issuer", issuer)
        self._audiences = _names("audience", audience)
        self._types = frozenset(map(_media_type, _names("types", types) or ()))
        self._leeway = leeway
        self._user_claim = user_claim
        self._generation_claim = generation_claim
        self._max_length = max_length
        self._source: TokenSource = BearerTokens() if source is None else source
        self._clock = clock

    def __repr__(self) -> str:
        return f"{type(self).__name__}(algorithms={sorted(self._keys.algorithms)!r})"

    @property
    def ambient(self) -> bool:
        """Whether browsers send the token by themselves, see `CookieToken`."""
        return self._source.ambient

    @property
    def leeway(self) -> float:
        """For how many seconds after its `exp` a token is still accepted."""
        return self._leeway

    def __call__(self, scope: Scope) -> TokenIdentity | None:
        """Return the verified identity of a request's token, or `None` where it presents none."""
        text = self._source.read(scope)
        return None if text is None else self.verify(text)

    def verify(self, text: str) -> TokenIdentity:
        """Return what a JWT says, when it is good.

        Raises:
            InvalidTokenError: It is not: forged, expired, for another audience, or without `exp`, `jti` or a user.
            MalformedCredentialsError: It is no JWT that is signed.
        """
        if len(text) > self._max_length:
            raise InvalidTokenError("the token is too long")
        if text.count(".") != 2:
            raise MalformedCredentialsError("the token is no signed JWT in its compact form")
        header, claims = self._keys.open(text)
        typ = header.get("typ", "JWT")
        if not isinstance(typ, str) or _media_type(typ) not in self._types:
            raise InvalidTokenError("the token is of another type")
        self._check_parties(claims)
        expires_at = self._check_times(claims)
        generation = claims.get(self._generation_claim)
        if generation is not None and not isinstance(generation, str):
            raise InvalidTokenError("the token has a generation that is no text")
        return TokenIdentity(
            jti=_identifier(claims, "jti"),
            user_id=_identifier(claims, self._user_claim),
            expires_at=expires_at,
            generation=generation,
            claims=MappingProxyType(claims),
            verified=True,
        )

    def _check_parties(self, claims: dict[str, Any]) -> None:
        if self._issuers is not None and not _is_one_of(claims.get("iss"), self._issuers):
            raise InvalidTokenError("the token is from another issuer")
        audience = claims.get("aud")
        if audience is None and self._audiences is None:
            return
        named = audience if isinstance(audience, list) else [audience]
        if not any(_is_one_of(name, self._audiences or frozenset()) for name in named):
            raise InvalidTokenError("the token is for another audience")

    def _check_times(self, claims: dict[str, Any]) -> datetime:
        now = self._clock().timestamp()
        expires = _moment(claims, "exp")
        if expires is None:
            raise InvalidTokenError("the token has no time of expiry")
        if expires + self._leeway <= now:
            raise InvalidTokenError("the token has expired")
        for name in ("nbf", "iat"):
            moment = _moment(claims, name)
            if moment is not None and moment - self._leeway > now:
                raise InvalidTokenError("the token is not good yet")
        return datetime.fromtimestamp(min(expires, _LATEST), UTC)


def _names(option: str, value: str | Sequence[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (Sequence, frozenset, set)) or not names:
        raise ConfigurationError(f"{option} must be a name or several, not {shown(value)}")
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"{option} must hold names that are not empty")
    return frozenset(names)


def _is_one_of(value: object, names: frozenset[str]) -> bool:
    return isinstance(value, str) and value in names


def _media_type(typ: str) -> str:
    # RFC 7515, section 4.1.9: without a slash, "application/" is to be thought before it; media types know no case.
    return typ.lower().removeprefix("application/")


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # JSON as Python reads it has NaN, which is later than nothing and would never expire.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InvalidTokenError(f"the token has a {name} that is no time")
    return float(min(value, _LATEST))


def _identifier(claims: Mapping[str, Any], name: str) -> str:
    try:
        return require_identifier(name, claims.get(name))
    except ConfigurationError as exc:
        raise InvalidTokenError(f"the token's {name} is missing or can't be an identifier") from exc
