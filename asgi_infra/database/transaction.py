"""One session and its transaction: commit or roll back, and tell what happened."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from asgi_infra.context import get_request_id
from asgi_infra.database.errors import OperationError, OutcomeUnknownError, SessionMisuseError
from asgi_infra.database.shield import run_to_end
from asgi_infra.database.translation import translate

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from asgi_infra.database.binding import Binding

_logger = logging.getLogger("asgi_infra.database")


class Transaction:
    """What `DatabaseSession.session()` returns: an asynchronous context manager, for one use.

    Who can't use a block calls `begin`, and then `commit` or `rollback` exactly once.
    """

    def __init__(self, binding: Binding, name: str, grace: float) -> None:
        self._binding = binding
        self._name = name
        self._grace = grace
        self._session: AsyncSession | None = None
        self._begun = False

    async def __aenter__(self) -> AsyncSession:
        return self.begin()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.commit()
        else:
            await self.rollback(error)

    def begin(self) -> AsyncSession:
        """Return the session; it connects with its first statement."""
        if self._begun:
            raise SessionMisuseError("a session is for one `async with`; call session() for another one")
        self._binding.require_here()
        self._begun = True
        self._session = AsyncSession(self._binding.engine, expire_on_commit=False, close_resets_only=False)
        self._binding.enter()
        return self._session

    async def commit(self) -> None:
        """Commit and close; raise what went wrong, rolled back.

        A cancellation waits for the commit, and is raised after it. A commit that then takes longer than the
        grace is given up, with `OutcomeUnknownError`.
        """
        session = self._take()
        self._binding.require_here()
        ended = await run_to_end(session.commit(), grace=self._grace, patient=True)
        error = ended.error
        if error is None:
            cancelled = await self._close(session, "committed") or ended.cancelled
            if cancelled is not None:
                cancelled.add_note("The cancellation came while the session was ending; the transaction is committed.")
                raise cancelled
            return
        if ended.gave_up:
            unknown = OutcomeUnknownError("the commit was given up after a cancellation; its outcome is unknown")
            await self._fail(session, unknown, outcome="commit_failed")
            raise unknown from error
        await self._fail(session, error, outcome="commit_failed")
        raise error

    async def rollback(self, error: BaseException | None = None) -> None:
        """Roll back and close, whatever happens meanwhile; raise the translation of `error` if it has one.

        Args:
            error: Why; `None` where nobody has to be told.
        """
        session = self._take()
        if os.getpid() == self._binding.pid:  # else the connection is the parent's: not a byte may go through it
            await self._fail(session, error, outcome="rolled_back")

    def _take(self) -> AsyncSession:
        session, self._session = self._session, None
        if session is None:
            raise SessionMisuseError("the session has not begun, or has ended already")
        return session

    async def _fail(self, session: AsyncSession, error: BaseException | None, *, outcome: str) -> None:
        translated = None if error is None else translate(error)
        ended = await run_to_end(self._undo(session), grace=self._grace, patient=False)
        raised = translated or error
        if isinstance(raised, OutcomeUnknownError) and not raised.reported:
            outcome = "outcome_unknown"
        if raised is not None and ended.error is not None:
            raised.add_note(f"The rollback failed too: {_safe(ended.error)}")
        self._report(raised, ended.error, outcome)
        await self._close(session, outcome)
        if translated is not None:
            raise translated from error

    async def _undo(self, session: AsyncSession) -> None:
        try:
            await session.rollback()
        except BaseException:
            await session.invalidate()  # the connection's state is unknown: never back into the pool
            raise
        finally:
            await self._binding.settle()

    async def _close(self, session: AsyncSession, outcome: str) -> asyncio.CancelledError | None:
        async def close() -> None:
            try:
                await session.close()
            finally:
                await self._binding.leave(outcome)

        ended = await run_to_end(close(), grace=self._grace, patient=False)
        if ended.error is not None:
            # the transaction's fate is settled, and this cannot change it
            fields = self._fields(ended.error)
            _logger.warning("closing a database session failed: %s", _safe(ended.error), extra=fields)
        return ended.cancelled

    def _report(self, error: BaseException | None, rollback_error: BaseException | None, outcome: str) -> None:
        fields = self._fields(error) | {"outcome": outcome}
        if rollback_error is not None:
            fields["rollback_error"] = _safe(rollback_error)
            _logger.error("database session and its rollback failed: %s", _safe(error), extra=fields)
        elif isinstance(error, OperationError) and not error.reported:
            level = logging.WARNING if error.retryable else logging.ERROR
            error.reported = True
            _logger.log(level, "database session failed: %s", _safe(error), extra=fields)
        elif error is not None:
            _logger.info("database session rolled back: %s", _safe(error), extra=fields)

    def _fields(self, error: BaseException | None) -> dict[str, object]:
        return {
            "request_id": get_request_id(),
            "database": self._name,
            "error_type": None if error is None else type(error).__qualname__,
            "sqlstate": getattr(error, "sqlstate", None),
        }


def _safe(error: BaseException | None) -> str:
    """Name an error without the values that foreign messages may hold."""
    if error is None:
        return "rolled back on request"
    known = error if isinstance(error, OperationError) else translate(error)
    return type(error).__qualname__ if known is None else f"{type(known).__name__}: {known}"
