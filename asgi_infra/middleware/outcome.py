"""How an exchange ended: `ok`, `error`, `disconnected` or `cancelled`, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_infra.middleware.exchange import Exchange, Outcome

DISCONNECTED = "client_disconnected"
INCOMPLETE = "incomplete_response"

# RFC 6455, section 7.4.1, and the registry it makes; 4500 is what Litestar sends for an unhandled exception.
_ERROR_CODES = frozenset({1011, 1014, 4500})
_BROKEN_CODES = frozenset({1006, 1015})
_CANCELLATION_NAMES = frozenset({"CancelledError", "Cancelled", "GeneratorExit"})
_DISCONNECT_NAMES = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"})


def http_outcome(exchange: Exchange) -> tuple[Outcome, str | None]:
    """Return outcome and error type of an HTTP exchange; one without an end never sent its last message.

    What cuts short the work after a complete response, a cancellation or a disconnect, leaves the response its outcome.
    """
    error = exchange.error
    if error is not None:
        outcome = _outcome_of(error, disconnected=exchange.disconnected)
        if outcome[0] == "error" or exchange.ended is None:
            return outcome
    elif exchange.ended is None:
        return ("disconnected", DISCONNECTED) if exchange.disconnected else ("error", INCOMPLETE)
    status = exchange.status
    if status is None:
        return "error", INCOMPLETE
    return ("error", str(status)) if status >= 500 else ("ok", None)


def websocket_outcome(exchange: Exchange) -> tuple[Outcome, str | None]:
    """Return outcome and error type of a WebSocket; a close by policy (1008) or by the application is no error."""
    error = exchange.error
    if error is not None and not (exchange.disconnected and _is_disconnect(error, disconnected=False)):
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
    if is_cancellation(error):
        return ("disconnected", DISCONNECTED) if disconnected else ("cancelled", "cancelled")
    if _is_disconnect(error, disconnected=disconnected):
        return "disconnected", DISCONNECTED
    return "error", type_name(error)


def assumed_status(outcome: Outcome) -> int:
    """Return what stands for the status where none was sent: 500 is what the server answers then, 499 is nginx's."""
    return 499 if outcome in ("disconnected", "cancelled") else 500


def type_name(error: BaseException) -> str:
    """Return the qualified name of an error's type; of a group with one exception, that of the one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return name.encode("utf-8", "replace").decode()


def is_cancellation(error: BaseException) -> bool:
    """Return whether the application was stopped from outside: cancelled, or closed with its event loop."""
    # By name: asyncio.CancelledError and trio.Cancelled, without importing an event loop that is not in use.
    return all(
        not isinstance(leaf, Exception) and type(leaf).__name__ in _CANCELLATION_NAMES for leaf in _leaves(error)
    )


def _is_disconnect(error: BaseException, *, disconnected: bool) -> bool:
    # A task group that has lost its client raises the disconnect beside the cancellations of its other tasks.
    return all(
        type(leaf).__name__ in _DISCONNECT_NAMES
        or (disconnected and (isinstance(leaf, ConnectionError) or type(leaf) is OSError))
        or is_cancellation(leaf)
        for leaf in _leaves(error)
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    pending = [error]  # groups may be nested deeper than Python recurses
    while pending:
        member = pending.pop()
        if isinstance(member, BaseExceptionGroup):
            pending.extend(member.exceptions)
        else:
            yield member
