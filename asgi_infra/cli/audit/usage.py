"""`asgi-infra audit` without a command: show what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace


def execute(options: Namespace) -> int:
    """Print the help."""
    options.parser.print_help()
    return 0
