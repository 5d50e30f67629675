"""The console script `asgi-infra`.

Exit codes: 0 when all went well; 1 when what was asked for failed or found faults; 2 when the command line, the target
or the installation is wrong. `asgi-infra run` ends with the code of the server that it started.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from asgi_infra.cli.parser import build_parser
from asgi_infra.cli.terminal import first_line
from asgi_infra.errors import ConfigurationError, InfrastructureError, MissingExtraError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

OK = 0
FAILED = 1
USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The arguments after the program's name; those of the process by default.

    Raises:
        SystemExit: After `--help` and `--version` with 0, and for arguments that don't parse with 2.

    Example:
        >>> main(["--version"])
        Traceback (most recent call last):
        SystemExit: 0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    server_args: list[str] = []
    if "--" in arguments:
        border = arguments.index("--")
        arguments, server_args = arguments[:border], arguments[border + 1 :]
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        (parser if options.command is None else options.parser).error(_unknown(options, unknown))
    if options.command is None:
        parser.print_help()
        return OK
    if options.command == "run":
        options.server_args = server_args
    elif server_args:
        options.parser.error("only 'asgi-infra run' takes arguments after '--'; they are passed on to the server")
    try:
        code: int = import_module(options.module).execute(options)
    except InfrastructureError as exc:
        print(f"asgi-infra: {first_line(exc)}", file=sys.stderr)
        return USAGE if isinstance(exc, ConfigurationError | MissingExtraError) else FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough; without this the interpreter complains once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _unknown(options: Namespace, unknown: list[str]) -> str:
    text = shlex.join(unknown)
    message = f"unrecognized arguments: {text}"
    if options.command != "run" or not unknown[0].startswith("-"):
        return message
    return f"{message}; server options go after --: asgi-infra run {options.target} -- {text}"
