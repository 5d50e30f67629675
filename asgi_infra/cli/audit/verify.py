"""`asgi-infra audit verify`: check that nothing was changed, and show the place where it broke."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from asgi_infra.audit.proofs.errors import ProofError
from asgi_infra.cli.audit.logs import directory_of, run
from asgi_infra.cli.audit.showing import Progress
from asgi_infra.cli.terminal import Terminal
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.verification import VerificationReport


def execute(options: Namespace) -> int:
    """Print what the check found; return 1 if something is wrong.

    Raises:
        ConfigurationError: There is no such log, checkpoint or key, or the check of this log knows no checkpoints.
        AuditError: The log can't be read.
    """
    directory = directory_of(options.log)
    if directory is None and (options.since is not None or options.key is not None):
        raise ConfigurationError("--since and --key are for logs in a directory; this one checks its own checkpoint")
    progress = Progress("entries" if directory is None else "bytes")
    started = perf_counter()
    try:
        report: Any = (
            run(_verify(progress), options.log)
            if directory is None
            else _verify_directory(directory, options, progress)
        )
    finally:
        progress.close()
    took = perf_counter() - started
    if options.json:
        print(json.dumps(_document(report)))
    else:
        _show(Terminal(sys.stdout), options.log, report, took)
    return int(not report.ok)


def _verify(progress: Progress) -> Any:
    async def verify(logger: AuditLogger) -> VerificationReport:
        return await logger.verify(progress=progress)

    return verify


def _verify_directory(path: Path, options: Namespace, progress: Progress) -> Any:
    from asgi_infra.audit.backends.file.offline import verify_directory
    from asgi_infra.audit.proofs.vkeys import parse_vkey

    try:
        key = None if options.key is None else parse_vkey(_read(options.key, "public key").strip())
        since = None if options.since is None else _read(options.since, "checkpoint")
        return verify_directory(path, since=since, key=key, progress=progress)
    except ProofError as exc:
        raise ConfigurationError(f"--since or --key is not of this log: {exc}") from exc


def _read(name: str, what: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is no text"
        raise ConfigurationError(f"{name} can't be read as a {what}: {reason}") from exc


def _document(report: Any) -> dict[str, Any]:
    names = ("ok", "size", "first", "checked", "erased", "signed", "bad_seq", "problem", "offset")
    found = {name: getattr(report, name) for name in names if hasattr(report, name)}
    file = getattr(report, "file", None)
    return {**found, "root": report.root.hex()} | ({} if file is None else {"file": str(file)})


def _show(terminal: Terminal, log: str, report: Any, took: float) -> None:
    counts = f"{report.checked:,} entries checked in {took:.1f} s"
    if report.first:
        counts += f"; the first {report.first:,} were purged"
    if report.erased:
        counts += f"; of {report.erased:,} the private fields were erased"
    if report.ok:
        terminal.line(f"{terminal.paint('ok', 'bold', 'green')}  {log}: {counts}")
        terminal.line(f"    size {report.size}, root {report.root.hex()}")
        return
    terminal.line(f"{terminal.paint('broken', 'bold', 'red')}  {log}: {report.problem}")
    if getattr(report, "file", None) is not None:
        place = "" if report.offset is None else f", byte {report.offset}"
        terminal.line(f"    where  {report.file}{place}")
    if report.bad_seq is not None:
        terminal.line(f"    entry  {report.bad_seq}")
    terminal.line(f"    so far {counts}")
