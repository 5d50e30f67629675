"""The suite `http`: what the middlewares cost a request."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers import installed, missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.experiments import Effort
    from benchmarks.figures import Results

_ROUNDS, _QUICK_ROUNDS = 60, 4
_BATCH, _QUICK_BATCH = 200, 20
_NEEDED = ("opentelemetry.sdk.trace", "orjson", "uvicorn")
_DESCRIPTION = """\
Compare, in one process and in turns, a bare application with one that is wrapped in each feature of asgi_infra, in
all of them, in a hand-written middleware that does the same visible work (the floor), and in the packages that they
replace, alone and together. Prints what each adds to a request, and the promised figures with their targets.
"""
_EXPERIMENTS = """\
experiments:
  features     each feature, all of them and the floor, around a raw ASGI application
  peers        all features, the floor and every peer, in a Starlette application
  routes       the last of 1, 100 and 1000 routes
  excluded     a path that is excluded
  websocket    a WebSocket connection
  fastapi      FastAPI's own telemetry
  memory       bytes held at the peak of a request
  imports      import and construction, in fresh processes
  throughput   what is left of a server's requests a second

Figures are ratios of one run on one machine: compare them with each other, not with those of another machine.
"""
NAMES = tuple(re.findall(r"^  (\w+)", _EXPERIMENTS, re.MULTILINE))
"""All that can be measured; what does the measuring is imported late, so that help needs nothing."""


def main(argv: Sequence[str] | None = None, *, suites: str = "") -> int:
    options = _parser(suites).parse_args(argv)
    if absent := [module for module in _NEEDED if not installed(module)]:
        print(f"not installed: {', '.join(absent)}; pip install 'asgi-infra[bench]'", file=sys.stderr)
        return 2
    from benchmarks import chart, report
    from benchmarks.experiments import Effort
    from benchmarks.figures import figures

    if absent := missing():
        print(f"not installed, and left out: {', '.join(absent)}; pip install 'asgi-infra[bench]'", flush=True)
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    effort = Effort(rounds, batch=_QUICK_BATCH if options.quick else _BATCH, quick=options.quick)
    results = measure(effort, options.only or NAMES)
    _print(report.figure_lines(results))
    if options.json is not None:
        settings = {"rounds": effort.rounds, "batch": effort.batch, "quick": effort.quick}
        options.json.write_text(json.dumps(report.as_json(results, settings), indent=1) + "\n", encoding="utf-8")
    if options.chart is not None:
        shown = [
            table for table in results.tables if table.name in ("features", "peers") and table.condition != "no SDK"
        ]
        options.chart.write_text(chart.chart(shown or results.tables), encoding="utf-8")
    return 1 if options.check and any(figure.met is False for figure in figures(results)) else 0


def measure(effort: Effort, names: Sequence[str]) -> Results:
    """Run experiments by name, print each as it ends, and return what they have measured."""
    from benchmarks import report
    from benchmarks.experiments import EXPERIMENTS, memory
    from benchmarks.figures import Results
    from benchmarks.imports import imports
    from benchmarks.throughput import throughput

    results = Results()
    for name, experiment in EXPERIMENTS.items():
        if name in names:
            for table in experiment(effort):
                results.tables.append(table)
                _print(report.table_lines(table))
    if "memory" in names:
        results.memory = memory(effort)
        _print(report.memory_lines(results))
    if "imports" in names:
        results.imports = imports(runs=3 if effort.quick else 15)
        _print(report.import_lines(results))
    if "throughput" in names:
        results.throughput = throughput(
            rounds=2 if effort.quick else max(effort.rounds // 6, 3), seconds=0.3 if effort.quick else 1.5
        )
        _print(report.throughput_lines(results))
    return results


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 2:
        raise argparse.ArgumentTypeError("there have to be at least 2, for a spread")
    return rounds


def _parser(suites: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        epilog=_EXPERIMENTS + suites,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a few small rounds: shows that all runs, proves nothing")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=NAMES,
        help="run one experiment; may be given several times",
    )
    parser.add_argument("--rounds", type=_rounds, metavar="N", help=f"rounds of each experiment (default: {_ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and the environment")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write an SVG of the added costs")
    parser.add_argument("--check", action="store_true", help="end with status 1 when a figure misses its target")
    return parser
