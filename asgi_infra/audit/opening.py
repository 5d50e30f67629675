"""Which logger a URL means."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.errors import AuditError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.contract import AuditLogger

GROUP: Final = "asgi_infra.audit_loggers"
"""The entry point group in which third parties name their schemes."""

_BACKENDS: Final = "asgi_infra.audit.backends"
_SCHEMES: Final = {
    "memory": f"{_BACKENDS}.memory:InMemoryAuditLogger",
    "file": f"{_BACKENDS}.file:FileAuditLogger",
    "sqlite": f"{_BACKENDS}.sql:SQLAuditLogger",
    "postgresql": f"{_BACKENDS}.sql:SQLAuditLogger",
    "postgres": f"{_BACKENDS}.sql:SQLAuditLogger",
    "nats": f"{_BACKENDS}.nats:NATSAuditLogger",
    "valkey": f"{_BACKENDS}.valkey:ValkeyAuditLogger",
    "valkeys": f"{_BACKENDS}.valkey:ValkeyAuditLogger",
    "redis": f"{_BACKENDS}.valkey:ValkeyAuditLogger",
    "rediss": f"{_BACKENDS}.valkey:ValkeyAuditLogger",
}


def open_audit_logger(url: str, **options: Any) -> AuditLogger:
    """Return the audit logger that a URL means. Nothing is connected yet; use it with `async with`.

    | URL | logger |
    |---|---|
    | `memory://` | `InMemoryAuditLogger` |
    | `file:///var/log/audit` | `FileAuditLogger` |
    | `sqlite:///audit.db`, `postgresql://user:password@host/name` | `SQLAuditLogger` |
    | `nats://host:port/stream`, `nats+tls://` | `NATSAuditLogger`: a stream, for a `Relay` |
    | `valkey://`, `redis://`, `valkeys://`, `rediss://` | `ValkeyAuditLogger`: a stream, for a `Relay` |

    Third parties add schemes with entry points in the group `asgi_infra.audit_loggers`: the name is the scheme, the
    object is called with the URL and the options.

    Args:
        url: The URL; a driver may follow the scheme, as in `postgresql+asyncpg://`.
        **options: As the logger takes them.

    Raises:
        ConfigurationError: The URL or an option is wrong, or nobody knows the scheme.
        MissingExtraError: What the logger needs is not installed.

    Example:
        >>> async with open_audit_logger("memory://", max_entries=1000) as logger:
        ...     await logger.log_action("order.refund", "order", resource_id="o-1")
    """
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError("url must be a URL such as file:///var/log/audit; a scheme and :// are missing")
    scheme = url.partition("://")[0].lower().partition("+")[0]
    try:
        return _maker(scheme)(url, options)
    except TypeError as exc:
        raise ConfigurationError(f"options don't fit a logger for {scheme}://: {exc}") from exc


def known_schemes() -> list[str]:
    """Return all schemes that `open_audit_logger` knows, those of third parties included."""
    return sorted({*_SCHEMES, *(each.name for each in entry_points(group=GROUP))})


def _maker(scheme: str) -> Callable[[str, dict[str, Any]], AuditLogger]:
    target = _SCHEMES.get(scheme)
    if target is None:
        return _third_party(scheme)
    module, _, name = target.partition(":")
    logger: Any = getattr(import_module(module), name)
    return lambda url, options: logger.from_url(url, **options)


def _third_party(scheme: str) -> Callable[[str, dict[str, Any]], AuditLogger]:
    for point in entry_points(group=GROUP):
        if point.name == scheme:
            try:
                make: Any = point.load()
            except ImportError as exc:
                raise AuditError(f"the audit logger for {scheme}:// can't be imported") from exc
            return lambda url, options: make(url, **options)
    raise ConfigurationError(f"url has the unknown scheme {scheme[:32]!r}; known are {', '.join(known_schemes())}")
