"""Calls to a store: in a thread if they may wait, opened once, and none after the end."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from threading import Condition, Lock
from typing import TYPE_CHECKING, TypeVar

from anyio import to_thread

from asgi_infra.audit.errors import AuditClosedError, AuditUnavailableError
from asgi_infra.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgi_infra.audit.store import AuditStore

T = TypeVar("T")


class StoreCalls:
    """Calls a store from any event loop and thread. It is opened with the first call.

    Args:
        store: The store; from now on it belongs to this object.
    """

    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._opening = Lock()
        self._opened = False
        self._changed = Condition()
        self._running = 0
        self._closed = False

    async def call(self, function: Callable[..., T], *args: object, **options: object) -> T:
        """Return what a function of the store returns.

        Raises:
            AuditClosedError: The logger has been closed.
            AuditError: What the store raised; its other exceptions become `AuditUnavailableError`.
        """
        work = partial(self.run, partial(function, *args, **options))
        return await to_thread.run_sync(work) if self._store.blocking else work()

    def run(self, function: Callable[[], T]) -> T:
        """Call a function of the store in this thread, as `call` does."""
        with self._open():
            try:
                return function()
            except InfrastructureError:
                raise
            except Exception as exc:
                raise AuditUnavailableError(f"the audit store failed with {type(exc).__name__}") from exc

    async def aclose(self) -> None:
        """Let the calls end that are running, close the store, and refuse all further ones. Twice is once."""
        await (to_thread.run_sync(self._close) if self._store.blocking else _done(self._close))

    @contextmanager
    def _open(self) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise AuditClosedError("the audit logger is closed")
            self._running += 1
        try:
            if not self._opened:
                self._open_once()
            yield
        finally:
            with self._changed:
                self._running -= 1
                if self._closed:
                    self._changed.notify_all()

    def _open_once(self) -> None:
        with self._opening:
            if self._opened:
                return
            try:
                self._store.open()
            except InfrastructureError:
                raise
            except Exception as exc:
                raise AuditUnavailableError(f"the audit store can't be opened: {type(exc).__name__}") from exc
            self._opened = True

    def _close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            while self._running:
                self._changed.wait()
        if self._opened:
            self._store.close()


async def _done(function: Callable[[], None]) -> None:
    function()
