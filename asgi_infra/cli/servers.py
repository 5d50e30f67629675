"""How each ASGI server is started, told to leave its access log, and told what to serve."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from asgi_infra.cli.parser import SERVERS
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INSTALL = {
    "uvicorn": "pip install 'asgi-infra[cli]'",
    "granian": "pip install granian",
    "hypercorn": "pip install hypercorn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What every server can be told; `None` leaves it to the server."""

    host: str | None = None
    port: int | None = None
    workers: int | None = None
    reload: bool = False
    arguments: Sequence[str] = ()
    """Further arguments, passed on as they are, after ours, so that they win."""


def choose_server(wanted: str | None) -> str:
    """Return the name of the server to start: the wanted one, or the first that is installed.

    Raises:
        ConfigurationError: If it, or every one, is not installed; the message has the line that installs it.
    """
    candidates = SERVERS if wanted is None else (wanted,)
    for name in candidates:
        if find_spec(name) is not None:
            return name
    if wanted is None:
        raise ConfigurationError(f"no ASGI server is installed. Install one with: {_INSTALL['uvicorn']}")
    raise ConfigurationError(f"{wanted} is not installed. Install it with: {_INSTALL[wanted]}")


def server_command(name: str, factory: str, options: ServerOptions) -> list[str]:
    """Return the command line that starts a server.

    Args:
        name: One of the servers that `run` knows.
        factory: The import string of a function without arguments that returns the application.
        options: What to tell the server.
    """
    return [sys.executable, "-m", name, *_ARGUMENTS[name](factory, options), *options.arguments]


def _uvicorn(factory: str, options: ServerOptions) -> list[str]:
    return [factory, "--factory", "--no-access-log", *_host_and_port(options), *_workers_and_reload(options)]


def _granian(factory: str, options: ServerOptions) -> list[str]:
    return [
        *(factory, "--factory", "--interface", "asgi", "--no-access-log"),
        *_host_and_port(options),
        *_workers_and_reload(options),
    ]


def _hypercorn(factory: str, options: ServerOptions) -> list[str]:
    # It evaluates what follows the colon, its way of calling a factory; its access log is off unless asked for.
    arguments = [f"{factory}()"]
    if options.host is not None or options.port is not None:
        host = options.host or "127.0.0.1"
        port = 8000 if options.port is None else options.port
        arguments += ["--bind", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    return arguments + _workers_and_reload(options)


def _host_and_port(options: ServerOptions) -> list[str]:
    arguments = [] if options.host is None else ["--host", options.host]
    return arguments if options.port is None else [*arguments, "--port", str(options.port)]


def _workers_and_reload(options: ServerOptions) -> list[str]:
    arguments = [] if options.workers is None else ["--workers", str(options.workers)]
    return [*arguments, "--reload"] if options.reload else arguments


_ARGUMENTS: dict[str, Callable[[str, ServerOptions], list[str]]] = {
    "uvicorn": _uvicorn,
    "granian": _granian,
    "hypercorn": _hypercorn,
}
