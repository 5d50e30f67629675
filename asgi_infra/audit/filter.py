"""Which entries are meant."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from typing import Any

from asgi_infra.audit.encoding import canonical
from asgi_infra.audit.entry import AuditEntry, in_utc, storable
from asgi_infra.audit.mending import utc_text
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import shown

_EXACT = ("user_id", "resource_type", "resource_id", "result", "tenant", "request_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are meant: those that fulfil all conditions that are given. Without any, all entries.

    Args:
        user_id: Exactly this user.
        action: Exactly this action, or all below a level: `"order.*"` means `order.refund` and `order.item.add`, but
            neither `order` nor `orders.list`.
        resource_type: Exactly this kind of thing.
        resource_id: Exactly this thing.
        result: Exactly this result.
        tenant: Exactly this tenant.
        request_id: Exactly this request.
        since: Not before this time; aware.
        until: Before this time; aware. Neighbouring ranges thus share no entry.

    Raises:
        ConfigurationError: A condition is of the wrong type, a time is naive, `until` is before `since`, or there is a
            `*` elsewhere than at the end, after a dot.

    Example:
        >>> AuditFilter(user_id="u-1", action="order.*", result="denied").action_prefix
        'order.'
    """

    user_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    result: str | None = None
    tenant: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for name in (*_EXACT, "action"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise ConfigurationError(f"{name} must be a str or None, not {type(value).__name__}")
            object.__setattr__(self, name, storable(value))
        if self.action is not None and "*" in self.action.removesuffix(".*"):
            raise ConfigurationError(
                f"action must have its * at the end after a dot, as in order.*, not {shown(self.action)}"
            )
        for name in ("since", "until"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, in_utc(name, getattr(self, name)))
        if self.since is not None and self.until is not None and self.until < self.since:
            raise ConfigurationError("until must not be before since")

    @property
    def action_prefix(self) -> str | None:
        """What the action must begin with, if `action` ends in `.*`; otherwise `None`."""
        return self.action[:-1] if self.action is not None and self.action.endswith(".*") else None

    @property
    def exact(self) -> dict[str, str]:
        """The fields that must have exactly one value, with that value; `action` too, if it is no prefix."""
        names = _EXACT if self.action_prefix else (*_EXACT, "action")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def matches(self, entry: AuditEntry) -> bool:
        """Return whether an entry is meant."""
        prefix = self.action_prefix
        return (
            all(getattr(entry, name) == value for name, value in self.exact.items())
            and (prefix is None or entry.action.startswith(prefix))
            and (self.since is None or entry.timestamp >= self.since)
            and (self.until is None or entry.timestamp < self.until)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the conditions that are given, as plain JSON data."""
        given = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}
        return {name: utc_text(value) if isinstance(value, datetime) else value for name, value in given.items()}

    def digest(self) -> bytes:
        """Return 32 bytes that are the same for the same conditions, in every process."""
        return sha256(canonical(self.to_dict())).digest()
