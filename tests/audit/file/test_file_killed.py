"""Processes that are killed, or whose system calls fail one after the other: nothing acknowledged is lost.

`AUDIT_KILLS` is how often a writer is killed at random (default 4), `AUDIT_FAULTS` how many calls of each kind fail
(default 1); for a long look, set them to hundreds.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest
from file_logs import opened, record

from asgi_infra.audit.backends.file.offline import verify_directory
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.record import unseal

HERE = Path(__file__).parent
KILLS = int(os.environ.get("AUDIT_KILLS", "4"))
FAULTS = int(os.environ.get("AUDIT_FAULTS", "1"))
SMALL = "20000"

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
with_strace = pytest.mark.skipif(
    subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode != 0
    if shutil.which("strace")
    else True,
    reason="strace is not installed, or may not trace here",
)


def command(log: Path, name: str, entries: int, batch: int) -> list[str]:
    return [sys.executable, str(HERE / "writer.py"), str(log), name, str(entries), str(batch), SMALL]


def acknowledged(output: str) -> dict[str, tuple[int, str]]:
    lines = [line.split() for line in output.splitlines() if line.startswith("acked") and len(line.split()) == 4]
    return {name: (int(seq), value) for _, name, seq, value in lines if len(value) == 64}


def check(log: Path, acked: dict[str, tuple[int, str]], failed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Every acknowledged entry is there once, under its number; the log opens, goes on and is right."""
    with opened(log, int(SMALL)) as store:
        rows = store.select(AuditFilter(), 0, 1 << 60, 1 << 30)
        logged = [unseal(row) for row in rows]
        assert [each.seq for each in logged] == list(range(len(logged)))
        names = [each.entry.id for each in logged]
        assert len(names) == len(set(names))
        found = {each.entry.id: (each.seq, each.leaf_hash.hex()) for each in logged}
        assert {name: found.get(name) for name in acked} == acked
        assert not failed & set(names), "what was said not to be kept is kept"
        assert store.append([record(0, id="afterwards")])[0].seq == len(logged)
        again = store.append([record(0, id=name) for name in acked])
        assert [(receipt.seq, receipt.leaf_hash.hex()) for receipt in again] == list(acked.values())
    report = verify_directory(log)
    assert (report.problem, report.size) == ("", len(logged) + 1)


@linux
def test_writers_killed_at_random_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(7)
    log = tmp_path / "log"
    acked: dict[str, tuple[int, str]] = {}
    for kill in range(KILLS):
        writers = [
            subprocess.Popen(
                command(log, f"{kill}-{name}", 100_000, chance.choice([1, 5, 40])), stdout=subprocess.PIPE, text=True
            )
            for name in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            sleep(chance.random() * 0.15)
            writer.send_signal(signal.SIGKILL)
            output, _ = writer.communicate()
            acked.update(acknowledged(output))
    assert acked
    check(log, acked)


CALLS = ["pwrite64", "fdatasync", "fsync", "openat", "rename", "ftruncate", "flock", "mkdir", "unlink"]


def traced(log: Path, *options: str) -> subprocess.CompletedProcess[str]:
    strace = ["strace", "-f", "-qq", *options, *command(log, "traced", 48, 6)]
    return subprocess.run(strace, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """Which calls of each kind are made once the writer begins, counted from 1."""
    place = tmp_path_factory.mktemp("clean")
    done = traced(place / "log", "-o", str(place / "trace"), "-e", f"trace={','.join(CALLS)}")
    assert done.returncode == 0, done.stderr
    lines = (place / "trace").read_text().splitlines()
    found: dict[str, list[int]] = {}
    for call in CALLS:
        own = [line for line in lines if f" {call}(" in line]
        first = next((at for at, line in enumerate(own, 1) if str(place) in line), 1)  # before it loads modules
        found[call] = list(range(first if call in ("openat", "mkdir") else 1, len(own) + 1))
    return found


@linux
@with_strace
@pytest.mark.parametrize(
    ("call", "fault"),
    [
        *((call, fault) for call in CALLS[:5] for fault in ("error=EIO", "error=ENOSPC", "signal=KILL")),
        *((call, "signal=KILL" if call in ("ftruncate", "unlink") else "error=EIO") for call in CALLS[5:]),
    ],
)
def test_a_fault_at_each_system_call_of_a_commit_loses_nothing(
    tmp_path: Path, calls: dict[str, list[int]], call: str, fault: str
) -> None:
    chance = random.Random(call + fault)
    for at in sorted(chance.sample(calls[call], min(FAULTS, len(calls[call])))):
        log = tmp_path / f"log-{at}"
        done = traced(log, "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={at}")
        known = [line.split() for line in done.stdout.splitlines() if line.startswith("failed")]
        assert all(line[1] in ("AuditUnavailableError", "AuditFullError", "AuditOutcomeUnknownError") for line in known)
        failed = {name for line in known if line[1] != "AuditOutcomeUnknownError" for name in line[2:]}
        if log.exists():
            check(log, acknowledged(done.stdout), failed)
