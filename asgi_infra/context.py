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


def get_request_id() -> str | None:
    """Return the id of the request that is being handled, or `None` outside of one.

    The value is inherited by the tasks that the request starts, background tasks included, and by what runs in a thread
    through `asyncio.to_thread` or anyio. A `threading.Thread` and `loop.run_in_executor` start without it.

    Example:
        >>> with bind(request_id="demo-1"):
        ...     get_request_id()
        'demo-1'
    """
    return request_id_var.get()


@contextmanager
def bind(*, request_id: str | None) -> Iterator[None]:
    """Bind values for the time of a `with` block, and restore what was there before, whatever happens inside.

    Args:
        request_id: What `get_request_id` returns inside; `None` for "no request".
    """
    token = request_id_var.set(request_id)
    try:
        yield
    finally:
        request_id_var.reset(token)
