"""What an audit entry says of an exchange."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asgi_infra import context, faults
from asgi_infra.middleware.outcome import is_cancellation, type_name
from asgi_infra.redaction import redact_query

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.middleware.audit_policy import AuditRule
    from asgi_infra.middleware.exchange import Exchange

Ask: TypeAlias = "Callable[[Exchange], str | None]"

ATTEMPT: Final = "attempt"
"""The result of an entry that tells what is about to be done."""

ATTEMPT_ID: Final = ":attempt"
COMPLETED_ID: Final = ":completed"
"""What the ids of the two entries of one exchange end in; before it, they are the same."""

MAX_AGENT: Final = 512
MAX_TEXT: Final = 2048
_TOKEN = re.compile(r"[A-Za-z]{1,20}")
_DENIED = frozenset({401, 403})


def actor_of(exchange: Exchange) -> str | None:
    """Return who made the request: the token's user, the user of the context, or the user that the scope holds.

    The latter is what Starlette's `AuthenticationMiddleware` and the like leave there, if it says that it is
    authenticated: its `identity`, or else its `username`.
    """
    user = exchange.user_id or context.get_user_id()
    if user is not None:
        return user
    found: Any = exchange.scope.get("user")
    if found is None or getattr(found, "is_authenticated", False) is not True:
        return None
    for name in ("identity", "username"):
        try:
            text = getattr(found, name)
        except Exception:  # noqa: BLE001, S112 - Starlette's base class has an `identity` that raises
            continue
        if isinstance(text, str) and text:
            return text
    return None


def result_of(exchange: Exchange, error: BaseException | None = None) -> tuple[str, str | None]:
    """Return how an exchange ended, and the error's type.

    Args:
        exchange: The exchange; it may be under way still.
        error: What was raised through the middleware, where the exchange goes on outside of it.
    """
    if exchange.finished:
        if exchange.outcome != "ok":
            return exchange.outcome, exchange.error_type
    elif error is not None:
        if exchange.disconnected:
            return "disconnected", "client_disconnected"
        return ("cancelled", "cancelled") if is_cancellation(error) else ("error", type_name(error))
    status = exchange.status
    if status is None:
        return "unknown", None
    if status in _DENIED:
        return "denied", None
    return "success" if status < 400 else "failure" if status < 500 else "error", None


def request_details(exchange: Exchange) -> dict[str, Any]:
    """Return what is known of a request from the beginning."""
    details: dict[str, Any] = {"method": exchange.method, "path": exchange.path[:MAX_TEXT]}
    if query := exchange.scope.get("query_string"):
        details["query"] = redact_query(query[:MAX_TEXT].decode("utf-8", "replace"))
    return details


def user_agent(exchange: Exchange) -> str | None:
    """Return what the client says it is, up to 512 characters."""
    agent = exchange.headers.get(b"user-agent")
    return None if agent is None else agent[:MAX_AGENT].decode("latin-1")


def trace_id(exchange: Exchange) -> str | None:
    """Return the trace of the exchange's span; `None` leaves it to the logger to look at the current one."""
    span = exchange.span
    if span is None or not (number := span.get_span_context().trace_id):
        return None
    return f"{number:032x}"


def asked(place: str, option: str | Ask | None, exchange: Exchange, default: str | None) -> str | None:
    """Return what an option says: a text, or what a function returns."""
    if option is None or isinstance(option, str):
        return option or default
    try:
        found = option(exchange)
        if found is None:
            return default
        if isinstance(found, str) and found.strip():
            return found
        raise TypeError(f"{place} has returned a {type(found).__name__}, or a blank text, not a str or None")
    except Exception as exc:  # noqa: BLE001
        faults.record(f"audit.{place}", exc)
        return default


def default_action(exchange: Exchange) -> str:
    """Return the action of an exchange for which no rule has one."""
    if exchange.is_websocket:
        return "websocket.connect"
    return f"http.{exchange.method.lower()}" if _TOKEN.fullmatch(exchange.method) else "http.other"


def resource_id(rule: AuditRule, exchange: Exchange) -> str | None:
    """Return which thing was acted upon, as the rule says."""
    option = rule.resource_id
    if not isinstance(option, str):
        return asked("resource_id", option, exchange, None)
    found = exchange.scope.get("path_params")
    value = found.get(option) if isinstance(found, dict) else None
    return None if value is None else str(value)[:MAX_TEXT]
