"""A token as it is stored: whose it is, how long it is good, and what is known about the device that holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from asgi_infra.errors import ConfigurationError
from asgi_infra.tokens.clock import Clock, utc_now
from asgi_infra.tokens.frozen import EMPTY, FrozenDict, frozen
from asgi_infra.tokens.identifiers import family_of, lineage_of, new_family_id, new_jti

if TYPE_CHECKING:
    from typing import Self

MAX_IDENTIFIER = 255
"""The most characters of `jti`, `user_id`, `family_id` and `client_id`."""
MAX_METADATA = 4096
"""The most bytes of `metadata`, as JSON."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_REQUIRED = ("jti", "user_id", "issued_at", "expires_at")


@dataclass(frozen=True, slots=True, kw_only=True, eq=True)
class StoredToken:
    """One token of one user; immutable. Making one checks it for use, `from_dict` and `from_json` only its shape.

    Args:
        jti: The token's identifier (RFC 7519, section 4.1.7): at most 255 characters, no control characters, not blank.
            `StoredToken.issue` makes one.
        user_id: Whose token it is; the same rules.
        expires_at: Until when it is good; aware, kept in UTC, in the future.
        issued_at: Since when it is good; now by default.
        family_id: The public name of its family: a token and all that replaced it by rotation. That which an
            identifier made here belongs to, otherwise a new one by default.
        client_id: The OAuth client (RFC 6749, section 2.2) that it was issued to.
        last_used_at: When it was last used, as far as `TokenStore.touch` was told.
        metadata: What else to keep, such as device and address: what JSON holds, up to 4096 bytes.

    Raises:
        ConfigurationError: A field is wrong; it is a `ValueError`, and its message names the field and no identifier.

    Example:
        >>> from datetime import UTC, datetime, timedelta
        >>> token = StoredToken(jti="demo-1", user_id="alice", expires_at=datetime.now(UTC) + timedelta(days=30))
        >>> token.user_id
        'alice'
    """

    jti: str = field(repr=False)
    user_id: str
    expires_at: datetime
    issued_at: datetime = field(default_factory=utc_now)
    family_id: str = ""
    client_id: str | None = None
    last_used_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: EMPTY, hash=False, repr=False)

    def __post_init__(self) -> None:
        self._check()
        self.require_unexpired(utc_now())

    @classmethod
    def issue(
        cls,
        user_id: str,
        *,
        lifetime: timedelta | None = None,
        expires_at: datetime | None = None,
        jti: str | None = None,
        family_id: str | None = None,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        clock: Clock = utc_now,
    ) -> Self:
        """Make a token for use.

        Args:
            user_id: Whose token it is.
            lifetime: For how long it is good. Give this or `expires_at`.
            expires_at: Until when it is good.
            jti: Its identifier; by default a new one with 128 random bits, which can serve as an opaque token.
            family_id: See the class.
            client_id: See the class.
            metadata: See the class.
            clock: Returns the time now.

        Raises:
            ConfigurationError: A value is wrong; it is a `ValueError`, and its message names the field.

        Example:
            >>> token = StoredToken.issue("alice", lifetime=timedelta(days=30), metadata={"device": "phone"})
        """
        now = clock()
        if (lifetime is None) == (expires_at is None):
            raise ConfigurationError("expires_at must be given, or a lifetime in its place; exactly one of the two")
        if lifetime is not None:
            if not isinstance(lifetime, timedelta) or lifetime <= timedelta(0):
                raise ConfigurationError("lifetime must be a timedelta of more than 0")
            expires_at = require_aware("issued_at", now) + lifetime
        require_identifier("user_id", user_id)
        token = cls.loaded(
            jti=new_jti(user_id) if jti is None else jti,
            user_id=user_id,
            expires_at=expires_at,
            issued_at=now,
            family_id="" if family_id is None else require_identifier("family_id", family_id),
            client_id=client_id,
            last_used_at=None,
            metadata=EMPTY if metadata is None else metadata,
        )
        token.require_unexpired(now)
        return token

    def successor(
        self,
        *,
        lifetime: timedelta | None = None,
        expires_at: datetime | None = None,
        jti: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        clock: Clock = utc_now,
    ) -> StoredToken:
        """Make the token that replaces this one: same user, family and client, and the same metadata unless given.

        Args:
            lifetime: For how long it is good; by default as long as this one was.
            expires_at: Until when it is good, in place of `lifetime`.
            jti: Its identifier; by default a new one.
            metadata: What to keep with it.
            clock: Returns the time now.

        Raises:
            ConfigurationError: A value is wrong.
        """
        if lifetime is None and expires_at is None:
            lifetime = self.expires_at - self.issued_at
        made_here = family_of(self.jti) == self.family_id
        return StoredToken.issue(
            self.user_id,
            lifetime=lifetime,
            expires_at=expires_at,
            jti=new_jti(self.user_id, lineage=lineage_of(self.jti) if made_here else None) if jti is None else jti,
            family_id=self.family_id,
            client_id=self.client_id,
            metadata=self.metadata if metadata is None else metadata,
            clock=clock,
        )

    def replaced(self, **changes: Any) -> StoredToken:
        """Return a copy with other values in some fields, checked for its shape only."""
        values = {name: getattr(self, name) for name in self.__slots__} | changes
        return type(self).loaded(**values)

    def is_expired(self, now: datetime) -> bool:
        """Return whether the token is no longer good at a moment; it is good until, not at, `expires_at`."""
        return self.expires_at <= now

    def require_unexpired(self, now: datetime) -> None:
        """Raise `ConfigurationError` unless `expires_at` lies in the future."""
        if self.expires_at <= now:
            raise ConfigurationError("expires_at must lie in the future; this token would be expired from the start")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as what JSON holds; times in RFC 3339 with microseconds, in UTC."""
        return {
            "jti": self.jti,
            "user_id": self.user_id,
            "issued_at": _written(self.issued_at),
            "expires_at": _written(self.expires_at),
            "family_id": self.family_id,
            "client_id": self.client_id,
            "last_used_at": None if self.last_used_at is None else _written(self.last_used_at),
            "metadata": dict(self.metadata),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return msgspec.json.encode(self.to_dict()).decode()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the token that `to_dict` was called on, also when it has expired since.

        Args:
            data: The fields; optional ones may be missing, unknown ones are ignored.

        Raises:
            ConfigurationError: A required field is missing or a field has the wrong shape; the message names it.
        """
        if not isinstance(data, Mapping):
            raise ConfigurationError(f"data must be a mapping of the token's fields, not {type(data).__name__}")
        missing = [name for name in _REQUIRED if data.get(name) is None]
        if missing:
            raise ConfigurationError(f"{' and '.join(missing)} must be given; a stored token always has them")
        used = data.get("last_used_at")
        return cls.loaded(
            jti=data["jti"],
            user_id=data["user_id"],
            issued_at=_read("issued_at", data["issued_at"]),
            expires_at=_read("expires_at", data["expires_at"]),
            family_id=data.get("family_id") or "",
            client_id=data.get("client_id"),
            last_used_at=None if used is None else _read("last_used_at", used),
            metadata=EMPTY if data.get("metadata") is None else data["metadata"],
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the token that `to_json` was called on; raises what `from_dict` raises, also for what is no JSON."""
        try:
            data = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, TypeError, RecursionError) as exc:
            raise ConfigurationError("text must be the JSON of a stored token") from exc
        return cls.from_dict(data)

    @classmethod
    def loaded(cls, **values: Any) -> Self:
        """Return a token from the values of all its fields, checked for its shape only; what backends use."""
        token = object.__new__(cls)
        for name, value in values.items():
            object.__setattr__(token, name, value)
        token._check()
        return token

    def _check(self) -> None:
        put = object.__setattr__
        require_identifier("jti", self.jti)
        require_identifier("user_id", self.user_id)
        put(self, "expires_at", require_aware("expires_at", self.expires_at))
        put(self, "issued_at", require_aware("issued_at", self.issued_at))
        if self.last_used_at is not None:
            put(self, "last_used_at", require_aware("last_used_at", self.last_used_at))
        if self.family_id == "":
            put(self, "family_id", family_of(self.jti) or new_family_id(self.user_id))
        require_identifier("family_id", self.family_id)
        if self.client_id is not None:
            require_identifier("client_id", self.client_id)
        if type(self.metadata) is not FrozenDict:
            put(self, "metadata", _frozen_metadata(self.metadata))


def require_identifier(name: str, value: object) -> str:
    """Refuse what can't be an identifier, and return it."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a str, not {type(value).__name__}")
    if not value.strip():
        raise ConfigurationError(f"{name} must not be empty or blank")
    if len(value) > MAX_IDENTIFIER:
        raise ConfigurationError(f"{name} must have at most {MAX_IDENTIFIER} characters, not {len(value)}")
    if not value.isascii() or not value.isprintable():
        match = _UNPRINTABLE.search(value)
        if match is not None:
            raise ConfigurationError(
                f"{name} must hold no control characters or surrogates; U+{ord(match[0]):04X} stands at {match.start()}"
            )
    return value


def require_aware(name: str, value: object) -> datetime:
    """Refuse anything but an aware datetime, and return it in UTC."""
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{name} must be an aware datetime, not {type(value).__name__}")
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise ConfigurationError(f"{name} must be aware, not naive; for example datetime.now(UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError as exc:
        raise ConfigurationError(f"{name} must lie in the years 1 to 9999 in UTC") from exc


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _read(name: str, value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as exc:
            raise ConfigurationError(f"{name} must be a time in the form of RFC 3339") from exc
    return require_aware(name, value)


def _frozen_metadata(metadata: object) -> Mapping[str, Any]:
    if not isinstance(metadata, Mapping):
        raise ConfigurationError(f"metadata must be a mapping, not {type(metadata).__name__}")
    try:
        encoded = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        plain: Mapping[str, Any] = frozen(json.loads(encoded))
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConfigurationError("metadata must hold only what JSON holds") from exc
    if len(encoded) > MAX_METADATA:
        raise ConfigurationError(f"metadata must take at most {MAX_METADATA} bytes as JSON, not {len(encoded)}")
    return plain
