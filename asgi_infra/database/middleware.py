"""One session for each HTTP request, committed before the response starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from asgi_infra.database.errors import SessionMisuseError
from asgi_infra.database.session import DatabaseSession
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from asgi_infra.database.transaction import Transaction
    from asgi_infra.types import ASGIApp, Message, Receive, Scope, Send

_SCOPE_KEY = "asgi_infra.database"


class HasScope(Protocol):
    """A framework's request or connection."""

    scope: Any


def commit_below_400(status: int) -> bool:
    """Return whether a response is a success or a redirection: the default of `DatabaseSessionMiddleware.commit_if`."""
    return status < 400


class DatabaseSessionMiddleware:
    """Gives every HTTP request one session, which ends before the response starts.

    The rule: the session lives from the first `get_session` to the first byte of the response. At
    `http.response.start` it is committed when `commit_if(status)` says so, else rolled back, and only then the
    message goes on. So whoever reads the response finds its effects in the database, and a failed commit raises
    in the application while it can still answer with an error. Work after that, in the body of a streaming
    response or in a background task, opens a session of its own with `db.session()`; the request's session is
    closed then, and refuses. An exception that leaves the application, a cancellation and an application that
    ends without a response roll back.

    A request that never asks for its session costs nothing. WebSocket connections pass untouched: they last too
    long for a transaction.

    Args:
        app: The application.
        database: Where the sessions come from.
        name: Tells several instances, with a database each, apart in `get_session`.
        commit_if: Called with the response's status; commit where it returns true.
        close_on_shutdown: Close the database's pool when the lifespan ends.

    Raises:
        ConfigurationError: An argument has the wrong type.

    Example:
        >>> app.add_middleware(DatabaseSessionMiddleware, database=db)
    """

    def __init__(
        self,
        app: ASGIApp,
        database: DatabaseSession,
        *,
        name: str = "default",
        commit_if: Callable[[int], bool] = commit_below_400,
        close_on_shutdown: bool = True,
    ) -> None:
        if not isinstance(database, DatabaseSession):
            raise ConfigurationError(f"database must be a DatabaseSession, not a {type(database).__name__}")
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError("name must be a str that is not blank")
        if not callable(commit_if):
            raise ConfigurationError(f"commit_if must be callable, not a {type(commit_if).__name__}")
        require_flag("close_on_shutdown", close_on_shutdown)
        self._app = app
        self._database = database
        self._name = name
        self._commit_if = commit_if
        self._close_on_shutdown = close_on_shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and self._close_on_shutdown:
            await self._lifespan(scope, receive, send)
        elif scope["type"] != "http" or self._name in _sessions(scope):
            await self._app(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = _RequestSession(self._database)

        async def send_after_the_end(message: Message) -> None:
            if message["type"] == "http.response.start":
                await own.end(commit=self._commit_if(message["status"]))
            await send(message)

        outer = _sessions(scope)
        # In place: what routers write into the scope is read by those around this middleware.
        scope[_SCOPE_KEY] = {**outer, self._name: own}
        try:
            await self._app(scope, receive, send_after_the_end)
        except BaseException as exc:
            await own.end(commit=False, error=exc)
            raise
        else:
            await own.end(commit=False)
        finally:
            if outer:
                scope[_SCOPE_KEY] = outer
            else:
                scope.pop(_SCOPE_KEY, None)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_after_closing(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self._database.aclose()
            await send(message)

        await self._app(scope, receive, send_after_closing)


def get_session(request: Mapping[str, Any] | HasScope, name: str = "default") -> AsyncSession:
    """Return the session of a request, which `DatabaseSessionMiddleware` ends before the response starts.

    Args:
        request: The ASGI scope, or a framework's request, which has it as `scope`.
        name: Which middleware's, where there are several.

    Raises:
        SessionMisuseError: There is no such middleware around the application, it is no HTTP request, or the
            response has started.

    Example:
        >>> async def create(request):
        ...     get_session(request).add(Order(item="tea", count=2))
        ...     return Response(status_code=201)
    """
    scope = request if isinstance(request, Mapping) else request.scope
    own = _sessions(scope).get(name)
    if own is None:
        raise SessionMisuseError(
            f"the request has no database session {name!r}; wrap the application with DatabaseSessionMiddleware, "
            "and open one with `async with db.session()` outside of HTTP requests"
        )
    return own.get()


class _RequestSession:
    """The session of one request: made when asked for, ended once."""

    def __init__(self, database: DatabaseSession) -> None:
        self._database = database
        self._transaction: Transaction | None = None
        self._session: AsyncSession | None = None
        self._ended = False

    def get(self) -> AsyncSession:
        if self._ended:
            raise SessionMisuseError(
                "the request's database session ended when its response started; "
                "open one with `async with db.session()` for a streaming body or a background task"
            )
        if self._session is None:
            self._transaction = self._database.session()
            self._session = self._transaction.begin()
        return self._session

    async def end(self, *, commit: bool, error: BaseException | None = None) -> None:
        self._ended = True
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return
        if commit:
            await transaction.commit()
        else:
            await transaction.rollback(error)


def _sessions(scope: Mapping[str, Any]) -> dict[str, _RequestSession]:
    sessions: dict[str, _RequestSession] = scope.get(_SCOPE_KEY, {})
    return sessions
