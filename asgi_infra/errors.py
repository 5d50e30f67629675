"""Every exception that this package raises on purpose.

```text
InfrastructureError
├── ConfigurationError      also a ValueError: a parameter is wrong, and the message says how to mend it
├── MissingExtraError       also an ImportError: an optional dependency is not installed
├── TelemetryError          the telemetry set-up failed
├── DatabaseError           a database operation failed
├── TokenStoreError         a token store operation failed
├── CredentialsError        what a request presents as its token is no good (asgi_infra.tokens)
└── AuditError              an audit operation failed
```

Exceptions of drivers and libraries are translated at the edge where they appear, always `raise ... from`, so
`__cause__` holds the original. `asyncio.CancelledError` and `KeyboardInterrupt` are never translated.
"""

from __future__ import annotations


class InfrastructureError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigurationError(InfrastructureError, ValueError):
    """Raised when a parameter or a setting is wrong; the message names it and the remedy."""


class MissingExtraError(InfrastructureError, ImportError):
    """Raised when a feature needs an optional dependency that is not installed.

    Args:
        missing: What could not be imported, for example `"redis"`.
        purpose: What it is needed for, as the end of "is needed for ...".
        extra: The extra of this package that installs it.

    Example:
        >>> raise MissingExtraError("aiosqlite", purpose="DatabaseSession", extra="sql")
        Traceback (most recent call last):
        asgi_infra.errors.MissingExtraError: 'aiosqlite' is not installed; it is needed for DatabaseSession. \
Install it with: pip install 'asgi-infra[sql]'
    """

    def __init__(self, missing: str, *, purpose: str, extra: str) -> None:
        super().__init__(
            f"{missing!r} is not installed; it is needed for {purpose}. "
            f"Install it with: pip install 'asgi-infra[{extra}]'",
            name=missing,
        )
        self.missing = missing
        self.purpose = purpose
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        return _missing_extra, (self.missing, self.purpose, self.extra), self.__dict__


def _missing_extra(missing: str, purpose: str, extra: str) -> MissingExtraError:
    return MissingExtraError(missing, purpose=purpose, extra=extra)


class TelemetryError(InfrastructureError):
    """Raised when telemetry can't be started, replaced or shut down; the process is left as it was."""


class DatabaseError(InfrastructureError):
    """Base of what a database session raises; `__cause__` is the driver's exception."""


class TokenStoreError(InfrastructureError):
    """Base of what a token store raises; `__cause__` is the driver's exception."""


class AuditError(InfrastructureError):
    """Base of what an audit logger raises; `__cause__` is the driver's exception."""
