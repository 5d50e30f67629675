"""What is left of a bare server's throughput: uvicorn on one core, the load on another.

Every variant's server runs in its own process, all of them on the same core, and they take turns: one is under load
while the others sleep. Beside the requests a second it takes the server's CPU time a request, which on a saturated
core is the same thing, and which other processes on the core disturb less.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Estimate
from benchmarks.variants import ALL, BARE, FLOOR, PEERS_TOGETHER, named

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 16
_ROOT = Path(__file__).parent.parent


@dataclass
class Throughput:
    """One variant's figures, one a round: requests a second, and the server's CPU microseconds a request."""

    rate: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def throughput(*, rounds: int, seconds: float) -> dict[str, Throughput]:
    """Measure the bare application, the floor, all features and the peers together in turns."""
    results: dict[str, Throughput] = {}
    cores = _cores()
    with ExitStack() as stack:
        servers = {
            variant.name: stack.enter_context(_server(variant.name, cores[-1:]))
            for variant in named(BARE, FLOOR, ALL, PEERS_TOGETHER)
        }
        ports = {name: _port(server) for name, server in servers.items()}
        for number in range(rounds):
            order = list(servers) if number % 2 == 0 else list(reversed(servers))
            for name in order:
                result = results.setdefault(name, Throughput())
                rate, cpu = _under_load(servers[name].pid, ports[name], seconds, cores[:1])
                result.rate.append(rate)
                if cpu is not None:
                    result.cpu.append(cpu)
    return results


def kept(results: dict[str, Throughput], name: str) -> Estimate:
    """Return the share of the bare server's requests a second that a variant serves, pair by pair."""
    pairs = zip(results[name].rate, results[BARE].rate, strict=True)
    return Estimate.of([rate / bare for rate, bare in pairs])


def kept_by_cpu(results: dict[str, Throughput], name: str) -> Estimate | None:
    """Return the same from CPU time a request, where the system tells it."""
    if not results[name].cpu:
        return None
    pairs = zip(results[name].cpu, results[BARE].cpu, strict=True)
    return Estimate.of([bare / cpu for cpu, bare in pairs])


def as_json(results: dict[str, Throughput]) -> dict[str, Any]:
    return {
        name: {
            "requests_per_second": statistics.median(result.rate),
            "cpu_us_per_request": statistics.median(result.cpu) if result.cpu else None,
            "kept": asdict(kept(results, name)),
            "rounds": asdict(result),
        }
        for name, result in results.items()
    }


def _under_load(pid: int, port: int, seconds: float, cores: list[int]) -> tuple[float, float | None]:
    arguments = [str(port), str(seconds), str(CONNECTIONS)]
    before = _cpu_seconds(pid)
    with _process("benchmarks.load", arguments, cores, stdout=subprocess.PIPE) as process:
        output, _ = process.communicate(timeout=seconds * 4 + 60)
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with status {process.returncode}")
    after = _cpu_seconds(pid)
    answer = json.loads(output)
    cpu = None if before is None or after is None else (after - before) / answer["total"] * 1e6
    return answer["requests"] / answer["seconds"], cpu


@contextmanager
def _server(name: str, cores: list[int]) -> Iterator[subprocess.Popen[bytes]]:
    with _process("benchmarks.server", [name], cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        with process.stdin:  # its end is the server's sign to end
            yield process


def _port(server: subprocess.Popen[bytes]) -> int:
    assert server.stdout is not None
    line = server.stdout.readline().strip()
    if not line:
        raise RuntimeError("a server did not start; what it said is above")
    return int(line)


@contextmanager
def _process(
    module: str, arguments: list[str], cores: list[int], *, stdin: int | None = None, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=_ROOT, stdin=stdin, stdout=stdout)
    try:
        if len(_cores()) > 1:
            os.sched_setaffinity(process.pid, cores)
        yield process
    finally:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _cores() -> list[int]:
    """Return the cores that may be used; one at most where a process can't be bound to them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def pinned() -> bool:
    return len(_cores()) > 1


def _cpu_seconds(pid: int) -> float | None:
    """Return the CPU time of another process, or `None` where the system has no clock for it."""
    if not sys.platform.startswith("linux"):
        return None
    # What clock_getcpuclockid(3) computes: the scheduler's clock (2) of the process, in nanoseconds.
    return time.clock_gettime((~pid << 3) | 2)
