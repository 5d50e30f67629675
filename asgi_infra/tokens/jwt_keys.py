"""The keys that verify signatures: each for the algorithms of its kind only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import loads
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from warnings import catch_warnings, simplefilter

from asgi_infra.errors import ConfigurationError, MissingExtraError
from asgi_infra.options import shown
from asgi_infra.tokens.identity import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import Key

    Key_: TypeAlias = str | bytes | Mapping[str, Any]

Keys: TypeAlias = "Key_ | Sequence[Key_]"


class _Algorithm(NamedTuple):
    kind: str
    curves: tuple[str, ...] = ()
    least_bits: int = 0


_ALGORITHMS = {
    "HS256": _Algorithm("oct", least_bits=256),
    "HS384": _Algorithm("oct", least_bits=384),
    "HS512": _Algorithm("oct", least_bits=512),
    **{name: _Algorithm("RSA", least_bits=2048) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    "ES256": _Algorithm("EC", ("P-256",)),
    "ES384": _Algorithm("EC", ("P-384",)),
    "ES512": _Algorithm("EC", ("P-521",)),
    "EdDSA": _Algorithm("OKP", ("Ed25519", "Ed448")),
    "Ed25519": _Algorithm("OKP", ("Ed25519",)),
    "Ed448": _Algorithm("OKP", ("Ed448",)),
}
_NOT_SECRETS = (b"-----BEGIN", b"---- BEGIN", b"ssh-", b"ecdsa-")
_MAX_HEADER = 4096


def require_algorithms(algorithms: object) -> frozenset[str]:
    """Refuse what is no list of signature algorithms, `none`, and secrets beside public keys."""
    if isinstance(algorithms, str) or not isinstance(algorithms, (Sequence, set, frozenset)) or not algorithms:
        raise ConfigurationError(f"algorithms must be a list such as ['ES256'], not {shown(algorithms)}")
    for name in algorithms:
        if not isinstance(name, str) or name not in _ALGORITHMS:
            raise ConfigurationError(f"algorithms may hold {', '.join(_ALGORITHMS)}; {shown(name)} is none of them")
    kinds = {_ALGORITHMS[name].kind for name in algorithms}
    if "oct" in kinds and len(kinds) > 1:
        raise ConfigurationError("algorithms must not mix HS algorithms with others: a public key is no secret")
    return frozenset(algorithms)


class VerificationKeys:
    """Opens signed JWTs with the keys that fit.

    Args:
        keys: The keys, or a function that returns the present ones.
        algorithms: Those that are accepted.

    Raises:
        ConfigurationError: A key can't be read, or none fits an algorithm.
        MissingExtraError: joserfc is not installed.
    """

    def __init__(self, keys: Keys | Callable[[], Keys], algorithms: frozenset[str]) -> None:
        try:
            from joserfc import jws
        except ImportError as exc:
            raise MissingExtraError("joserfc", purpose="JWTVerifier", extra="jwt") from exc
        self.algorithms = algorithms
        self._deserialize = jws.deserialize_compact
        self._registry = _registry(algorithms)
        self._fetch = keys if callable(keys) else None
        self._read: tuple[object, list[Key]]
        if callable(keys):
            self._read = (None, [])
        else:
            self._read = (keys, self._imported(keys))

    def open(self, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return header and claims of a JWT whose signature is good.

        Raises:
            InvalidTokenError: It is not, or it is no JWT.
        """
        keys = self._present()
        try:
            opened = self._deserialize(
                text, lambda unverified: self._chosen(unverified.headers(), keys), registry=self._registry
            )
            header = dict(opened.headers())
            claims = loads(opened.payload or b"", object_pairs_hook=_without_duplicates)
        except InvalidTokenError:
            raise
        except Exception as exc:
            raise InvalidTokenError("the token is not signed by a key that is known here, or damaged") from exc
        if not isinstance(claims, dict):
            raise InvalidTokenError("the token has no claims")
        return header, claims

    def _present(self) -> list[Key]:
        if self._fetch is None:
            return self._read[1]
        keys = self._fetch()
        source, imported = self._read
        if keys is not source:
            imported = self._imported(keys)
            self._read = (keys, imported)
        return imported

    def _chosen(self, header: Mapping[str, Any], keys: list[Key]) -> Key:
        if "crit" in header:
            raise InvalidTokenError("the token demands an extension that is not known here")
        name = header.get("alg")
        if not isinstance(name, str) or name not in self.algorithms:
            raise InvalidTokenError("the token is signed with an algorithm that is not accepted")
        kid = header.get("kid")
        fitting = [key for key in keys if _fits(key, name)]
        named = [key for key in fitting if key.kid == kid]
        if kid is not None and any(key.kid is not None for key in fitting):
            fitting = named
        if len(fitting) != 1:
            raise InvalidTokenError("the token does not name one of the keys that are known here")
        return fitting[0]

    def _imported(self, keys: Keys) -> list[Key]:
        imported = [key for one in _several(keys) for key in _imported(one, self.algorithms)]
        for name in self.algorithms:
            if not any(_fits(key, name) for key in imported):
                raise ConfigurationError(
                    f"keys must hold one for {name}: of its kind, curve and use, and of at least "
                    f"{_ALGORITHMS[name].least_bits or 256} bits"
                )
        return imported


def _several(keys: Keys, *, nested: bool = False) -> list[Key_]:
    if isinstance(keys, (str, bytes)):
        return [keys]
    if isinstance(keys, Mapping):
        members = keys.get("keys")
        return list(members) if isinstance(members, Sequence) else [keys]
    if nested or not isinstance(keys, Sequence) or not keys:
        raise ConfigurationError(f"keys must be a PEM, a secret, a JWK, a JWK Set or several, not {_type(keys)}")
    members = list[Any](keys)
    return [one for key in members for one in _several(key, nested=True)]


def _imported(key: Key_, algorithms: frozenset[str]) -> list[Key]:
    from joserfc.errors import JoseError, SecurityWarning
    from joserfc.jwk import import_key

    kinds = {_ALGORITHMS[name].kind for name in algorithms}
    if isinstance(key, Mapping):
        # RFC 7517, section 5: keys of a set that are of no use here are to be ignored.
        if key.get("kty") not in kinds or key.get("use", "sig") != "sig":
            return []
        kinds = {str(key["kty"])}
    elif not isinstance(key, (str, bytes)):
        raise ConfigurationError(f"keys must be PEMs, secrets or JWKs, not {_type(key)}")
    elif kinds == {"oct"}:
        raw = key.encode() if isinstance(key, str) else key
        if raw.lstrip().startswith(_NOT_SECRETS):
            raise ConfigurationError("keys must be secrets for HS algorithms, and this one is public, or its pair is")
    for kind in sorted(kinds):
        try:
            with catch_warnings():
                simplefilter("ignore", SecurityWarning)  # too short a key fits no algorithm, and is an error
                return [import_key(dict(key) if isinstance(key, Mapping) else key, kind)]  # type: ignore[call-overload]
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    raise ConfigurationError(f"keys holds one that can't be read as {' or '.join(sorted(kinds))}")


def _fits(key: Key, name: str) -> bool:
    algorithm = _ALGORITHMS[name]
    if key.key_type != algorithm.kind or (key.alg or name) != name:
        return False
    if algorithm.curves:
        return getattr(key, "curve_name", None) in algorithm.curves
    return _bits(key) >= algorithm.least_bits


def _bits(key: Key) -> int:
    raw: Any = key.raw_value
    return len(raw) * 8 if isinstance(raw, bytes) else int(raw.key_size)


def _registry(algorithms: frozenset[str]) -> Any:
    from joserfc.jws import JWSRegistry

    for name in algorithms:
        if name not in JWSRegistry.algorithms:
            raise ConfigurationError(f"algorithms holds {name}, which needs a newer joserfc; update it")

    class Registry(JWSRegistry):
        """Knows the accepted algorithms, and lets headers say more than it understands (RFC 7515, section 4)."""

        max_header_length = _MAX_HEADER

        def get_alg(self, name: str) -> Any:
            # Without the warnings that the library has for some: which ones to accept was decided already.
            if name not in algorithms:
                raise InvalidTokenError("the token is signed with an algorithm that is not accepted")
            return self.algorithms[name]

    return Registry(algorithms=sorted(algorithms), strict_check_header=False)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    claims = dict(pairs)
    if len(claims) != len(pairs):
        raise InvalidTokenError("the token says the same thing twice")
    return claims


def _type(value: object) -> str:
    return f"a value of type {type(value).__name__}"
