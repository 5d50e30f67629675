"""`asgi-infra doctor`: what would double, collide or be missing, with the mend."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from asgi_infra.cli.doctor import checks, surroundings
from asgi_infra.cli.doctor.findings import LEVELS, Finding, Level
from asgi_infra.cli.doctor.layers import Anatomy, examine
from asgi_infra.cli.doctor.routes import preview
from asgi_infra.cli.targets import load_target
from asgi_infra.cli.terminal import Terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

__all__ = ["Finding", "diagnose", "execute"]

_MAX_ROUTES = 30
_STYLES: dict[Level, tuple[str, ...]] = {
    "error": ("bold", "red"),
    "warning": ("bold", "yellow"),
    "info": ("bold", "blue"),
}


def execute(options: Namespace) -> int:
    """Print the findings, and return 1 if one of them is an error or a warning.

    Raises:
        ConfigurationError: If the target can't be loaded.
    """
    anatomy = examine(load_target(options.target, factory=options.factory))
    findings = diagnose(anatomy, os.environ)
    if options.json:
        print(json.dumps(_document(options.target, anatomy, findings), indent=2))
    else:
        _show(Terminal(sys.stdout), options.target, anatomy, findings)
    return int(any(finding.level != "info" for finding in findings))


def diagnose(anatomy: Anatomy, environ: Mapping[str, str]) -> list[Finding]:
    """Return all findings about an application and its surroundings, the worst first.

    Args:
        anatomy: What `examine` returned.
        environ: The environment that the application is to run in.
    """
    findings = [finding for check in checks.CHECKS for finding in check(anatomy)]
    findings += [finding for check in surroundings.CHECKS for finding in check(anatomy, environ)]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def _document(target: str, anatomy: Anatomy, findings: list[Finding]) -> dict[str, Any]:
    return {
        "target": target,
        "framework": anatomy.framework,
        "version": anatomy.version,
        "layers": [{"name": layer.name, "features": list(layer.features)} for layer in anatomy.layers],
        "routes": [{"methods": methods, "path": path} for methods, path in preview(anatomy)],
        "findings": [asdict(finding) for finding in findings],
    }


def _show(terminal: Terminal, target: str, anatomy: Anatomy, findings: list[Finding]) -> None:
    paint = terminal.paint
    framework = " ".join(filter(None, (anatomy.framework, anatomy.version))) or "plain ASGI"
    terminal.line(f"{paint(target, 'bold')}  {framework}")
    terminal.line()
    terminal.line(paint("middleware, outermost first", "bold"))
    for layer in anatomy.layers:
        features = f"  ({', '.join(layer.features)})" if layer.features else ""
        terminal.line(f"  {paint(layer.name, 'cyan') if features else layer.name}{features}")
    if not anatomy.layers:
        terminal.line("  none")
    routes = preview(anatomy)
    if routes:
        terminal.line()
        terminal.line(paint("routes, as the label `path` shows them", "bold"))
        for methods, path in routes[:_MAX_ROUTES]:
            terminal.line(f"  {methods:<9} {path}")
        if len(routes) > _MAX_ROUTES:
            terminal.line(f"  and {len(routes) - _MAX_ROUTES} more, with --json")
    for finding in findings:
        terminal.line()
        terminal.line(f"{paint(finding.level, *_STYLES[finding.level])}  {finding.what}")
        terminal.line(f"  why   {finding.why}")
        terminal.line(f"  mend  {finding.mend}")
    terminal.line()
    terminal.line(_summary(findings))


def _summary(findings: list[Finding]) -> str:
    words = {"error": ("error", "errors"), "warning": ("warning", "warnings"), "info": ("hint", "hints")}
    counts = [(sum(finding.level == level for finding in findings), words[level]) for level in LEVELS]
    parts = [f"{count} {forms[count != 1]}" for count, forms in counts if count]
    return ", ".join(parts) or "nothing to mend"
