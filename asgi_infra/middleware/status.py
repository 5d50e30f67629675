"""From the status of a response to the status of its span.

The default is that 5xx is ERROR, described by its code and phrase, and everything below is OK. `"semconv"` follows the
OpenTelemetry HTTP conventions instead: 5xx is ERROR without a description, because the code says it all, and
everything below is left unset, 4xx included, because it is the client's fault. A callable decides for itself.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeAlias

from opentelemetry.trace import Status, StatusCode

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import shown

if TYPE_CHECKING:
    from collections.abc import Callable

StatusPolicy: TypeAlias = "Literal['default', 'semconv'] | Callable[[int], Status | StatusCode | None]"

_OK = Status(StatusCode.OK)


def default_status(code: int) -> Status:
    """Return ERROR with a description for 500 and above, OK for everything below."""
    if code < 500:
        return _OK
    try:
        return Status(StatusCode.ERROR, f"HTTP {code} {HTTPStatus(code).phrase}")
    except ValueError:
        return Status(StatusCode.ERROR, f"HTTP {code}")


def semconv_status(code: int) -> Status | None:
    """Return ERROR for 500 and above, `None` (unset) for everything below, as the HTTP conventions say for servers."""
    return Status(StatusCode.ERROR) if code >= 500 else None


def status_policy(policy: StatusPolicy) -> Callable[[int], Status | StatusCode | None]:
    """Return the function behind a policy.

    Raises:
        ConfigurationError: The policy is neither one of the two names nor callable.
    """
    if callable(policy):
        return policy
    if policy == "default":
        return default_status
    if policy == "semconv":
        return semconv_status
    raise ConfigurationError(f"status must be 'default', 'semconv' or a callable, not {shown(policy)}")
