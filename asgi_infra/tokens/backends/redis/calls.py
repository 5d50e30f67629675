"""Commands with an outcome: tried again where that is safe and in time, otherwise an error that says what is so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from asgi_infra.tokens.backends.redis.driver import exceptions
from asgi_infra.tokens.backends.redis.layout import corrupt
from asgi_infra.tokens.backends.redis.node import AttemptError, Command, Stage
from asgi_infra.tokens.backends.redis.reads import read_command
from asgi_infra.tokens.backends.redis.routing import Redirection
from asgi_infra.tokens.errors import OutcomeUnknownError, StoreFullError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.tokens.backends.redis.routing import Routing, Server
    from asgi_infra.tokens.backends.redis.scripts import Script

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.2
_MOST_HOPS = 5
# The server refused, and may not in a moment: the beginning of what it says, where redis-py has no class for it.
_PASSING = ("BUSY ", "MASTERDOWN", "CLUSTERDOWN", "LOADING", "TRYAGAIN", "READONLY", "NOREPLICAS", "FAILOVER", "-")
_PASSING_CLASSES = (
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.BusyLoadingError,
)
_FINAL_CLASSES = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)


class Effect(Enum):
    """What it means that a command was executed, and its answer lost."""

    NOTHING = "it only reads"
    REPEATABLE = "it does nothing the second time"
    ONCE = "it must not be repeated"


@dataclass(frozen=True, slots=True)
class Run:
    """A script with its keys and arguments."""

    script: Script
    keys: tuple[str, ...]
    arguments: tuple[str | bytes | int, ...]

    def command(self, *, whole: bool) -> Command:
        """Return what to send."""
        return self.script.command(self.keys, self.arguments, whole=whole)


class Calls:
    """Sends what a store wants to where it belongs; of one event loop.

    Args:
        routing: Knows the servers.
        timeout: For how many seconds one call may take in all.
        pool_size: How many connections there may be, for the message.
    """

    def __init__(self, routing: Routing, *, timeout: float, pool_size: int) -> None:
        self.routing = routing
        self._timeout = timeout
        self._pool_size = pool_size
        self._loop = asyncio.get_running_loop()

    async def read(self, key: str, field: bytes = b"") -> bytes | None:
        """Return a field of a hash, or a string, with one round trip for all that ask in the same tick."""
        until = self._loop.time() + self._timeout
        server = self.routing.known(key)
        if server is not None:
            try:
                return await server.reads.add(key, field, until)
            except AttemptError as exc:
                self._learn(exc, server)
                if _is_final(exc):
                    raise self._error(exc, None, Effect.NOTHING) from exc.__cause__
        value: bytes | None = (await self._tried(key, [read_command(key, field)], Effect.NOTHING, until))[0]
        return value

    async def command(self, key: str, *command: str | bytes | int) -> Any:
        """Return the answer to a command that reads."""
        return (await self._tried(key, [command], Effect.NOTHING, self._loop.time() + self._timeout))[0]

    async def run(self, run: Run, effect: Effect, *then: Command) -> Any:
        """Run a script and return its answer; with commands to send right after it, all answers, as they come."""
        answers = await self._tried(run.keys[0], [run, *then], effect, self._loop.time() + self._timeout)
        return answers if then else answers[0]

    async def everywhere(self, *command: str | bytes | int) -> list[Any]:
        """Return the answers of all servers to a command that reads."""
        until = self._loop.time() + self._timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                servers = await self.routing.all(until)
                answers = [(await server.execute([command], until))[0] for server in servers]
                for answer in answers:
                    if isinstance(answer, Exception):
                        raise AttemptError(Stage.REFUSED, answer)
            except AttemptError as exc:
                self.routing.doubt_all()
                if _is_final(exc) or self._loop.time() + pause >= until:
                    raise self._error(exc, None, Effect.NOTHING) from exc.__cause__
            else:
                return answers
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _tried(self, key: str, parts: Sequence[Run | Command], effect: Effect, until: float) -> list[Any]:
        pause = _FIRST_PAUSE
        # What waits for disks must not wait for a script that was not there.
        whole, asking, hops = len(parts) > 1, False, 0
        lost: AttemptError | None = None
        server: Server | None = None
        while True:
            try:
                if server is None:
                    server = await self.routing.server(key, until)
                commands = [part.command(whole=whole) if isinstance(part, Run) else part for part in parts]
                if asking:
                    answers = (await server.execute([("ASKING",), *commands], until))[1:]
                else:
                    answers = await server.execute(commands, until)
                if isinstance(answers[0], Exception):
                    raise AttemptError(Stage.REFUSED, answers[0])
            except AttemptError as exc:
                cause = exc.__cause__
                if exc.stage is Stage.SENT and effect is not Effect.NOTHING:
                    lost = exc
                if _is_final(exc) or (lost is not None and effect is Effect.ONCE) or self._loop.time() + pause >= until:
                    raise self._error(exc, lost, effect) from cause
                if isinstance(cause, exceptions.NoScriptError):
                    whole = True
                    continue
                to = Redirection.of(cause)
                if to is not None and hops < _MOST_HOPS:
                    server, asking, hops = self.routing.redirected(to), to.once, hops + 1
                    continue
                if server is not None:
                    self._learn(exc, server)
                server, asking, hops = None, False, 0
            else:
                return answers
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _learn(self, error: AttemptError, server: Server) -> None:
        to = Redirection.of(error.__cause__)
        if to is not None:
            self.routing.redirected(to)
        elif error.stage is not Stage.WAITING:
            self.routing.doubt(server)

    def _error(self, error: AttemptError, lost: AttemptError | None, effect: Effect) -> Exception:
        cause = error.__cause__
        if lost is not None:
            return OutcomeUnknownError(
                "the answer of the server was lost: what was asked for was done, or it was not",
                retryable=effect is not Effect.ONCE,
            )
        if isinstance(cause, exceptions.OutOfMemoryError):
            return StoreFullError("the server has reached its maxmemory; nothing was changed")
        if "WRONGTYPE" in str(cause):
            return corrupt()
        if "DB index is out of range" in str(cause):
            return StoreUnavailableError("the server has no database of the number that url names", retryable=False)
        if error.stage is Stage.WAITING:
            return StoreUnavailableError(
                f"no connection of the pool was free in {self._timeout:g} s; pool_size is {self._pool_size}"
            )
        if error.stage is Stage.REFUSED or _is_final(error):
            return StoreUnavailableError(
                f"the server refused ({type(cause).__name__}); nothing was changed", retryable=not _is_final(error)
            )
        return StoreUnavailableError(f"the server could not be reached in {self._timeout:g} s; nothing was changed")


def _is_final(error: AttemptError) -> bool:
    """Return whether the server would refuse again."""
    cause = error.__cause__
    if isinstance(cause, _FINAL_CLASSES):
        return True
    if error.stage is not Stage.REFUSED:
        return False
    if isinstance(cause, (exceptions.NoScriptError, *_PASSING_CLASSES)) or Redirection.of(cause) is not None:
        return False
    return not str(cause).startswith(_PASSING)
