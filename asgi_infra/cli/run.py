"""`asgi-infra run`: hand the wrapped application to a server, and become that server."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from asgi_infra.cli.runner import FACTORY, Wrapping
from asgi_infra.cli.servers import ServerOptions, choose_server, server_command
from asgi_infra.cli.targets import load_target, split_target

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping


def execute(options: Namespace) -> int:
    """Start the server; on POSIX this process becomes it, so signals and the exit code are the server's own.

    Raises:
        ConfigurationError: If no server is installed, or the target or an option can't be right.
    """
    split_target(options.target)
    wrapping = Wrapping(
        target=options.target,
        factory=options.factory,
        service=options.service,
        exclude=tuple(options.exclude),
        metrics_path=options.metrics_path,
    )
    wrapping.check()
    server = choose_server(options.server)
    workers = worker_count(options.workers, os.environ)
    if workers > 1 or options.reload or server != "uvicorn":
        # Where the application is imported by a worker, its failure starts the next worker, waits for a change of
        # the source, or ends in code 0.
        load_target(options.target, factory=options.factory)
    if workers > 1 and options.metrics_path is not None and not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        print(
            f"asgi-infra: each of the {workers} workers serves its own metrics; "
            "set PROMETHEUS_MULTIPROC_DIR to an empty directory to have them added up",
            file=sys.stderr,
        )
    command = server_command(
        server,
        FACTORY,
        ServerOptions(
            host=options.host,
            port=options.port,
            workers=options.workers,
            reload=options.reload,
            arguments=options.server_args,
        ),
    )
    print(f"asgi-infra: starting {server} for {options.target}", file=sys.stderr, flush=True)
    return _become(command, {**os.environ, **wrapping.to_environ()})


def worker_count(option: int | None, environ: Mapping[str, str]) -> int:
    """Return how many workers there will be, by the option or else by `WEB_CONCURRENCY`, as servers read it."""
    if option is not None:
        return option
    text = environ.get("WEB_CONCURRENCY", "")
    return int(text) if text.isascii() and text.isdigit() else 1


def _become(command: list[str], environ: dict[str, str]) -> int:
    if os.name == "posix":
        os.execve(command[0], command, environ)  # noqa: S606 - the interpreter that runs this, no shell
    return subprocess.call(command, env=environ)  # noqa: S603 - the same, where a process can't be replaced
