"""How an exchange ended: `ok`, `error`, `disconnected` or `cancelled`, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgi_infra.middleware.exchange import Exchange, Outcome

DISCONNECTED = "client_disconnected"
INCOMPLETE = "incomplete_response"

# RFC 6455, section 7.4.1, and the registry it makes; 4500 is what Litestar sends for an unhandled exception.
_ERROR_CODES = frozenset({1011, 1014, 4500})
_BROKEN_CODES = frozenset({1006, 1015})
_DISCONNECT_NAMES = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"})


def http_outcome(exchange: Exchange) -> tuple[Outcome, str | None]:
    """Return outcome and error type of an HTTP exchange; one without an end never sent its last message."""
    error = exchange.error
    if error is not None:
        return _outcome_of(error, disconnected=exchange.disconnected)
    if exchange.ended is None:
        return ("disconnected", DISCONNECTED) if exchange.disconnected else ("error", INCOMPLETE)
    status = exchange.status
    if status is None:
        return "error", INCOMPLETE
    return ("error", str(status)) if status >= 500 else ("ok", None)


def websocket_outcome(exchange: Exchange) -> tuple[Outcome, str | None]:
    """Return outcome and error type of a WebSocket; a close by policy (1008) or by the application is no error."""
    error = exchange.error
    if error is not None and not (exchange.disconnected and _is_disconnect(error)):
        return _outcome_of(error, disconnected=exchange.disconnected)
    if exchange.status is None:
        return ("disconnected", DISCONNECTED) if exchange.disconnected else ("error", INCOMPLETE)
    code = exchange.close_code
    if exchange.status >= 500:
        return "error", str(exchange.status)
    if code in _ERROR_CODES:
        return "error", str(code)
    return ("disconnected", DISCONNECTED) if code in _BROKEN_CODES else ("ok", None)


def _outcome_of(error: BaseException, *, disconnected: bool) -> tuple[Outcome, str]:
    if _is_cancellation(error):
        return ("disconnected", DISCONNECTED) if disconnected else ("cancelled", "cancelled")
    if _is_disconnect(error) or (disconnected and isinstance(error, OSError)):
        return "disconnected", DISCONNECTED
    return "error", type_name(error)


def type_name(error: BaseException) -> str:
    """Return the qualified name of an error's type; of a group with one exception, that of the one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_disconnect(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_disconnect(member) for member in error.exceptions)
    return type(error).__name__ in _DISCONNECT_NAMES


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_cancellation(member) for member in error.exceptions)
    # By name: asyncio.CancelledError and trio.Cancelled, without importing an event loop that is not in use.
    return not isinstance(error, Exception) and type(error).__name__ in ("CancelledError", "Cancelled")
