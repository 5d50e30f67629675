"""Whether this process is a fork of the one that made something."""

from __future__ import annotations

import os

_forks = 0
_watching = False


def forks() -> int:
    """Return a number that is another one after a fork, in the child. Costs less than asking for the process id."""
    return _forks


def watch() -> None:
    """Make `forks` count from now on."""
    global _watching
    if not _watching:
        _watching = True
        if hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=_forked)


def _forked() -> None:
    global _forks
    _forks += 1
