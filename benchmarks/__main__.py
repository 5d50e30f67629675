"""`python -m benchmarks [SUITE] [options]`; the suite is `http` unless another one is named."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

_SUITES = {
    "http": "what the middlewares cost a request (the default)",
    "redaction": "what redaction costs",
    "logs": "what a log line costs",
    "traced": "what the decorator costs a call",
    "database": "what a database session costs",
    "tokens": "what the token stores do a second",
    "audit": "what the audit loggers do a second",
}


def main(argv: list[str]) -> int:
    there = [name for name in _SUITES if name == "http" or find_spec(f"benchmarks.{name}") is not None]
    name = argv[0] if argv and argv[0] in there else "http"
    rest = argv[1:] if argv and argv[0] == name else argv
    if name == "http":
        from benchmarks.http_suite import main as http

        listed = "".join(f"  {suite:13}{_SUITES[suite]}\n" for suite in there)
        return http(rest, suites=f"\nsuites, as the first argument:\n{listed}")
    try:
        suite = import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith(("benchmarks", "asgi_infra")):
            raise
        print(f"not installed: {exc.name}; pip install 'asgi-infra[all,bench]'", file=sys.stderr)
        return 2
    sys.argv = [f"{sys.argv[0]} {name}", *rest]
    return suite.main() or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
