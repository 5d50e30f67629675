"""`asgi-infra demo`: a small shop in the whole stack, to watch."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from asgi_infra.cli.demo.tour import tour_steps
from asgi_infra.cli.terminal import Terminal
from asgi_infra.errors import MissingExtraError

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from asgi_infra.cli.demo.stage import Stage

_CHECK_TIMEOUT = 60.0
_NEEDED = (
    ("opentelemetry.sdk", "opentelemetry-sdk", "otel"),
    ("sqlalchemy", "sqlalchemy", "sql"),
    ("greenlet", "greenlet", "sql"),
    ("aiosqlite", "aiosqlite", "sql"),
    ("uvicorn", "uvicorn", "cli"),
)


def execute(options: Namespace) -> int:
    """Serve the shop until Ctrl-C, or with `--check` take the tour, and return 1 if anything disagreed.

    Raises:
        MissingExtraError: If the OpenTelemetry SDK, SQLAlchemy, greenlet, aiosqlite or uvicorn is not installed.
        InfrastructureError: If the address is taken, or unknown.
    """
    absent = [(package, extra) for module, package, extra in _NEEDED if find_spec(module) is None]
    if absent:
        extras = ",".join(dict.fromkeys(extra for _, extra in absent))
        raise MissingExtraError(absent[0][0], purpose="asgi-infra demo", extra=extras)
    from asgi_infra.cli.demo.stage import Stage, listen

    port = options.port if options.port is not None else 0 if options.check else 8000
    terminal = Terminal(sys.stdout)
    with listen(options.host, port) as listener:
        port = listener.getsockname()[1]
        stage = Stage(terminal, listener)
        if options.check:
            return asyncio.run(_check(terminal, stage, options.host, port))
        _welcome(terminal, options.host, port, stage.ledger.path)
        try:
            asyncio.run(stage.serve())
        except KeyboardInterrupt:
            terminal.line()
    return 0


async def _check(terminal: Terminal, stage: Stage, host: str, port: int) -> int:
    from asgi_infra.cli.demo.check import check

    serving = asyncio.ensure_future(stage.serve())
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT):
            good = await check(terminal, host, port, tour_steps(), stage.account_of, stage.outputs, stage.ledger)
    except (TimeoutError, OSError) as exc:
        terminal.line(f"{terminal.paint('fail', 'bold', 'red')}  {type(exc).__name__}: {exc}")
        good = False
    finally:
        stage.server.should_exit = True
        await serving
    terminal.line()
    terminal.line("trace, metrics and log agree" if good else "trace, metrics and log disagree")
    return int(not good)


def _welcome(terminal: Terminal, host: str, port: int, audit: Path | None) -> None:
    paint = terminal.paint
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    terminal.line(f"{paint('the shop', 'bold')}     {base}/products")
    terminal.line(f"{paint('its metrics', 'bold')}  {base}/metrics")
    if audit is not None:
        terminal.line(f"{paint('its audit', 'bold')}    asgi-infra audit tail -f {audit}")
    terminal.line()
    terminal.line("Take the tour in another terminal; every request shows up here with its id. Ctrl-C ends.")
    for step in tour_steps():
        terminal.line()
        terminal.line(f"  {paint('# ' + step.title, 'dim')}")
        terminal.line(f"  {step.command(base)}")
