"""What the doctor looks at around the application: the environment, the registry, the loggers, what is installed."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from asgi_infra.cli.doctor.findings import Finding
from asgi_infra.cli.parser import SERVERS
from asgi_infra.cli.runner import exporting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from asgi_infra.cli.doctor.layers import Anatomy

_WORKERS = ("WEB_CONCURRENCY", "GRANIAN_WORKERS", "UVICORN_WORKERS")
_UNBOUNDED = frozenset(
    (
        "address",
        "client",
        "client_ip",
        "cookie",
        "email",
        "host",
        "ip",
        "job_id",
        "message",
        "order_id",
        "query",
        "raw_path",
        "request_id",
        "session",
        "session_id",
        "span_id",
        "timestamp",
        "token",
        "trace_id",
        "url",
        "user",
        "user_agent",
        "user_id",
        "username",
        "uuid",
    )
)


def provider(anatomy: Anatomy, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what keeps spans from being recorded."""
    from opentelemetry import trace

    if not any("tracing" in layer.features for layer in anatomy.ours):
        return
    if find_spec("opentelemetry.sdk") is None:
        yield Finding(
            "info",
            "sdk-missing",
            "the OpenTelemetry SDK is not installed",
            "Without it spans are not recorded; everything else works.",
            "pip install 'asgi-infra[otel]'",
        )
        return
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return
    wanted = exporting(environ)
    yield Finding(
        "info" if wanted is None else "warning",
        "no-tracer-provider",
        "no tracer provider is set once the application is imported",
        "Spans are recorded nowhere unless something sets one when the application starts."
        + ("" if wanted is None else f" {wanted} says that they are wanted."),
        "call init_telemetry() where the application is made, or start it with asgi-infra run and OTEL_* variables",
    )


def multiprocess(anatomy: Anatomy, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what makes the metrics of several workers disagree."""
    if anatomy.ours and not any("metrics" in layer.features for layer in anatomy.ours):
        return
    directory = environ.get("PROMETHEUS_MULTIPROC_DIR") or environ.get("prometheus_multiproc_dir")
    if directory:
        if not os.path.isdir(directory):
            yield Finding(
                "error",
                "multiproc-dir-absent",
                f"PROMETHEUS_MULTIPROC_DIR names {directory!r}, which is no directory",
                "The first metric that is made raises FileNotFoundError.",
                f"mkdir -p {directory}, before the application starts, and empty it then",
            )
        elif not os.access(directory, os.W_OK):
            yield Finding(
                "error",
                "multiproc-dir-read-only",
                f"PROMETHEUS_MULTIPROC_DIR names {directory!r}, where this user may not write",
                "The first metric that is made raises PermissionError.",
                f"chown or chmod {directory}, or name another directory",
            )
        return
    workers = next((name for name in _WORKERS if environ.get(name, "").isdigit() and int(environ[name]) > 1), None)
    if workers is not None:
        yield Finding(
            "warning",
            "multiproc-dir-missing",
            f"{workers}={environ[workers]}, but PROMETHEUS_MULTIPROC_DIR is not set",
            "Each worker counts for itself, and a scrape shows one of them by chance.",
            "set PROMETHEUS_MULTIPROC_DIR to an empty directory before the application starts",
        )


def labels(anatomy: Anatomy, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the metrics in the default registry whose labels look like they take any value."""
    from prometheus_client import REGISTRY

    collectors = {id(collector): collector for collector in list(REGISTRY._names_to_collectors.values())}
    for collector in collectors.values():
        names = sorted(_UNBOUNDED.intersection(getattr(collector, "_labelnames", ())))
        if names:
            yield Finding(
                "warning",
                "unbounded-label",
                f"the metric {getattr(collector, '_name', '?')} has the label {', '.join(names)}",
                "Every value makes a series that stays: memory grows with users and requests, in Prometheus too.",
                "put such values in log lines and spans, and keep labels to a known set",
            )


def access_log(anatomy: Anatomy, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the server's access logs that would write a second line beside ours."""
    if not any("access_log" in layer.features and layer.built for layer in anatomy.ours):
        return
    loud = [name for name in ("uvicorn", "hypercorn", "granian") if not logging.getLogger(f"{name}.access").disabled]
    if loud:
        yield Finding(
            "warning",
            "doubles-access-log",
            f"the access log of {', '.join(loud)} stays on beside ours",
            "Every request is logged twice.",
            "leave replace_server_log as it is, or start the server without: uvicorn --no-access-log",
        )


def server(anatomy: Anatomy, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a hint where no server is installed that `asgi-infra run` could start."""
    if all(find_spec(name) is None for name in SERVERS):
        yield Finding(
            "info",
            "no-server",
            "no ASGI server is installed that asgi-infra run knows",
            "The application needs one to serve requests.",
            "pip install 'asgi-infra[cli]'",
        )


CHECKS: tuple[Callable[[Anatomy, Mapping[str, str]], Iterator[Finding]], ...] = (
    provider,
    multiprocess,
    labels,
    access_log,
    server,
)
