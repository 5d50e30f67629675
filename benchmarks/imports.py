"""What it costs to import and to construct, each time in a fresh process."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.measure import Estimate

STATEMENTS = {
    "import asgi_infra": "import asgi_infra",
    "from asgi_infra import InfraMiddleware": "from asgi_infra import InfraMiddleware",
    "InfraMiddleware(app)": "from asgi_infra import InfraMiddleware; InfraMiddleware(print)",
    "its dependencies alone": "import opentelemetry.trace, opentelemetry.propagate, prometheus_client, msgspec",
}

_TIMED = "from time import process_time as now; t = now(); {}; print(now() - t)"


def imports(*, runs: int) -> dict[str, Estimate]:
    """Return each statement's milliseconds of CPU time in a fresh interpreter, bytecode in place; runs take turns."""
    figures: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for number in range(runs + 1):
        for name, statement in STATEMENTS.items():
            command = [sys.executable, "-c", _TIMED.format(statement)]
            seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            if number > 0:  # the first one may have had to compile
                figures[name].append(seconds * 1000)
    return {name: Estimate.of(values) for name, values in figures.items()}
