"""The per-request values that every signal shares, as context variables.

The middleware binds them for the time of one exchange; code that runs outside of a request (a worker, a script)
can do the same with `bind`. What is bound is always reset, in the task that bound it.

They are inherited by the tasks that the request starts, background tasks included, and by what runs in a thread through
`asyncio.to_thread` or anyio. A `threading.Thread` and `loop.run_in_executor` start without them.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

request_id_var: ContextVar[str | None] = ContextVar("asgi_infra_request_id", default=None)
user_id_var: ContextVar[str | None] = ContextVar("asgi_infra_user_id", default=None)
client_address_var: ContextVar[str | None] = ContextVar("asgi_infra_client_address", default=None)


class _Missing(Enum):
    MISSING = 0


_MISSING: Final = _Missing.MISSING


def get_request_id() -> str | None:
    """Return the id of the request that is being handled, or `None` outside of one.

    Example:
        >>> with bind(request_id="demo-1"):
        ...     get_request_id()
        'demo-1'
    """
    return request_id_var.get()


def get_user_id() -> str | None:
    """Return the user on whose behalf the request is being handled, or `None` where nobody is known.

    `TokenMiddleware` binds the user of a token that is good; whoever authenticates in another way uses `bind`.

    Example:
        >>> with bind(user_id="alice"):
        ...     get_user_id()
        'alice'
    """
    return user_id_var.get()


def get_client_address() -> str | None:
    """Return the address of the request's client, as far as the trusted proxies vouch for it, or `None`.

    Example:
        >>> with bind(client_address="192.0.2.7"):
        ...     get_client_address()
        '192.0.2.7'
    """
    return client_address_var.get()


@contextmanager
def bind(
    *,
    request_id: str | Literal[_Missing.MISSING] | None = _MISSING,
    user_id: str | Literal[_Missing.MISSING] | None = _MISSING,
    client_address: str | Literal[_Missing.MISSING] | None = _MISSING,
) -> Iterator[None]:
    """Bind values for the time of a `with` block, and restore what was there before, whatever happens inside.

    What is not given stays as it is.

    Args:
        request_id: What `get_request_id` returns inside; `None` for "no request".
        user_id: What `get_user_id` returns inside; `None` for "nobody".
        client_address: What `get_client_address` returns inside; `None` for "unknown".

    Example:
        >>> with bind(request_id="job-7", user_id="alice"):
        ...     get_request_id(), get_user_id()
        ('job-7', 'alice')
    """
    given = ((request_id_var, request_id), (user_id_var, user_id), (client_address_var, client_address))
    tokens = [(variable, variable.set(value)) for variable, value in given if value is not _MISSING]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)
