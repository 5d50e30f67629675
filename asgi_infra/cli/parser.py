"""The command line, without the commands: what it takes to print help, and nothing that takes time to import."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from asgi_infra._version import __version__
from asgi_infra.cli.audit.arguments import add_audit

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SERVERS = ("uvicorn", "granian", "hypercorn")
"""The servers that `run` knows, in the order in which it looks for one."""

_MAIN = """\
Request ids, traces, metrics, access logs, tokens and audit logs for any ASGI application.

examples:
  asgi-infra demo                            a small shop to watch: one request, one id in every signal
  asgi-infra run shop:app                    your application with the whole stack, unchanged
  asgi-infra run shop:app -- --log-level warning
  asgi-infra doctor shop:app                 what would double, collide or be missing
  asgi-infra audit verify /var/log/audit     whether an audit log is as it was written
"""
_EXITS = """\
exit codes:
  0  all went well
  1  what was asked for failed, or found faults
  2  the command line, the target or the installation is wrong

Colours appear on terminals only, and never when NO_COLOR is set.
"""
_RUN = """\
Start an ASGI server with your application wrapped in the whole stack. Nothing in the application changes: what the
server imports is a wrapper that finds the target in its environment, so workers and reloads get it too.
The server's own access log is turned off, because ours replaces it. Spans are exported where the standard variables
say so, such as OTEL_EXPORTER_OTLP_ENDPOINT; that needs the extra 'otel'.

examples:
  asgi-infra run shop:app
  asgi-infra run shop.main:create_app --factory --service shop --exclude /health --exclude '/static/**'
  asgi-infra run shop:app --server granian --workers 4 --port 9000
  asgi-infra run shop:app --metrics-path /metrics
  asgi-infra run shop:app -- --root-path /api --log-level warning
"""
_RUN_EXITS = """\
exit codes:
  2     the command line, the target or the installation is wrong
  else  that of the server
"""
_DEMO = """\
Start a small shop API wrapped in the whole stack, in this one process, and show for each request its id, its trace,
the metrics that moved and its log line. Needs the extras 'otel', 'sql' and 'cli'.

examples:
  asgi-infra demo
  asgi-infra demo --port 9000
  asgi-infra demo --check       make the requests itself, and verify that trace, metric and log line agree
"""
_DEMO_EXITS = """\
exit codes:
  0  stopped with Ctrl-C, or every check passed
  1  a check failed, or the address is taken or unknown
  2  the command line or the installation is wrong
"""
_DOCTOR = """\
Import an application, walk its middleware, and say what would double, collide or be missing, with the mend.
The application is imported, not started: no request is made, no lifespan runs.

examples:
  asgi-infra doctor shop:app
  asgi-infra doctor shop.main:create_app --factory
  asgi-infra doctor shop:app --json
"""
_DOCTOR_EXITS = """\
exit codes:
  0  nothing worse than a hint
  1  at least one error or warning
  2  the command line or the target is wrong
"""


def build_parser() -> ArgumentParser:
    """Return the parser; what it parses has the `command`, its `parser`, and the `module` that executes it."""
    parser = ArgumentParser(
        prog="asgi-infra", description=_MAIN, epilog=_EXITS, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"asgi-infra {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_run(commands)
    _add_demo(commands)
    _add_doctor(commands)
    add_audit(commands)
    return parser


def _add_run(commands: _SubParsersAction[ArgumentParser]) -> None:
    parser = _command(commands, "run", "serve an application with the whole stack", _RUN, _RUN_EXITS)
    parser.usage = "asgi-infra run module:app [options] [-- server arguments]"
    _add_target(parser)
    parser.add_argument(
        "--server", choices=SERVERS, help="the server to start (default: the first that is installed, in this order)"
    )
    parser.add_argument("--service", metavar="NAME", help="the service's name in traces and log lines")
    parser.add_argument(
        "--exclude",
        metavar="GLOB",
        action="append",
        default=[],
        help="a path without request id, trace, metrics and log line, such as /health or '/static/**'; repeatable",
    )
    parser.add_argument(
        "--metrics-path", metavar="PATH", type=_path, help="serve the metrics there (default: not served)"
    )
    parser.add_argument("--host", help="the address to listen on (default: the server's, which is 127.0.0.1)")
    parser.add_argument("--port", type=_port, help="the port to listen on (default: the server's, which is 8000)")
    parser.add_argument("--workers", type=_workers, metavar="N", help="the number of worker processes")
    parser.add_argument("--reload", action="store_true", help="start again when the source changes (development)")


def _add_demo(commands: _SubParsersAction[ArgumentParser]) -> None:
    parser = _command(commands, "demo", "watch a small shop at work", _DEMO, _DEMO_EXITS)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, help="the port to listen on (default: 8000; with --check a free one), 0 for a free one"
    )
    parser.add_argument(
        "--check", action="store_true", help="run the tour with real requests, verify every signal, and end"
    )


def _add_doctor(commands: _SubParsersAction[ArgumentParser]) -> None:
    parser = _command(commands, "doctor", "find what doubles, collides or is missing", _DOCTOR, _DOCTOR_EXITS)
    _add_target(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def _command(
    commands: _SubParsersAction[ArgumentParser], name: str, summary: str, description: str, epilog: str
) -> ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=description, epilog=epilog, formatter_class=RawDescriptionHelpFormatter
    )
    parser.set_defaults(command=name, parser=parser, module=f"asgi_infra.cli.{name}")
    return parser


def _add_target(parser: ArgumentParser) -> None:
    parser.add_argument("target", metavar="module:app", help="where the application is; the current directory counts")
    parser.add_argument("--factory", action="store_true", help="the target is a function that returns the application")


def _port(text: str) -> int:
    return _number(text, 0, 65535)


def _workers(text: str) -> int:
    return _number(text, 1, 1024)


def _number(text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")


def _path(text: str) -> str:
    if text.startswith("/") and len(text) > 1:
        return text
    raise ArgumentTypeError(f"{text!r} is not a path such as /metrics")
