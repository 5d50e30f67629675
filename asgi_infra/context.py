"""The per-request values that every signal shares, as context variables.

The middleware binds them for the time of one exchange; code that runs outside of a request (a worker, a script)
can do the same with `bind`. What is bound is always reset, in the task that bound it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

request_id_var: ContextVar[str | None] = ContextVar("asgi_infra_request_id", default=None)
actor_var: ContextVar[str | None] = ContextVar("asgi_infra_actor", default=None)
client_address_var: ContextVar[str | None] = ContextVar("asgi_infra_client_address", default=None)


def get_request_id() -> str | None:
    """Return the id of the request that is being handled, or `None` outside of one.

    The value is inherited by tasks and threads that the request starts, background tasks included.

    Example:
        >>> with bind(request_id="demo-1"):
        ...     get_request_id()
        'demo-1'
    """
    return request_id_var.get()


def get_actor() -> str | None:
    """Return who makes the request (the user's id), or `None` when nobody is known."""
    return actor_var.get()


def get_client_address() -> str | None:
    """Return the client's address as the trusted proxies report it, or `None` when it is unknown."""
    return client_address_var.get()


@contextmanager
def bind(
    *, request_id: str | None = None, actor: str | None = None, client_address: str | None = None
) -> Iterator[None]:
    """Bind values for the time of a `with` block, and restore what was there before, whatever happens inside.

    Args:
        request_id: What `get_request_id` returns inside; `None` leaves it as it is.
        actor: What `get_actor` returns inside; `None` leaves it as it is.
        client_address: What `get_client_address` returns inside; `None` leaves it as it is.
    """
    tokens = [
        (variable, variable.set(value))
        for variable, value in (
            (request_id_var, request_id),
            (actor_var, actor),
            (client_address_var, client_address),
        )
        if value is not None
    ]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)
