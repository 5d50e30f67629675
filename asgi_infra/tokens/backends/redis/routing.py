"""Which server holds a key, and what to do when that changes. Everything here belongs to one event loop."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from asgi_infra.tokens.backends.redis.driver import exceptions, key_slot
from asgi_infra.tokens.backends.redis.node import AttemptError, Node, Stage
from asgi_infra.tokens.backends.redis.reads import Reads

if TYPE_CHECKING:
    from asgi_infra.tokens.backends.redis.targets import Address, Target

_SLOTS = 16384
_REDIRECTION = re.compile(r"(ASK|MOVED) (\d+) (.*):(\d+)")
_QUICK = 0.5


class Redirection(NamedTuple):
    """Where a server sends who asks for a slot."""

    once: bool
    slot: int
    address: Address

    @classmethod
    def of(cls, error: BaseException | None) -> Redirection | None:
        """Return what an error says, or `None`; some versions of redis-py have no classes for these here."""
        if isinstance(error, exceptions.AskError):
            address = (str(error.host), int(error.port))
            return cls(not isinstance(error, exceptions.MovedError), int(error.slot_id), address)
        match = _REDIRECTION.fullmatch(str(error)) if isinstance(error, exceptions.ResponseError) else None
        return None if match is None else cls(match[1] == "ASK", int(match[2]), (match[3], int(match[4])))


class Server:
    """A server that holds keys: the commands that go there, and the reads."""

    def __init__(self, node: Node, reads: Reads, address: Address | None) -> None:
        self.execute = node.execute
        self.close = node.close
        self.reads = reads
        self.address = address


class Routing(ABC):
    """Finds the server for a key."""

    def __init__(self, target: Target, *, timeout: float, pool_size: int) -> None:
        self.target = target
        self._timeout = timeout
        self._pool_size = pool_size
        self._servers: dict[Address | None, Server] = {}
        self._finding = asyncio.Lock()

    @abstractmethod
    def known(self, key: str) -> Server | None:
        """Return the server for a key, if that is known without asking."""

    @abstractmethod
    async def _find(self, until: float) -> None:
        """Ask where the servers are."""

    async def server(self, key: str, until: float) -> Server:
        """Return the server for a key.

        Raises:
            AttemptError: Nobody could tell in time.
        """
        known = self.known(key)
        while known is None:
            await self._ask(until)
            known = self.known(key)
            if known is None:
                raise AttemptError(Stage.REFUSED, exceptions.ClusterDownError("a slot is served by nobody"))
        return known

    async def all(self, until: float) -> list[Server]:
        """Return every server that holds keys."""
        if self.known("") is None:
            await self._ask(until)
        return self._holding()

    def doubt(self, server: Server) -> None:
        """Take note that a server has failed, or is not what it was; here there is no other."""
        return

    def redirected(self, to: Redirection) -> Server:
        """Return the server to ask, just this once or, where a slot has gone there for good, from now on."""
        return self._server(to.address)

    def doubt_all(self) -> None:
        """Take note that what is known may be wrong."""
        for server in self._holding():
            self.doubt(server)

    async def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            await server.close()

    def _holding(self) -> list[Server]:
        return list(self._servers.values())

    def _server(self, address: Address | None) -> Server:
        server = self._servers.get(address)
        if server is None:
            node = Node(lambda: self.target.connection(address, self._timeout), self._pool_size)
            reads = Reads(node, together=self.target.kind != "cluster")
            server = self._servers[address] = Server(node, reads, address)
        return server

    async def _ask(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until), self._finding:
                if self.known("") is None:
                    await self._find(until)
        except TimeoutError as exc:
            raise AttemptError(Stage.CONNECTING, exc) from exc


class Single(Routing):
    """One server that is where it is."""

    def __init__(self, target: Target, *, timeout: float, pool_size: int) -> None:
        super().__init__(target, timeout=timeout, pool_size=pool_size)
        self._only = self._server(target.addresses[0] if target.addresses else None)

    def known(self, key: str) -> Server | None:
        return self._only

    async def _find(self, until: float) -> None:
        """It is known."""


class Watched(Routing):
    """One server at a time, which sentinels name."""

    _master: Server | None = None

    def known(self, key: str) -> Server | None:
        return self._master

    def doubt(self, server: Server) -> None:
        if self._master is server:
            self._master = None

    def _holding(self) -> list[Server]:
        return [] if self._master is None else [self._master]

    async def _find(self, until: float) -> None:
        failed: AttemptError | None = None
        for address in self.target.addresses:
            node = Node(lambda at=address: self.target.connection(at, self._timeout, sentinel=True), 1)  # type: ignore[misc]
            try:
                (answer,) = await node.execute(
                    [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.target.service)], _soon(until)
                )
            except AttemptError as exc:
                failed = exc
                continue
            finally:
                await node.close()
            if isinstance(answer, list):
                self._master = self._server((answer[0].decode(), int(answer[1])))
                return
            failed = AttemptError(Stage.REFUSED, _error(answer, "the sentinels know no server of this name"))
        if failed is not None:
            raise failed


class Clustered(Routing):
    """Many servers, each with some of the slots."""

    def __init__(self, target: Target, *, timeout: float, pool_size: int) -> None:
        super().__init__(target, timeout=timeout, pool_size=pool_size)
        self._slots: list[Server | None] = [None] * _SLOTS
        self._doubtful = True

    def known(self, key: str) -> Server | None:
        return None if self._doubtful else self._slots[key_slot(key.encode())]

    def doubt(self, server: Server) -> None:
        self._doubtful = True

    def redirected(self, to: Redirection) -> Server:
        server = self._server(to.address)
        if not to.once:
            self._slots[to.slot] = server
        return server

    def _holding(self) -> list[Server]:
        return list({id(server): server for server in self._slots if server is not None}.values())

    async def _ask(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until), self._finding:
                if self._doubtful:
                    await self._find(until)
        except TimeoutError as exc:
            raise AttemptError(Stage.CONNECTING, exc) from exc

    async def all(self, until: float) -> list[Server]:
        if self._doubtful:
            await self._ask(until)
        return self._holding()

    async def _find(self, until: float) -> None:
        failed: AttemptError | None = None
        known = [server.address for server in self._holding() if server.address is not None]
        for address in dict.fromkeys([*known, *self.target.addresses]):
            try:
                (answer,) = await self._server(address).execute([("CLUSTER", "SLOTS")], _soon(until))
            except AttemptError as exc:
                failed = exc
                continue
            if isinstance(answer, list) and answer:
                await self._learn(answer, address)
                return
            failed = AttemptError(Stage.REFUSED, _error(answer, "the cluster has no slots"))
        if failed is not None:
            raise failed

    async def _learn(self, ranges: list[Any], teller: Address) -> None:
        slots: list[Server | None] = [None] * _SLOTS
        for first, last, owner, *_ in ranges:
            host = (owner[0] or b"").decode()
            server = self._server((host if host not in ("", "?") else teller[0], int(owner[1])))
            slots[first : last + 1] = [server] * (last + 1 - first)
        self._slots = slots
        self._doubtful = False
        holding = {server.address for server in self._holding()} | set(self.target.addresses)
        for address in [address for address in self._servers if address not in holding]:
            await self._servers.pop(address).close()


def routing_to(target: Target, *, timeout: float, pool_size: int) -> Routing:
    """Return the routing for a target."""
    kinds: dict[str, type[Single | Watched | Clustered]] = {
        "single": Single,
        "sentinel": Watched,
        "cluster": Clustered,
    }
    return kinds[target.kind](target, timeout=timeout, pool_size=pool_size)


def _soon(until: float) -> float:
    # One that does not answer must not take the time for asking the others.
    return min(until, asyncio.get_running_loop().time() + _QUICK)


def _error(answer: object, otherwise: str) -> BaseException:
    return answer if isinstance(answer, BaseException) else exceptions.ClusterError(otherwise)
